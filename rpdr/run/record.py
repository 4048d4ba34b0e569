"""What a run keeps of a stage, in `.stages/NAME.json`: what it was begun from, and, once it is finished, what it found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rpdr.files import read_json, write_json

SHORT = 60  # characters of a setting's value that an error repeats


@dataclass(frozen=True)
class Record:
    """`inputs`: the hash of all that the stage was begun from; empty while its results are thrown away: what is left is of no config, and `were` has
    the hash. `made_from`: the same to read, defaults of then too. `revision`: that of the stage that began it. `id`: the hash of what a finished stage
    has made, empty before; `summary`: for the report."""

    inputs: str
    revision: int = 1
    made_from: dict[str, Any] = field(default_factory=dict)
    were: str = ""
    id: str = ""
    finished_at: str = ""  # ISO 8601, UTC
    seconds: float = 0.0
    summary: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        write_json(path, {name: value for name, value in asdict(self).items() if value or name == "inputs"})


def read_record(path: Path) -> Record | None:
    """None where the stage was never begun. What a later rpdr keeps besides is passed over."""
    if not path.exists():
        return None
    kept = read_json(path)
    return Record(**{known.name: kept[known.name] for known in fields(Record) if known.name in kept})


def other_now(made_from: dict[str, Any], now: dict[str, Any], given: dict[str, Any], same: bool) -> str | None:
    """What a stage was made from ({"settings": sections, "stages": name -> id}) that is another now, in words; None where nothing is.

    `given`: the sections now, without what is as it is by default. `same`: what is given has not changed, so that only defaults can have.
    """
    again = [name for name, found in made_from["stages"].items() if found != now["stages"].get(name)]
    if again:
        return f"{' and '.join(again)} found something else since"
    before = made_from["settings"]
    found = difference(before, now["settings"], given, dropped=not same)
    if found is None:
        return None
    name, then, value = found
    told = f"{name} was {_in_words(then)}, and is {_in_words(value)}"
    return f"{told} by default now; set it to what it was in the config, and the student links on" if same else told


def difference(before: Any, now: Any, given: Any, name: str = "", dropped: bool = True) -> tuple[str, Any, Any] | None:
    """The first setting of two trees that is another: (its dotted name, then, now), then or now None where there was none. None where all agree.

    `given`: `now` without what is as it is by default. A key that was not there yet is a difference where it is given; one that is not there any more, as
    a later version of rpdr may have dropped it, where `dropped` counts.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        given = given if isinstance(given, dict) else {}
        for key in {**now, **before}:
            dotted = f"{name}.{key}" if name else key
            if key in before and key in now:
                if found := difference(before[key], now[key], given.get(key), dotted, dropped):
                    return found
            elif dropped if key in before else key in given:
                return dotted, before.get(key), now.get(key)
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        each = zip(before, now, given if isinstance(given, list) else now, strict=True)
        return next((found for n, one in enumerate(each) if (found := difference(*one, f"{name}[{n}]", dropped))), None)
    return None if before == now else (name, before, now)


def _in_words(value: Any) -> str:
    """A setting's value, if it is short."""
    told = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return told if len(told) <= SHORT else "another"
