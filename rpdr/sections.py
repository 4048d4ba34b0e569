"""YAML files with sections that are checked: unknown keys are refused, each error names the file, the line and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml
from pydantic_core import PydanticCustomError

from rpdr.errors import ConfigError

LITERAL = r"'([^']*)'"  # a value among those that pydantic expects
UNSHOWN = "unshown"  # the type of an error of a value that may be a secret
A_KEY = re.compile(r"\w*api[_-]?key", re.IGNORECASE)  # a key of a config that would hold one


class Section(pydantic.BaseModel):
    """Base of all sections: immutable, no unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Loader(yaml.SafeLoader):
    """YAML in which a whole number that begins with 0 is a text: 00000 is an id, and YAML's own octal numbers are what nobody means."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none of its own."""
        tag = str(super().resolve(kind, value, implicit))
        leading = tag == "tag:yaml.org,2002:int" and re.fullmatch(r"[-+]?0\d+", value)
        return self.DEFAULT_SCALAR_TAG if leading else tag


def unshown(said: str) -> PydanticCustomError:
    """For a validator to raise: what is wrong with a value, which the error will not repeat, as it may be a secret."""
    return PydanticCustomError(UNSHOWN, "{said}", {"said": said})


Whole = TypeVar("Whole", bound=Section)


def read_sections(path: str | Path, whole: type[Whole], what: str, example: str, overrides: dict[str, Any] | None = None) -> Whole:
    """A YAML file as `whole`, with these dotted keys changed. For errors: `what` the file is ("config"), and a section that it has as an `example`.

    Raises ConfigError: one line that names the file, the line and the remedy.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the {what}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        nodes, tree = _parsed(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error)
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {problem}{_remedy(problem, line)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a {what} is a mapping of sections, e.g. `{example}:`; this is {type(tree).__name__}")
    for dotted, value in (overrides or {}).items():
        _put(tree, dotted, value)
    try:
        return whole.model_validate(tree)
    except pydantic.ValidationError as error:
        told: dict[str, str] = {}  # once, where several items of a list have it from one anchor
        for one in (_explain(e, path, nodes, whole) for e in _told(error.errors())):
            told.setdefault(re.sub(r"\.\d+", "", one), one)
        raise ConfigError("; ".join([*told.values()][:3])) from error


def _remedy(problem: str, line: str) -> str:
    """What newcomers to YAML write, by what it says of that and the line that it says it of."""
    if "'\\t'" in problem:
        return ": a tab; indent by spaces"
    if "escape" in problem:
        return "; in double quotes \\ begins an escape: write the path in single quotes, or with /"
    if "${" in line and problem.startswith("expected ',' or"):
        return "; within { } or [ ] a value with ${…} stands in quotes: {path: '${VARIABLE}/kb.csv'}"
    return ""


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """(the YAML's nodes, which know their lines, what they say). Raises YAMLError, also where a key stands twice in a mapping: YAML would take the last."""
    loader = Loader(text)
    try:
        nodes = loader.get_single_node()
        _refuse_twice(nodes, set())
        return nodes, None if nodes is None else loader.construct_document(nodes)
    finally:
        loader.dispose()


def _refuse_twice(node: yaml.Node | None, seen: set[int]) -> None:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(item, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value!r} stands here and in line {first[key.value]}; make one of them", problem_mark=key.start_mark
                    )
                first[key.value] = line
            _refuse_twice(value, seen)


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Change one value; a number stands for a list's item, the first is 0. A section that is missing or empty is begun."""
    *parents, last = dotted.split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        place: Any = _place(node, part, dotted, parents[depth - 1] if depth else "")
        node[place] = copy(node[place])  # an anchor's sections are one object, wherever they stand
        node = node[place]
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {dotted}: {part} is not a section")
    node[_place(node, last, dotted, parents[-1] if parents else "")] = value


def _place(node: dict[str, Any] | list[Any], part: str, dotted: str, name: str) -> str | int:
    """The key, or in a list called `name` the index. Raises ConfigError where the list has no such item."""
    if isinstance(node, dict):
        return part
    if not (part.isdecimal() and int(part) < len(node)):
        raise ConfigError(f"--set {dotted}: {name} is a list of {len(node)}; name an item by its number, the first is {name}.0")
    return int(part)


def _told(errors: Sequence[Any]) -> list[Any]:
    """The errors that tell a user something: not that a list is empty whose items are wrong, nor, of a value that may be a name or a mapping, what it
    would have to be to be the other."""
    places = [tuple(error["loc"]) for error in errors]
    empty = {place[:-1] for error, place in zip(errors, places, strict=True) if _is_empty(error)}

    def tells(error: Any, place: tuple[Any, ...]) -> bool:
        if error["type"] == "extra_forbidden":
            return place[:-1] not in empty  # they are the empty section's, and only want indenting
        if error["type"] == "too_short":
            return not any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if place and _is_choice(place[-1]):
            others = [other for other in places if other != place and other[: len(place) - 1] == place[:-1]]
            return not others or not (
                error["type"] == "model_type" or (error["type"] == "literal_error" and isinstance(error["input"], dict))
            )
        return True

    return [error for error, place in zip(errors, places, strict=True) if tells(error, place)] or [*errors]


def _is_choice(part: Any) -> bool:
    """Whether a part of an error's place is no key, but what a value that may be a name or a mapping was tried as."""
    return isinstance(part, str) and (part == "HashSplit" or "[" in part)


def _is_empty(error: Any) -> bool:
    """Whether a section has nothing in it."""
    return error["type"] in {"model_type", "tuple_type"} and error["input"] is None


def _explain(error: Any, path: Path, nodes: yaml.Node | None, whole: type[Section]) -> str:
    location = [part for part in error["loc"] if not _is_choice(part)]
    dotted = ".".join(str(part) for part in location)
    line = _line_of(nodes, location)
    where = f"({path}, line {line})" if line else f"({path})"
    if error["type"] == "extra_forbidden" and A_KEY.fullmatch(str(location[-1])):
        return f"{dotted}: no key stands in a config; put it into the environment variable OPENAI_API_KEY, and take this out {where}"
    if error["type"] == "extra_forbidden":
        return f"{dotted}: unknown key; {_nearest(location[-1], _valid_keys(whole, location[:-1]), 'valid here: ')} {where}"
    if error["type"] == "missing":
        return f"{dotted}: missing, and it has no default {where}"
    if error["type"] == "literal_error":
        return f"{dotted}: {error['input']!r}: {_nearest(error['input'], re.findall(LITERAL, error['ctx']['expected']), 'should be one of ')} {where}"
    if error["type"] == "model_type":
        if error["input"] is None:
            return f"{dotted}: is empty; indent the lines below that belong to it by two spaces, or take it out {where}"
        return f"{dotted}: {error['input']!r}: should be a section, with keys in the lines below it or in {{ }} {where}"
    if error["type"] == "tuple_type":
        each = "source" if dotted == "mentions" else "item"
        return f"{dotted}: should be a list: each {each} begins with `- `, or all stand in [ ] with commas between them {where}"
    if error["input"] is None and str(error["type"]).endswith("_type"):
        return f"{dotted}: is empty; give it a value, or leave it out where it has a default {where}"
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    shown = error["type"] != UNSHOWN and not isinstance(error["input"], dict)  # of a section its name is enough
    given = [repr(error["input"])] if shown else []
    return f"{': '.join([*([dotted, *given] if dotted else []), said])} {where}"


def _nearest(given: Any, valid: Sequence[str], otherwise: str) -> str:
    near = difflib.get_close_matches(str(given), valid, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else otherwise + ", ".join(valid)


def _valid_keys(model: Any, location: list[Any]) -> list[str]:
    for part in location:
        if not isinstance(part, str) or (model and part not in model.model_fields):  # a place in a list, a name of the user's
            continue
        model = next((m for m in _models_in(model.model_fields[part].annotation)), None) if model else None
    return list(model.model_fields) if model else []


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _line_of(node: yaml.Node | None, location: Sequence[Any]) -> int | None:
    """The line of what stands there, or of the last part of the way to it that stands in the file."""
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            key, node = next(((key, value) for key, value in reversed(node.value) if key.value == str(part)), (None, None))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            key = node = node.value[part]
        else:
            break
        if key is None:
            break
        line = key.start_mark.line + 1
    return line
