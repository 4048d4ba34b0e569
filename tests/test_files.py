"""Where files are, and that they are written whole or not at all."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rpdr.errors import DataError
from rpdr.files import (
    RELATIVE,
    atomic_folder,
    locate,
    locate_all,
    read_lines,
    read_tables,
    read_text,
    sha256,
    sha256_tree,
    sweep,
    texts,
    unusable,
    write_atomically,
    write_json,
    write_rows,
    write_tables,
    write_text,
)

SCHEMA = pa.schema([pa.field("a", pa.int32()), pa.field("b", pa.string())])


def test_a_path_may_hold_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "kb.csv").write_text("x")
    monkeypatch.setenv("RPDR_TEST_DATA", str(tmp_path))
    assert locate("${RPDR_TEST_DATA}/kb.csv") == tmp_path / "kb.csv"
    assert locate(str(tmp_path)) == tmp_path


def test_a_path_may_be_inside_a_package():
    assert locate("package:rpdr/show.py").name == "show.py"
    assert locate("package:rpdr.kb/obo.py").name == "obo.py"
    assert locate("package:rpdr").is_dir()


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("no/such/file.csv", "no such file"),
        ("${RPDR_TEST_UNSET}/kb.csv", "RPDR_TEST_UNSET"),
        ("package:no_such_package/x", "no_such_package is not installed"),
        ("package:no_such_package.part/x", "no_such_package.part is not installed"),
        ("package:json.decoder/x", "not installed"),
        ("package:rpdr/no_such_file", "no such file"),
        ("package:/x", "not installed"),
        ("package:", "not installed"),
    ],
)
def test_what_is_not_there_is_named_as_the_config_has_it(where: str, says: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RPDR_TEST_UNSET", raising=False)
    with pytest.raises(DataError) as caught:
        locate(where)
    assert str(caught.value).startswith(where)
    assert says in str(caught.value)


def test_a_source_may_be_a_folder_or_a_pattern(tmp_path: Path):
    for name in ("b.csv", "a.csv", "a.tsv", "_manifest.json", ".hidden"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in locate_all(str(tmp_path))] == ["a.csv", "a.tsv", "b.csv"]
    assert [path.name for path in locate_all(f"{tmp_path}/*.csv")] == ["a.csv", "b.csv"]
    assert locate_all(f"{tmp_path}/_manifest.json") == [tmp_path / "_manifest.json"]
    with pytest.raises(DataError, match=r"\*\.jsonl: no file there"):
        locate_all(f"{tmp_path}/*.jsonl")


def test_a_pattern_at_the_root_is_not_sought_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x1-of-rpdr.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in locate_all("x*-of-rpdr.csv")] == ["x1-of-rpdr.csv"]
    with pytest.raises(DataError, match=r"^/x\*-of-rpdr\.csv: no file there"):
        locate_all("/x*-of-rpdr.csv")


def test_a_folder_with_folders_in_it_is_refused_with_a_pattern_that_is_not(tmp_path: Path):
    for name in ("a.csv", "sub/b.csv"):
        write_text(tmp_path / "x" / name, "x")
    with pytest.raises(DataError, match=r"there are folders in it \(sub\), which are not read; .* as (\S+/x/\*)$") as error:
        locate_all(f"{tmp_path}/x/")
    assert locate_all(str(error.value).rpartition(" ")[2]) == [tmp_path / "x" / "a.csv"]
    assert locate_all(f"{tmp_path}/x/sub") == [tmp_path / "x" / "sub" / "b.csv"]
    for name in ("_temporary/c.csv", ".git/d.csv"):
        write_text(tmp_path / "x" / "sub" / name, "x")
    assert locate_all(f"{tmp_path}/x/sub") == [tmp_path / "x" / "sub" / "b.csv"]


@pytest.mark.parametrize(
    ("beside", "kind"), [("_delta_log/0.json", "Delta"), (".hoodie/hoodie.properties", "Hudi"), ("metadata/v1.metadata.json", "Iceberg")]
)
def test_the_folder_of_a_table_whose_files_hold_deleted_rows_is_refused(tmp_path: Path, beside: str, kind: str):
    for name in ("a.parquet", "data/b.parquet", beside):
        write_text(tmp_path / name, "x")
    for where in (tmp_path, tmp_path / "*.parquet"):
        with pytest.raises(DataError, match=rf"the folder of a table \({kind}\), .* deleted or overwritten, too; write .* plain Parquet"):
            locate_all(str(where))
    assert locate_all(f"{tmp_path}/a.parquet") == [tmp_path / "a.parquet"]


def test_a_name_that_is_no_utf8_is_refused_as_it_can_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = Path(os.fsdecode(bytes(tmp_path) + b"/m\xe9d.csv"))
    path.write_text("text")
    monkeypatch.setenv("RPDR_TEST_DATA", str(path))
    for where in (str(tmp_path), f"{tmp_path}/*.csv", "${RPDR_TEST_DATA}", "${RPDR_TEST_DATA}.gz"):  # the last is not there
        with pytest.raises(DataError, match=rf"^{tmp_path}/m\\xe9d\.csv(\.gz)?: this name is no UTF-8; rename it$"):
            locate_all(where)
    path.rename(os.fsdecode(bytes(tmp_path) + b"/m\xe9d.bak"))
    (tmp_path / "n.csv").write_text("text")
    assert locate_all(f"{tmp_path}/*.csv") == [tmp_path / "n.csv"]  # nobody reads the other
    path.mkdir()
    with pytest.raises(DataError, match=r"there are folders in it \(m\\xe9d\.csv\)"):
        locate_all(str(tmp_path))


def test_a_name_that_looks_like_a_pattern_is_a_name_where_it_is_there(tmp_path: Path):
    for name in ("notes[1].csv", "notes1.csv"):
        (tmp_path / name).write_text("x")
    assert locate_all(f"{tmp_path}/notes[1].csv") == [tmp_path / "notes[1].csv"]
    assert locate_all(f"{tmp_path}/notes[12].csv") == [tmp_path / "notes1.csv"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "iso-8859-1"])
@pytest.mark.parametrize("text", ["", "\n", "a\r\né\n\né", "é" * 100])
def test_lines_are_those_of_the_whole_text_wherever_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, text: str):
    monkeypatch.setattr(texts, "BLOCK", 3)
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert list(read_lines(tmp_path / "a.txt", encoding)) == text.split("\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode(encoding)))
    assert list(read_lines(tmp_path / "a.txt.gz", encoding)) == text.split("\n")


def test_the_byte_that_is_not_in_the_encoding_is_counted_from_the_start_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "BLOCK", 3)
    (tmp_path / "a.txt").write_bytes("aéé\né".encode() + b"\xc3(")
    with pytest.raises(DataError, match="not utf-8 at byte 8"):
        list(read_lines(tmp_path / "a.txt"))
    with pytest.raises(DataError, match="not utf-8 at byte 8"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(("text", "encoding"), [("診斷: 發熱,R50", "gb18030"), ("Crohn’s disease", "cp1252")])
def test_iso_8859_takes_no_text_of_an_encoding_that_has_letters_where_it_has_controls(tmp_path: Path, text: str, encoding: str):
    (tmp_path / "a.csv").write_bytes(b"name\n" * 9 + text.encode(encoding))
    for read in (read_text, lambda *of: list(read_lines(*of))):
        with pytest.raises(DataError, match=r"not iso-8859-1 at byte \d\d; .* \(e\.g\. cp1252, or gb18030 for Chinese\)$") as error:
            read(tmp_path / "a.csv", "iso-8859-1")
        assert 45 <= int(str(error.value).partition("byte ")[2][:2]) < 60
    assert read_text(tmp_path / "a.csv", encoding).endswith(text)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("\n".join(f"{part}病,I10" for part in "高低心脑肺肝肾胃肠脾胆骨皮眼耳鼻喉口手足头颈胸腹背腰腿"), "gb18030"),
        ("Sjögren\n" * 30, "utf-8"),
    ],
)
def test_a_western_encoding_takes_no_text_whose_characters_are_two_bytes(tmp_path: Path, text: str, encoding: str):
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    for western in ("iso-8859-1", "cp1252"):
        for read in (read_text, lambda *of: list(read_lines(*of))):
            with pytest.raises(
                DataError, match=rf"not {western}: .* comes in twos, .* set `encoding: utf-8` .*, or gb18030 where it is Chinese"
            ):
                read(tmp_path / "a.csv", western)
    for read in ("Crohnsche Krankheit, Fièvre, Ménière: 5–10 °C\n", "the ‘‘hand-foot’’ syndrome\n"):
        (tmp_path / "b.csv").write_bytes(read.encode("cp1252") * 30)
        assert read_text(tmp_path / "b.csv", "cp1252") == read * 30


def test_text_is_read_plain_and_compressed(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("é".encode("iso-8859-1"))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("é".encode()))
    assert read_text(tmp_path / "a.txt", "iso-8859-1") == "é"
    assert read_text(tmp_path / "a.txt.gz") == "é"
    with pytest.raises(DataError, match="not utf-8 at byte 0"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "begins", "says"),
    [
        ("kb.xlsx", b"PK\x03\x04", "an Excel workbook; save it as CSV UTF-8"),
        ("KB.XLSM", b"PK\x03\x04", "an Excel workbook"),
        ("kb.xls", b"\xd0\xcf\x11\xe0", "an Excel workbook"),
        ("kb.csv", b"\xd0\xcf\x11\xe0", "an Excel workbook"),  # as it was renamed
        ("kb.zip", b"PK\x03\x04", "a ZIP archive; unpack it"),
        ("kb.csv", b"\xff\xfea\x00", "set `encoding: utf-16`"),
        ("kb.csv", b"PAR1\x15", "end its name in .parquet"),
        ("m.parquet", b"PAR1\x15", "a Parquet file; set `format: table`$"),  # as it is read as JSON Lines
        ("kb.csv", b"%PDF-", "a PDF"),
        ("kb.csv", b"\x1f\x8b", "end its name in .gz"),
        ("kb.csv.zst", pa.compress(b"id", codec="zstd", asbytes=True), "packed with zstd; unpack it, or pack it with gzip"),
        ("kb.csv.bz2", bz2.compress(b"id"), "packed with bzip2; unpack it"),
        ("kb.csv.xz", lzma.compress(b"id"), "packed with xz; unpack it"),
    ],
)
def test_a_file_of_another_kind_is_told_with_its_own_remedy(tmp_path: Path, name: str, begins: bytes, says: str):
    (tmp_path / name).write_bytes(begins + b"\x00\xff\xfe")
    for encoding in ("utf-8", "iso-8859-1"):  # the latter takes any byte
        for read in (read_text, lambda *of: list(read_lines(*of))):
            with pytest.raises(DataError, match=says):
                read(tmp_path / name, encoding)


def test_text_that_begins_as_the_name_of_a_kind_is_text(tmp_path: Path):
    for text in ("PAR1\tHGNC:3537\n", "%PDF\n", "PK\n"):  # a gene is called so
        (tmp_path / "kb.tsv").write_text(text)
        assert read_text(tmp_path / "kb.tsv") == text


def test_a_writer_that_fails_leaves_neither_a_part_nor_a_temporary_file(tmp_path: Path):
    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_atomically(tmp_path / "new", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path):
    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    write_text(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_while_a_file_is_written_the_old_one_is_read(tmp_path: Path):
    path = tmp_path / "a"
    write_text(path, "old")
    seen: list[str] = []

    def write(file: IO[bytes]) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_text())

    write_atomically(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_missing_folders_are_made_and_the_file_is_readable(tmp_path: Path):
    write_json(tmp_path / "a" / "b" / "c.json", {"é": 1})
    assert (tmp_path / "a" / "b" / "c.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert (tmp_path / "a" / "b" / "c.json").stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644)])
def test_a_file_is_read_by_whom_the_user_lets_read(tmp_path: Path, umask: int, mode: int):
    script = "import sys; from pathlib import Path; from rpdr.files import write_json; write_json(Path(sys.argv[1]), {})"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.json")], umask=umask, check=True, timeout=60)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == mode


def test_rows_are_written_in_the_schema_or_not_at_all(tmp_path: Path):
    write_rows(tmp_path / "rows.parquet", [{"b": "x", "a": 1}, {"a": 2}], SCHEMA)
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    with pytest.raises(pa.ArrowException):
        write_rows(tmp_path / "bad.parquet", [{"a": "no number", "b": "x"}], SCHEMA)
    assert not (tmp_path / "bad.parquet").exists()


@pytest.mark.parametrize("rows", [0, 150_000])
def test_a_table_is_read_and_written_in_parts(tmp_path: Path, rows: int):
    table = pa.table({"a": range(rows), "b": ["x"] * rows}, schema=SCHEMA)
    write_tables(tmp_path / "whole.parquet", [table], SCHEMA)
    parts = list(read_tables(tmp_path / "whole.parquet"))
    assert len(parts) > 1 or not rows
    write_tables(tmp_path / "copy.parquet", read_tables(tmp_path / "whole.parquet"), SCHEMA)
    assert pq.read_table(tmp_path / "copy.parquet").equals(table)


def test_a_hash_knows_values_their_borders_and_not_the_order_of_keys():
    assert sha256({"a": 1, "b": 2}) == sha256({"b": 2, "a": 1})
    assert sha256("ab", "c") != sha256("a", "bc")
    assert sha256("a") != sha256("b")
    assert sha256(1) != sha256("1")
    assert len(sha256()) == 64


def test_a_folders_hash_changes_with_contents_names_and_files_and_with_nothing_else(tmp_path: Path):
    def tree(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            write_text(tmp_path / name / file, text)
        return sha256_tree(tmp_path / name)

    base = tree("base", {"a": "1", "sub/b": "2"})
    assert tree("same", {"sub/b": "2", "a": "1"}) == base
    assert tree("content", {"a": "1", "sub/b": "3"}) != base
    assert tree("name", {"a": "1", "sub/c": "2"}) != base
    assert tree("more", {"a": "1", "sub/b": "2", "c": ""}) != base
    assert sha256_tree(tmp_path / "base" / "a") != sha256_tree(tmp_path / "base" / "sub" / "b")


def test_what_killed_writers_left_is_in_no_hash_and_is_swept_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "deep" / "kept.txt", "1")
    write_text(tmp_path / ".metadata.json", "2")
    base = sha256_tree(tmp_path)
    scripts = {
        "file": "with atomic_file(Path(sys.argv[1], 'deep', 'mentions.parquet')) as file: file.write(b'half'); file.flush(); die()",
        "folder": "with atomic_folder(Path(sys.argv[1], 'deep', 'student')) as folder: die()",
    }
    for script in scripts.values():
        start = "import os, sys; from pathlib import Path; from rpdr.files import *; die = lambda: os.kill(os.getpid(), 9)\n"
        assert subprocess.run([sys.executable, "-c", start + script, str(tmp_path)], check=False).returncode == -9
    assert len(list((tmp_path / "deep").glob(".*"))) == len(scripts)
    assert sha256_tree(tmp_path) == base
    sweep(tmp_path / "deep" / "student")  # what was to be in its place lies beside it
    assert [path.name.rpartition(".")[0] for path in (tmp_path / "deep").glob(".*")] == [".mentions.parquet"]
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".metadata.json", "deep", "kept.txt"]
    assert sha256_tree(tmp_path) == base


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path):
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "a" / "there") as folder:
            (folder / text).write_text(text)
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text(text)
            (folder / "deep" / "file").chmod(0o600)
            assert not (tmp_path / "a" / "there" / "new").exists()
    there = tmp_path / "a" / "there"
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*")) == ["deep", "deep/file", "new"]
    assert (there / "deep" / "file").read_text() == "new"
    assert (there / "deep" / "file").stat().st_mode & 0o777 == 0o644
    assert list((tmp_path / "a").iterdir()) == [there]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_halfway_leaves_the_old_one_and_nothing_else(tmp_path: Path, error: type[BaseException]):
    with atomic_folder(tmp_path / "there") as folder:
        (folder / "old").write_text("old")

    def write_half() -> None:
        with atomic_folder(tmp_path / "there") as folder:
            (folder / "new").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["there", "there/old"]


def test_a_relative_path_is_told_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^concepts\.csv: no such file or folder \(looked at {tmp_path}/concepts\.csv; {RELATIVE}\)$"):
        locate("concepts.csv")


def test_a_full_disk_is_told_by_the_folder_that_it_has_no_room_for(tmp_path: Path):
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(tmp_path / "mentions.parquet", full)
    assert unusable(raised.value) == f"{tmp_path}: cannot be read or written (No space left on device)"
    assert list(tmp_path.iterdir()) == []


def test_utf_16_without_a_mark_of_byte_order_is_told_with_its_remedy(tmp_path: Path):
    (tmp_path / "m.tsv").write_bytes("id\tname\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"m\.tsv: not utf-16 .*set `encoding: utf-16-le` for this file, or -be"):
        list(read_lines(tmp_path / "m.tsv", "utf-16"))
