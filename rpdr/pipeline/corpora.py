"""A corpus of the config's: its mentions, read once, and the place that its shards are written to."""

from __future__ import annotations

from pathlib import Path

from rpdr.corpus import mention_notes, stream_mentions
from rpdr.corpus.written import write_corpus
from rpdr.errors import RunError
from rpdr.files import expanded, read_json, write_json
from rpdr.pipeline.progress import StageProgress, reading_mentions, say
from rpdr.pipeline.shards import BOUNDS
from rpdr.pipeline.store import MANIFEST, Store, bucket_of, is_ours, may_leave, store_at
from rpdr.remote import is_url, shown
from rpdr.run import Run, linking, resolve_run_dir
from rpdr.run.folder import ANOTHER_CORPUS
from rpdr.run.sources import Seen, changed, filled_in, places_of, seen

SOURCES = "sources.json"  # in the folder of the work: the files that the mentions there were read from


def read_corpus(run: Run, corpus: str, mentions: Path, rejects: Path, begun: bool, progress: StageProgress) -> Seen:
    """Read a corpus into `mentions` and `rejects`, unless an earlier start has; which files that were. Raises RunError where some of it is linked (`begun`)
    and its files are others now."""
    source, told = run.config.corpora[corpus], mentions.parent / SOURCES
    if mentions.exists() and told.exists():
        known: Seen = read_json(told)
        moved = changed(known, [source])
        if moved and begun:
            raise RunError(
                f"link-{corpus}: {moved} since {run.folder} read it; {ANOTHER_CORPUS}, or add --redo to throw away what is linked"
            )
        if not moved:
            return known
    for file in (mentions.parent / BOUNDS, mentions):  # first: without them nothing counts as spread, or as read
        file.unlink(missing_ok=True)
    for file in filter(Path.is_file, mentions.parent.glob("*")):
        file.unlink()
    files = seen([source])  # before they are read
    unread = source.model_copy(update={"gold": "unknown"})  # nobody asks for gold here, so none that cannot be read costs a row its answer
    say(mention_notes(unread))
    write_corpus(stream_mentions([unread], run.config.seed), mentions, rejects, reading_mentions(progress))
    write_json(told, files)  # not before: a config that no row can be read by has made nothing
    return files


def corpus_store(run: Run, corpus: str) -> Store:
    """Where one of the config's `corpora` is linked into. Raises RunError where that cannot be reached, or the data policy forbids it."""
    if run.config.link.output is None:
        return store_at(run.path("corpora", corpus))
    output = expanded(run.config.link.output)
    if run.config.data_policy == "restricted" and not may_leave(output, run.config.link.allowed_stores):
        raise RunError(
            f"link.output: {shown(output)}: data_policy restricted lets no text leave this machine, and shards hold the mentions; name a folder or, "
            f"if the store is yours, link.allowed_stores: [{bucket_of(output)}]"
        )
    place, mark, how = output.partition("?")
    where = f"{place.rstrip('/')}/{corpus}{mark}{how}"
    if not is_url(where):
        where = str(resolve_run_dir(where))
    if among := _sources_at(run, where):
        raise RunError(f"link.output: {shown(where)}, where the shards would lie, is a place of the source {shown(among)}; name another")
    return store_at(where)


def _sources_at(run: Run, where: str) -> str | None:
    """A folder that a source of the run reads whole, or by a pattern, if this place is it or lies in it."""
    ours = _plain(where)
    for _, source in run.config.sources:
        for place in places_of(source):
            theirs = _plain(filled_in(place))
            folder = theirs.parent if "*" in theirs.name else theirs
            inside = theirs in ours.parents and source.format != "standoff"  # which passes over what it does not know
            if ours == folder or inside:
                return place
    return None


def _plain(where: str) -> Path:
    """A place to compare: of a URL without what stands behind the path."""
    return Path(where.partition("?")[0]) if is_url(where) else Path(where).expanduser().resolve()


def throw_away(run: Run, corpus: str) -> None:
    """What has been linked of it, wherever that is; no other file that is there. Raises RunError where another run has made that."""
    store = corpus_store(run, corpus)
    names = store.names()
    whose = ((store.read_json(MANIFEST) or {}).get("made_from") or {}).get("inputs")
    nobodys = not whose and run.config.link.output and any(is_ours(name) for name in names)  # ours have a manifest from first to last
    if nobodys or (whose and whose not in (run.began(linking(corpus)), run.inputs(linking(corpus)))):
        raise RunError(
            f"{store}: holds shards that the last start of {run.folder} did not make; link into another place, or remove them by hand"
        )
    run.spoil(linking(corpus))
    for name in sorted(names, key=lambda name: name == MANIFEST):  # the manifest last: it says of what the others were made
        if is_ours(name):
            store.remove(name)
