"""YAML files with sections that are checked: unknown keys are refused, each error names the file, the line and the remedy."""

from __future__ import annotations

import difflib
import re
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
        tree = yaml.safe_load(text)
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
        raise ConfigError("; ".join(_explain(e, path, text, whole) for e in error.errors()[:3])) from error


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {dotted}: {name} is not a section")
        node = child
    node[last] = value


def _explain(error: Any, path: Path, text: str, whole: type[Section]) -> str:
    location = [part for part in error["loc"] if not (isinstance(part, str) and (part in {"HashSplit"} or "[" in part))]
    dotted = ".".join(str(part) for part in location)
    line = _line_of(text, [str(part) for part in location if isinstance(part, str)])
    where = f"({path}, line {line})" if line else f"({path})"
    if error["type"] == "extra_forbidden":
        valid = _valid_keys(whole, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(valid)}"
        return f"{dotted}: unknown key; {hint} {where}"
    if error["type"] == "missing":
        return f"{dotted}: missing, and it has no default {where}"
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


def _line_of(text: str, names: list[str]) -> int | None:
    line = 0
    lines = text.splitlines()
    found = None
    for name in names:
        for number in range(line, len(lines)):
            if re.search(rf"(^|[\s{{,-]){re.escape(name)}\s*:", lines[number]):
                line, found = number, number + 1
                break
    return found
