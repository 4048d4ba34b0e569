"""docs/config.md, from the sections of rpdr/config: `python docs/config_reference.py`, or --check whether it is as it should be."""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from rpdr.config import Config
from rpdr.sections import Section

PAGE = Path(__file__).with_name("config.md")
INTRODUCTION = """# Every key of a config

Made from [rpdr/config/](../rpdr/config) by `python docs/config_reference.py`. An unknown key is refused, with the nearest valid one. A dotted name is a key of a
section: `retriever.model` is `model` under `retriever:`. For one start, `--set retriever.epochs=3`.
"""
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_sections(Config, "", set())])


def _sections(section: type[Section], name: str, told: set[type[Section]]) -> Iterator[str]:
    """A table of the section's own keys, then those of the sections in it that are not `told` yet."""
    told.add(section)
    inner: list[tuple[str, type[Section]]] = []
    yield f"## {f'`{name}`' if name else 'The run'}\n\n{' '.join((section.__doc__ or '').split())}\n\n| Key | By default | |\n| --- | --- | --- |"
    for key, field in section.model_fields.items():
        dotted = f"{name}.{key}" if name else key
        within = [kind for kind in _kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, Section)]
        inner += [(dotted, kind) for kind in within]
        words = [
            _allowed(field),
            field.description or "",
            "" if field.description else " ".join((kind.__doc__ or "").split("\n")[0] for kind in within),
        ]
        yield f"| `{key}` | {_in_cell(_default(field))} | {_in_cell(' '.join(filter(None, words)))} |"
    yield ""
    for dotted, kind in inner:
        if kind not in told:
            yield from _sections(kind, dotted, told)


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type, and the types that it is made of."""
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _kinds(argument)


def _allowed(field: FieldInfo) -> str:
    """The words or bounds of its value."""
    kind = field.annotation
    alternatives = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    words = [f"`{word}`" for one in alternatives if typing.get_origin(one) is Literal for word in typing.get_args(one)]
    if all(f"{word[1:-1]}: " in (field.description or "") for word in words):  # it tells of each
        words = []
    bounds = [f"{sign} {getattr(limit, name):g}" for limit in field.metadata for name, sign in BOUNDS.items() if hasattr(limit, name)]
    told = "; ".join(filter(None, (" or ".join(words), ", ".join(bounds))))
    return f"{told}:" if told and field.description else told


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return ""
    if value is None or value in ("", (), {}):
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _in_cell(text: str) -> str:
    return text.replace("|", r"\|")


def main() -> int:
    """Write the page, or say whether it is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    made = page()
    if not parser.parse_args().check:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        print(f"{PAGE.name} is not what rpdr/config says; make it again: python docs/config_reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
