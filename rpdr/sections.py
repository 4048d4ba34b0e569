"""YAML files with sections that are checked: unknown keys are refused, each error names the file, the line and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from rpdr.errors import ConfigError


class Section(pydantic.BaseModel):
    """Base of all sections: immutable, no unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


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
        raise ConfigError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a {what} is a mapping of sections, e.g. `{example}:`; this is {type(tree).__name__}")
    for dotted, value in (overrides or {}).items():
        _put(tree, dotted, value)
    try:
        return whole.model_validate(tree)
    except pydantic.ValidationError as error:
        raise ConfigError("; ".join(_explain(e, path, nodes, whole) for e in _told(error.errors())[:3])) from error


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """(the YAML's nodes, which know their lines, what they say). Raises YAMLError, also where a key stands twice in a mapping: YAML would take the last."""
    loader = yaml.SafeLoader(text)
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
    *parents, last = dotted.split(".")
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {dotted}: {name} is not a section")
        node = child
    node[last] = value


def _told(errors: Sequence[Any]) -> list[Any]:
    """The errors that tell a user something: not that a list is empty whose items are wrong, nor, of a value that may be a name or a mapping, what it
    would have to be to be the other."""
    places = [tuple(error["loc"]) for error in errors]

    def tells(error: Any, place: tuple[Any, ...]) -> bool:
        if error["type"] == "too_short":
            return not any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if error["type"] == "literal_error" and isinstance(error["input"], dict):
            return not any(other[:-1] != place[:-1] and other[: len(place) - 1] == place[:-1] for other in places)
        if error["type"] == "model_type":
            return not any(other != place and other[:-1] == place[:-1] for other in places)
        return True

    return [error for error, place in zip(errors, places, strict=True) if tells(error, place)] or [*errors]


def _explain(error: Any, path: Path, nodes: yaml.Node | None, whole: type[Section]) -> str:
    location = [part for part in error["loc"] if not (isinstance(part, str) and (part in {"HashSplit"} or "[" in part))]
    dotted = ".".join(str(part) for part in location)
    line = _line_of(nodes, location)
    where = f"({path}, line {line})" if line else f"({path})"
    if error["type"] == "extra_forbidden":
        valid = _valid_keys(whole, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(valid)}"
        return f"{dotted}: unknown key; {hint} {where}"
    if error["type"] == "missing":
        return f"{dotted}: missing, and it has no default {where}"
    if error["type"] == "tuple_type":
        each = "source" if dotted == "mentions" else "item"
        return f"{dotted}: should be a list: each {each} begins with `- `, or all stand in [ ] with commas between them {where}"
    return f"{dotted}: {error['input']!r}: {error['msg']} {where}" if dotted else f"{error['msg']} {where}"


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
