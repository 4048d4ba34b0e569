"""Which files a stage read, and whether they are still what they were: other content is another experiment, another time or place is not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rpdr.config import KbConfig, MentionsConfig
from rpdr.corpus import standoff
from rpdr.errors import DataError
from rpdr.files import Source, locate_all, locate_source, sha256_tree, stamp_of, unusable
from rpdr.remote import shown

# by place as the config has it, and by file there: size, time and, of a file on a disk, content's hash
Seen = dict[str, dict[str, dict[str, Any]]]


def seen(sources: Iterable[KbConfig | MentionsConfig]) -> Seen:
    """The files of these sources as they are now. Raises DataError where one is not there, or cannot be read."""
    try:
        return {place: {name: stamp_of(file) | _hash(file) for name, file in files.items()} for place, files in _files(sources)}
    except OSError as error:
        if not (why := unusable(error)):
            raise
        raise DataError(why) from error


def changed(before: Seen, sources: Iterable[KbConfig | MentionsConfig]) -> str | None:
    """What has changed since, in words; None where nothing has, or where it is no longer there to be looked at: what was read is in the run."""
    for source in sources:
        try:
            for place, files in _files([source]):
                known = before.get(place, {})
                for name, file in files.items():
                    where = place if len(files) == 1 and place.endswith(name) else f"{place}: {name}"
                    if name not in known:
                        return f"{where} is new"
                    if not _same(known[name], file):
                        return f"{where} has changed"
        except (DataError, OSError):
            continue
    return None


def _same(known: dict[str, Any], file: Source) -> bool:
    now = stamp_of(file)
    if all(known[name] == now[name] for name in now):
        return True
    return known["size"] == now["size"] and known.get("sha256") is not None and _hash(file) == {"sha256": known["sha256"]}


def _hash(file: Source) -> dict[str, Any]:
    return {"sha256": _content(file, **stamp_of(file))} if isinstance(file, Path) else {}


@cache
def _content(file: Path, size: int, mtime_ns: int) -> str:
    """Its hash: asked for by each stage whose beginnings are checked, computed once as long as `size` and `mtime_ns` are as they were."""
    return sha256_tree(file)


def places_of(source: KbConfig | MentionsConfig) -> list[str]:
    """The paths and URLs that a source names."""
    more = [source.split_file, source.kb.path if source.kb else ""] if isinstance(source, MentionsConfig) else []
    return [place for place in (source.path, *more) if place]


def paths_of(source: KbConfig | MentionsConfig) -> list[Path]:
    """Of the places that a source names those on this machine, there or not; where a variable is not set, nobody knows the place."""
    places = map(filled_in, places_of(source))
    return [Path(place).resolve() for place in places if ":" not in place and "${" not in place]


def filled_in(place: str) -> str:
    """With ~ and variables as they are here; one that is not set stays."""
    return os.path.expanduser(os.path.expandvars(place))


def _files(sources: Iterable[KbConfig | MentionsConfig]) -> Iterator[tuple[str, dict[str, Source]]]:
    """(place, its files by name) of each place that the sources name."""
    for source in sources:
        for place in places_of(source):
            if source.format == "standoff" and place == source.path and (folder := locate_source(place)).is_dir():
                found = {str(name): file for name, file in standoff.files_of(folder).items()}
            else:
                found = {file.name: file for file in locate_all(place)}
            yield shown(place), found
