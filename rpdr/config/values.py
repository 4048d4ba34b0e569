"""Kinds of values that several sections have: texts that YAML takes for numbers, encodings, URLs, sizes of pools."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic

from rpdr.sections import unshown


def _encoding(name: str) -> str:
    try:
        "".encode(name)  # not codecs.lookup, which knows hex too
    except (LookupError, ValueError) as error:
        raise ValueError("is not an encoding of text that Python knows; try utf-8, cp1252 or gb18030") from error
    return name


def _with_a_scheme(url: str) -> str:
    if url and not re.match(r"https?://", url, re.IGNORECASE):
        raise unshown("needs http:// or https:// before it, e.g. http://localhost:8000/v1")
    return url


def _alone(given: Any) -> Any:
    return (given,) if isinstance(given, str | int) else given


# YAML reads -1 and 0 as numbers, where a gold id or a column is meant
Text = Annotated[str, pydantic.BeforeValidator(lambda given: str(given) if type(given) is int else given)]
# … and true as no text, where a cell is
Cell = Annotated[Text, pydantic.BeforeValidator(lambda given: str(given) if type(given) is bool else given)]
Cells = Annotated[tuple[Cell, ...], pydantic.BeforeValidator(_alone)]
Encoding = Annotated[str, pydantic.AfterValidator(_encoding)]
ServerUrl = Annotated[str, pydantic.AfterValidator(_with_a_scheme)]


def _least_and_most(actors: Any) -> int | tuple[int, int]:
    both = (actors, actors) if isinstance(actors, int) else tuple(actors) if isinstance(actors, list | tuple) else ()
    if len(both) != 2 or not all(type(n) is int for n in both) or not 1 <= both[0] <= both[1]:
        raise ValueError("a whole number from 1 up, or [least, most], the least first")
    return actors if isinstance(actors, int) else (both[0], both[1])


Actors = Annotated[int | tuple[int, int], pydantic.BeforeValidator(_least_and_most)]  # of a pool: so many, or [least, most]


def actors_between(actors: int | tuple[int, int]) -> tuple[int, int]:
    """(the least, the most) of a pool."""
    return (actors, actors) if isinstance(actors, int) else actors
