"""Which files a stage read, and whether they are still what they were: other content is another experiment, another time or place is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rpdr.config import KbConfig, MentionsConfig
from rpdr.errors import DataError
from rpdr.files import Source, files_in, locate_all, locate_source, sha256_tree
from rpdr.remote import shown

Seen = dict[
    str, dict[str, dict[str, Any]]
]  # by place as the config has it, and by file there: size, time and, of a file on a disk, content's hash


def seen(sources: Iterable[KbConfig | MentionsConfig]) -> Seen:
    """The files of these sources as they are now. Raises DataError where one is not there."""
    return {place: {name: _stamp(file) | _hash(file) for name, file in files.items()} for place, files in _files(sources)}


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
    now = _stamp(file)
    if all(known[name] == now[name] for name in now):
        return True
    return known["size"] == now["size"] and known.get("sha256") is not None and _hash(file) == {"sha256": known["sha256"]}


def _stamp(file: Source) -> dict[str, Any]:
    if isinstance(file, Path):
        found = file.stat()
        return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
    return file.stamp


def _hash(file: Source) -> dict[str, Any]:
    return {"sha256": sha256_tree(file)} if isinstance(file, Path) else {}


def _files(sources: Iterable[KbConfig | MentionsConfig]) -> Iterator[tuple[str, dict[str, Source]]]:
    """(place, its files by name) of each place that the sources name."""
    for source in sources:
        places = [source.path]
        if isinstance(source, MentionsConfig):
            places += [source.split_file, source.kb.path if source.kb else ""]
        for place in filter(None, places):
            if source.format == "standoff" and place == source.path and (folder := locate_source(place)).is_dir():
                found = {str(name): file for name, file in files_in(folder, deep=True).items() if name.suffix in (".ann", ".txt")}
            else:
                found = {file.name: file for file in locate_all(place)}
            yield shown(place), found
