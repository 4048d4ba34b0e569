"""Files of a folder and of an object store: whole or not at all. The store is a real server that speaks S3."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs

from rpdr.errors import RunError
from rpdr.pipeline import store as module
from rpdr.pipeline.store import Bucket, Folder, Store, may_leave, store_at

SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False)])


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(request.getfixturevalue("bucket") if request.param == "bucket" else tmp_path / "linked")


def rows_of(store: Store, name: str) -> list[dict[str, Any]]:
    return [row for table in store.read_tables(name) for row in table.to_pylist()]


def test_what_is_written_is_there_and_is_replaced(store: Store):
    assert store.names() == set()
    assert store.read_json("_manifest.json") is None
    store.write_json("_manifest.json", {"of": 1, "text": "左膝退变"})
    store.write_tables("shard-000000.parquet", [pa.table({"n": [1, 2]})], SCHEMA)
    store.write_tables("shard-000000.parquet", [pa.table({"n": [3], "more": ["is left out"]}), pa.table({"n": [4]})], SCHEMA)
    assert store.names() == {"_manifest.json", "shard-000000.parquet"}
    assert store.read_json("_manifest.json") == {"of": 1, "text": "左膝退变"}
    assert rows_of(store, "shard-000000.parquet") == [{"n": 3}, {"n": 4}]
    store.remove("shard-000000.parquet")
    assert store.names() == {"_manifest.json"}


def test_a_table_that_is_not_as_it_should_be_leaves_what_was_there(store: Store):
    store.write_tables("shard-000000.parquet", [pa.table({"n": [1]})], SCHEMA)
    with pytest.raises(pa.ArrowInvalid):
        store.write_tables("shard-000000.parquet", [pa.table({"n": [2]}), pa.table({"n": ["no number"]})], SCHEMA)
    assert rows_of(store, "shard-000000.parquet") == [{"n": 1}]


def test_a_file_that_waits_on_the_disk_arrives_whole(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "IN_MEMORY", 100)
    store.write_tables("shard-000000.parquet", (pa.table({"n": range(start, start + 1_000)}) for start in range(0, 10_000, 1_000)), SCHEMA)
    assert rows_of(store, "shard-000000.parquet") == [{"n": n} for n in range(10_000)]


@pytest.mark.parametrize("cut", [0, 10])
def test_what_is_no_whole_file_is_none(store: Store, bucket: str, cut: int):
    store.write_json("_manifest.json", {"of": 1})
    store.write_tables("shard-000000.parquet", [pa.table({"n": [1]})], SCHEMA)
    for name in ("_manifest.json", "shard-000000.parquet"):
        if isinstance(store, Folder):
            (store.path / name).write_bytes((store.path / name).read_bytes()[:cut])
        else:
            files, root = fs.FileSystem.from_uri(bucket)
            whole = files.open_input_stream(f"{root}/{name}").read()
            with files.open_output_stream(f"{root}/{name}") as stream:
                stream.write(whole[:cut])
    assert store.read_json("_manifest.json") is None
    assert rows_of(store, "shard-000000.parquet") == []


class Interrupted:
    """A store's files, and a Ctrl-C while an object is opened."""

    def __init__(self, files: fs.FileSystem) -> None:
        self.files = files

    def open_output_stream(self, path: str) -> pa.NativeFile:
        stream = self.files.open_output_stream(path)
        signal.raise_signal(signal.SIGINT)
        return stream


def test_a_signal_while_an_object_is_opened_leaves_no_empty_one_in_its_place(bucket: str):
    store = Bucket(bucket)
    store.write_json("_manifest.json", {"of": 1})
    store._files, files = Interrupted(store._files), store._files
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            store.write_json("_manifest.json", {"of": 2})
    finally:
        signal.signal(signal.SIGINT, before)
    store._files = files
    assert store.read_json("_manifest.json") == {"of": 2}


KILLED = """
import sys, time
import pyarrow as pa
from rpdr.pipeline import store

def half(table):
    for _ in range(20):
        yield table
    print("half", flush=True)
    time.sleep(60)

store.IN_MEMORY = 100
table = pa.table({"n": range(100_000)})
store.store_at(sys.argv[1]).write_tables("shard-000001.parquet", half(table), table.schema)
"""


def test_an_object_whose_writer_was_killed_is_not_there(bucket: str):
    with subprocess.Popen([sys.executable, "-c", KILLED, bucket], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    assert store_at(bucket).names() == set()


def test_what_can_be_written_to_is_as_it_was_after_a_look(store: Store):
    store.write_json("_manifest.json", {})
    store.check_writable()
    assert store.names() == {"_manifest.json"}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "linked").write_text("a file")
    with pytest.raises(RunError, match=r"linked: cannot be written \("):
        store_at(tmp_path / "linked").check_writable()
    readable = store_at(bucket)
    monkeypatch.setattr(module.Bucket, "_upload", lambda *_: (_ for _ in ()).throw(PermissionError("AWS Error ACCESS_DENIED")))
    with pytest.raises(RunError, match=r"link\.output: s3://linked/"):
        readable.check_writable()


def test_what_a_killed_writer_left_in_a_folder_is_swept(tmp_path: Path):
    (tmp_path / ".shard-000000.parquet.x1_abcde").write_bytes(b"half")
    (tmp_path / "._manifest.json.x1_abcde").write_bytes(b"half")
    (tmp_path / "mine.txt").write_text("stays")
    store = Folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3  # another run may be at work there, until it is known that it is not
    store.sweep()
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_anybody_elses_in_a_folder_is_not_swept(tmp_path: Path):
    theirs = {".notes.2024_tax", ".config.settings", "deep/.shard-000000.parquet.x1_abcde", ".shard-000000.parquet.x1_abcde/kept"}
    for name in theirs:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("stays")
    Folder(tmp_path).sweep()
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()} == theirs


def test_a_file_url_is_the_folder_that_it_names(tmp_path: Path):
    store = store_at(f"file://{tmp_path}/linked%20shards")
    assert isinstance(store, Folder)
    assert store.path == tmp_path / "linked shards"
    with pytest.raises(RunError, match=r"link\.output: file://elsewhere/linked: cannot be used"):
        store_at("file://elsewhere/linked")


def test_a_store_that_cannot_be_reached_is_named_with_a_remedy_and_no_secret(bucket: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    for url in (bucket.replace("s3://", "s9://"), bucket.replace("s3://linked", "s3://not-there")):
        with pytest.raises(RunError, match=r"link\.output: s.://.*cannot be used.*AWS_ACCESS_KEY_ID") as refused:
            store_at(url).write_json("x.json", 1)
        assert "hush" not in str(refused.value)


def test_a_bucket_that_is_not_there_is_told_before_anything_is_written(bucket: str):
    assert store_at(bucket).names() == set()
    with pytest.raises(RunError, match=r"link\.output: s3://not-there.*no bucket of this name"):
        store_at(bucket.replace("s3://linked", "s3://not-there")).names()


def test_a_bucket_that_may_not_be_looked_at_is_taken_to_be_there(bucket: str):
    class Closed:
        def get_file_info(self, what: Any) -> list[Any]:
            if isinstance(what, str):
                raise PermissionError("not yours to look at")
            return []

    store = Bucket(bucket)
    store._files = Closed()
    assert store.names() == set()


@pytest.mark.parametrize(
    ("where", "stores", "allowed"),
    [
        ("/data/linked", (), True),
        ("file:///data/linked", (), True),
        ("s3://ours/linked", (), False),
        ("s3://ours/linked", ("ours",), True),
        ("s3://ours.evil/linked", ("ours",), False),
        ("s3://x/linked?scheme=http&endpoint_override=localhost:9000", (), True),
        ("s3://x/linked?endpoint_override=http://127.0.0.1:9000", (), True),
        ("s3://x/linked?scheme=http&endpoint_override=minio.example:9000", (), False),
        ("s3://localhost/linked", (), False),
    ],
)
def test_restricted_text_is_written_to_this_machine_or_a_store_of_ones_own(where: str, stores: tuple[str, ...], allowed: bool):
    assert may_leave(where, stores) == allowed


def test_a_path_is_a_folder_and_a_url_an_object_store(bucket: str, tmp_path: Path):
    assert isinstance(store_at(bucket), Bucket)
    assert isinstance(store_at(str(tmp_path)), Folder)
    assert str(store_at(bucket)) == bucket.partition("?")[0]  # a URL may have a key after the mark
