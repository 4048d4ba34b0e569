"""The ledger: every answer of the teacher, as append-only Parquet, durable before it is used."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.files import write_rows
from rpdr.schema import LEDGER


class Ledger:
    """A folder of Parquet files, each written whole or not at all. Any number of processes may append."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Keep rows of schema.LEDGER: on disk when this returns."""
        if rows:
            write_rows(self.folder / f"{uuid.uuid4().hex}.parquet", rows, LEDGER)

    def rows(self) -> pa.Table:
        """All rows, without repeats of one answer; half-written files have another name and are not seen."""
        files = sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith("."))
        once = {}
        for path in files:
            for row in pq.read_table(path).to_pylist():
                once[row["request_id"], row["attempt"], row["asked_at"]] = row  # attempts count anew at each start
        return pa.Table.from_pylist(list(once.values()), schema=LEDGER)

    def answered(self) -> dict[str, dict[str, Any]]:
        """The rows with a valid answer, by request id: these questions are never asked again."""
        return {row["request_id"]: row for row in self.rows().to_pylist() if row["valid"]}

    def spent_usd(self) -> float:
        """The price of all answers."""
        return float(sum(self.rows()["price_usd"].to_pylist()))
