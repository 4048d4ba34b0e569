"""A mention as the pipeline knows it (`Mention`, a row of schema.MENTIONS) and as a source gives it (`RawMention`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr import files
from rpdr.corpus.context import Hidden
from rpdr.errors import DataError
from rpdr.schema import MENTIONS, SPLITS, Gold, MentionKey

ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Mention:
    """One mention; the fields are those of schema.MENTIONS, and one that a saved mention lacks.

    `hidden`: of a context that was cut out of a longer text, what must not leave by what the whole text tells; None of any other, and where it is not asked about.
    """

    mention_id: str
    key: MentionKey
    text: str
    context: str | None
    type: str | None
    doc_id: str | None
    split: str
    gold: Gold | None
    written: str | None = None
    hidden: tuple[Hidden, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RawMention:
    """A mention as its source gives it, not cleaned. `file` and `line` (1-based) say where it stands; `id` may be empty or repeat; `document` is the
    text around it, where more of it is known than the context."""

    file: str
    line: int
    text: str
    id: str = ""
    context: str | None = None
    type: str | None = None
    doc_id: str | None = None
    gold: Gold | None = None
    document: str | None = None


@contextmanager
def writing_mentions(path: Path) -> Iterator[Callable[[Mention], None]]:
    """A function that adds a mention to a Parquet file of schema.MENTIONS, in the memory of ROWS_AT_ONCE; the file is there when the block
    has ended well."""
    with files.writing_rows(path, MENTIONS, ROWS_AT_ONCE) as write:
        names = MENTIONS.names
        values = attrgetter(*names)
        yield lambda mention: write(dict(zip(names, values(mention), strict=True)))


def save_mentions(path: Path, mentions: Iterable[Mention]) -> None:
    """Write mentions as Parquet of schema.MENTIONS, atomically."""
    with writing_mentions(path) as write:
        for mention in mentions:
            write(mention)


def load_mentions(path: Path, *splits: str) -> list[Mention]:
    """The mentions that `save_mentions` wrote, all or those of some splits, in order. Raises DataError if it is not such a file."""
    for split in splits:
        if split not in SPLITS:
            raise DataError(f"{split!r} is not a split; the splits are {', '.join(SPLITS)}")
    try:
        table = pq.read_table(path, filters=[("split", "in", splits)] if splits else None).cast(MENTIONS)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"{path}: not a file of saved mentions ({str(error).splitlines()[0]}); run `rpdr prepare` again") from error
    return [Mention(**row) for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE) for row in batch.to_pylist()]


def batches_of(path: Path, splits: Iterable[str], columns: Sequence[str], rows: int = ROWS_AT_ONCE) -> Iterator[pa.Table]:
    """These columns of the mentions of some splits, in tables of at most `rows` that have a row; of a corpus beside them nothing is made."""
    wanted = pa.array(splits, pa.string())
    for batch in pq.ParquetFile(path).iter_batches(rows, columns=list({*columns, "split"})):
        part = pa.Table.from_batches([batch]).filter(pc.is_in(batch["split"], wanted))
        if part.num_rows:
            yield part.select(columns)
