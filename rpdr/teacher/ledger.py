"""The ledger: what was sent where and when, what came back, what it cost. One SQLite file of append-only tables in the run directory.

A request is two rows: `sent`, on disk before it leaves, and `ended`, on disk before its answer is used. Any number of processes may
write. Keys and headers never reach it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rpdr.config import SANDBOX
from rpdr.errors import RunError
from rpdr.files import sha256
from rpdr.schema import LEDGER

FILE = "ledger.sqlite"
LOCKED_S = 60.0  # how long another's transaction is waited for
# how a request can end: only the first two were answered, and paid for; `lost`: it may have been served, so its worst case stays counted
VALID, INVALID, FREE, LOST = "valid", "invalid", "free", "lost"
SUBMITTED, MERGED = "submitted", "merged"  # what is kept of a batch
TABLES = """
CREATE TABLE IF NOT EXISTS prefixes (hash TEXT PRIMARY KEY, messages TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sent (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, question TEXT NOT NULL, key TEXT NOT NULL, attempt INTEGER NOT NULL,
    model TEXT NOT NULL, endpoint TEXT NOT NULL, mode TEXT NOT NULL, parameters TEXT NOT NULL, prefix TEXT NOT NULL,
    message TEXT NOT NULL, options TEXT NOT NULL, masked TEXT NOT NULL, worst_tokens INTEGER NOT NULL, max_output_tokens INTEGER NOT NULL,
    worst_usd REAL NOT NULL, owner TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS sent_question ON sent (question);
CREATE TABLE IF NOT EXISTS ended (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL, price_usd REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, answer TEXT NOT NULL, choice_id TEXT, confidence REAL,
    reason TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, batch TEXT NOT NULL, event TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS pace (name TEXT PRIMARY KEY, next_at REAL NOT NULL);
"""
APPEND_ONLY = "\n".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    for table in ("prefixes", "sent", "ended", "batches")
    for verb in ("UPDATE", "DELETE")
)
ROWS = """
SELECT s.question AS request_id, s.key, s.model, s.endpoint, s.mode, s.parameters, p.messages AS prefix, s.message, s.options, s.masked,
       s.attempt,
       s.at AS asked_at, coalesce(e.state, 'open') AS state, coalesce(e.reason, '') AS reason, coalesce(e.answer, '') AS answer, e.choice_id,
       e.confidence, coalesce(e.prompt_tokens, 0) AS prompt_tokens, coalesce(e.completion_tokens, 0) AS completion_tokens,
       coalesce(e.price_usd, s.worst_usd) AS price_usd, e.at AS ended_at
FROM sent s JOIN prefixes p ON p.hash = s.prefix LEFT JOIN ended e ON e.id = s.id ORDER BY s.seq
"""


@dataclass(frozen=True)
class Sent:
    """A request as it leaves. `question` names what is asked (hash of messages, model and parameters), `id` this one request."""

    id: str
    question: str
    key: str
    attempt: int  # of this question by this client, 1 = first
    model: str
    endpoint: str
    parameters: str  # JSON
    prefix: str  # JSON of the messages that all questions share
    message: str  # JSON of the last message
    options: str  # JSON: the concept of each option, from 1, in the order shown
    worst_tokens: int  # more prompt tokens than any tokenizer makes of it
    max_output_tokens: int
    masked: str = "{}"  # JSON: what was masked before it left, by kind
    mode: str = "sync"  # or "batch"


@dataclass(frozen=True)
class Ended:
    """What came of a request. `state`: VALID, INVALID, FREE or LOST; the tokens are the endpoint's own count."""

    id: str
    state: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answer: str = ""
    choice_id: str | None = None  # with VALID: the concept chosen, None for NIL
    confidence: float | None = None  # with VALID: what the endpoint says, in [0, 1]; None where it says nothing
    reason: str = ""
    cached_tokens: int = 0  # of the prompt's; the ledger keeps what they came to, in the price


@dataclass(frozen=True)
class Known:
    """What the ledger knows of a question: its valid answer, or why it was set aside after two that could not be read."""

    valid: bool
    choice_id: str | None
    confidence: float | None
    reason: str


@dataclass(frozen=True)
class Submission:
    """Requests that left together. `batch`: the provider's id; None where it is not known whether they arrived."""

    owner: str
    batch: str | None
    requests: list[Sent]  # without their messages


@dataclass(frozen=True)
class Spent:
    """What was asked and paid for. `mentions`: distinct ones."""

    mentions: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float


class Ledger:
    """The ledger of a run's folder, to read. Writing is the governor's, through `connect` and the functions below."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def rows(self) -> pa.Table:
        """All requests as rows of schema.LEDGER, in the order in which they left."""
        rows = []
        with self._reader() as db:
            for row in db.execute(ROWS) if db else ():
                found = dict(row)
                found["messages"] = json.dumps([*json.loads(found.pop("prefix")), json.loads(found.pop("message"))], ensure_ascii=False)
                found["valid"] = found["state"] == VALID
                for name in ("asked_at", "ended_at"):
                    found[name] = None if found[name] is None else int(found[name] * 1000)
                rows.append(found)
        return pa.Table.from_pylist(rows, schema=LEDGER)

    def known(self, questions: Iterable[str]) -> dict[str, Known]:
        """What is known of these questions; those that have to be asked are left out."""
        with self._reader() as db:
            return known(db, questions) if db else {}

    def spent_usd(self, simulated: bool | None = None) -> float:
        """Dollars for all requests; what is open or lost at its worst case. `simulated`: of the simulated teacher alone, or of all others."""
        with self._reader() as db:
            spent, still_open = spent_and_open(db, simulated) if db else (0.0, [])
        return spent + sum(row["worst_usd"] for row in still_open)

    def spent_since(self, at: float) -> Spent:
        """What was asked since, in epoch seconds; what is open or lost at its worst case."""
        with self._reader() as db:
            if not db:
                return Spent(0, 0, 0, 0, 0.0)
            row = db.execute(
                "SELECT count(DISTINCT s.key), count(*), coalesce(sum(e.prompt_tokens), 0), coalesce(sum(e.completion_tokens), 0), "
                "coalesce(sum(coalesce(e.price_usd, s.worst_usd)), 0) FROM sent s LEFT JOIN ended e ON e.id = s.id "
                "WHERE s.at >= ? AND coalesce(e.state, '') != ?",
                (at, FREE),
            ).fetchone()
            return Spent(*row)

    def keys_asked(self, model: str) -> set[str]:
        """The keys of the mentions that this model was asked about."""
        with self._reader() as db:
            return {row["key"] for row in db.execute("SELECT DISTINCT key FROM sent WHERE model = ?", (model,))} if db else set()

    def answers_of(self, model: str, endpoint: str, max_output_tokens: int, most: int) -> list[sqlite3.Row]:
        """What the last so many requests took that this model ended at this endpoint: question, worst_tokens, parameters, at, mode, state, prompt_tokens,
        completion_tokens, ended. Of the simulated teacher those of all places: its own is another one every time."""
        with self._reader() as db:
            if not db:
                return []
            return db.execute(
                "SELECT s.question, s.worst_tokens, s.parameters, s.at, s.mode, e.state, e.prompt_tokens, e.completion_tokens, e.at AS ended "
                "FROM sent s JOIN ended e ON e.id = s.id WHERE s.model = ? AND (s.endpoint = ? OR s.model = ?) "
                "AND s.max_output_tokens = ? AND e.state IN (?, ?, ?) ORDER BY s.seq DESC LIMIT ?",
                (model, endpoint, SANDBOX, max_output_tokens, VALID, INVALID, LOST, most),
            ).fetchall()

    def account(self, simulated: bool | None = None) -> list[dict[str, Any]]:
        """Requests, dollars and tokens by mode, state and attempt: what was paid for, and what of it was wasted. `simulated`: see `spent_usd`."""
        with self._reader() as db:
            if not db:
                return []
            found = db.execute(
                "SELECT mode, coalesce(state, 'open') AS state, attempt, count(*) AS requests, sum(coalesce(price_usd, worst_usd)) AS usd, "
                "coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(completion_tokens), 0) AS completion_tokens "
                f"FROM sent LEFT JOIN ended USING (id) WHERE {_played(simulated)} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            )
            return [dict(row) for row in found]

    def masked(self, simulated: bool | None = None) -> dict[str, int]:
        """How many identifiers of each kind were masked in what was sent, each question counted once. `simulated`: see `spent_usd`."""
        found: Counter[str] = Counter()
        with self._reader() as db:
            of_them = f"SELECT masked FROM sent WHERE masked != '{{}}' AND {_played(simulated)} GROUP BY question"
            for row in db.execute(of_them) if db else ():
                found.update(json.loads(row["masked"]))
        return dict(found)

    def has_open_batches(self) -> bool:
        """Whether something sent in batches has not ended."""
        with self._reader() as db:
            return bool(db and open_batches(db))

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection | None]:
        if not (self.folder / FILE).exists():
            yield None
            return
        db = connect(self.folder)
        try:
            yield db
        finally:
            db.close()


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to the ledger of `folder`, which is made where it is missing. Raises RunError if the file is no ledger, or cannot be opened now."""
    folder.mkdir(parents=True, exist_ok=True)
    db: sqlite3.Connection | None = None
    try:
        # isolation_level None: transactions are begun and ended by name
        db = sqlite3.connect(folder / FILE, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        # no write-ahead log: that would need all writers on one machine. FULL: on disk when a transaction returns
        db.executescript("PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL;" + TABLES + APPEND_ONLY)
    except sqlite3.DatabaseError as error:
        if db:
            db.close()
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):  # without what says more of it
            raise RunError(f"{folder / FILE}: cannot be read as a ledger ({error}); restore it, or move it away and pay anew") from error
        raise RunError(
            f"{folder / FILE}: cannot be opened ({error}); what it holds is kept: free space, or see that the file system has locks, and start again"
        ) from error
    return db


def append_sent(db: sqlite3.Connection, sent: Sent, worst_usd: float, owner: str, at: float) -> None:
    """Keep that a request is about to leave."""
    prefix = sha256(sent.prefix)
    db.execute("INSERT OR IGNORE INTO prefixes VALUES (?, ?)", (prefix, sent.prefix))
    db.execute(
        "INSERT INTO sent (id, question, key, attempt, model, endpoint, mode, parameters, prefix, message, options, masked, worst_tokens, "
        "max_output_tokens, worst_usd, owner, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(sent.id, sent.question, sent.key, sent.attempt, sent.model, sent.endpoint, sent.mode, sent.parameters),
            *(prefix, sent.message, sent.options, sent.masked, sent.worst_tokens, sent.max_output_tokens, worst_usd, owner, at),
        ),
    )


def append_ended(db: sqlite3.Connection, ended: Ended, price_usd: float, at: float) -> None:
    """Keep how a request ended: the first word stands. Half a character, which JSON can hold and no file, becomes a question mark."""
    answer, reason = (text.encode("utf-8", "replace").decode() for text in (ended.answer, ended.reason))
    db.execute(
        "INSERT OR IGNORE INTO ended (id, state, price_usd, prompt_tokens, completion_tokens, answer, choice_id, confidence, reason, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(ended.id, ended.state, price_usd, ended.prompt_tokens, ended.completion_tokens),
            *(answer, ended.choice_id, ended.confidence, reason, at),
        ),
    )


def append_batch(db: sqlite3.Connection, owner: str, batch: str, event: str, at: float) -> None:
    """Keep what became of a submission."""
    db.execute("INSERT INTO batches (owner, batch, event, at) VALUES (?, ?, ?, ?)", (owner, batch, event, at))


def open_batches(db: sqlite3.Connection) -> list[Submission]:
    """What was sent in batches and has not ended, by submission."""
    found: dict[str, Submission] = {}
    rows = db.execute(
        "SELECT s.*, (SELECT b.batch FROM batches b WHERE b.owner = s.owner) AS batch FROM sent s LEFT JOIN ended e ON e.id = s.id "
        "WHERE s.mode = 'batch' AND e.id IS NULL ORDER BY s.seq"
    )
    for row in rows:
        submission = found.setdefault(row["owner"], Submission(row["owner"], row["batch"], []))
        kept = {name: row[name] for name in ("id", "question", "key", "attempt", "model", "endpoint", "parameters", "options")}
        limits = {name: row[name] for name in ("worst_tokens", "max_output_tokens")}
        submission.requests.append(Sent(**kept, **limits, prefix="", message="", mode="batch"))
    return list(found.values())


def known(db: sqlite3.Connection, questions: Iterable[str]) -> dict[str, Known]:
    """See Ledger.known."""
    found: dict[str, Known] = {}
    for question in set(questions):
        rows = db.execute(
            "SELECT e.state, e.choice_id, e.confidence, e.reason FROM sent s JOIN ended e ON e.id = s.id "
            "WHERE s.question = ? AND e.state IN (?, ?) ORDER BY e.state = ? DESC, e.seq",
            (question, VALID, INVALID, VALID),
        ).fetchall()
        if rows and (rows[0]["state"] == VALID or len(rows) > 1):
            found[question] = Known(rows[0]["state"] == VALID, rows[0]["choice_id"], rows[0]["confidence"], rows[0]["reason"])
    return found


def spent_and_open(db: sqlite3.Connection, simulated: bool | None = None) -> tuple[float, list[sqlite3.Row]]:
    """(dollars of all ended requests; id, worst_usd, owner, mode and at of each open one). `simulated`: see Ledger.spent_usd."""
    ended = f"SELECT coalesce(sum(price_usd), 0) FROM ended LEFT JOIN sent USING (id) WHERE {_played(simulated)}"
    spent = float(db.execute(ended).fetchone()[0])
    still = "SELECT id, worst_usd, owner, mode, sent.at FROM sent LEFT JOIN ended USING (id) WHERE state IS NULL"
    return spent, db.execute(f"{still} AND {_played(simulated)}").fetchall()


def sent_since(db: sqlite3.Connection, seq: int, simulated: bool | None = None) -> list[sqlite3.Row]:
    """id, worst_usd, owner, mode and at of each request behind this row. `simulated`: see Ledger.spent_usd."""
    return db.execute(f"SELECT id, worst_usd, owner, mode, at FROM sent WHERE seq > ? AND {_played(simulated)}", (seq,)).fetchall()


def ended_since(db: sqlite3.Connection, seq: int, simulated: bool | None = None) -> Iterator[tuple[str, float]]:
    """(id, dollars) of each end behind this row. `simulated`: see Ledger.spent_usd."""
    rows = f"SELECT id, price_usd FROM ended LEFT JOIN sent USING (id) WHERE ended.seq > ? AND {_played(simulated)}"
    return ((row["id"], row["price_usd"]) for row in db.execute(rows, (seq,)))


def _played(simulated: bool | None) -> str:
    """The condition of rows of `sent`: see Ledger.spent_usd."""
    return "1" if simulated is None else f"(model IS {'' if simulated else 'NOT '}'{SANDBOX}')"
