"""Sources in an object store are read as those on a disk are; what cannot be read is named by its URL. The store is a real server that speaks S3."""

from __future__ import annotations

import gzip
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from rpdr.config import KbConfig, MentionsConfig
from rpdr.corpus import stream_mentions
from rpdr.errors import DataError
from rpdr.files import locate_all, locate_source, opened, read_lines, read_text
from rpdr.kb import read_kb
from rpdr.remote import connected, reached, shown
from tests.corpus.sources import read_mentions


@pytest.fixture
def upload(bucket: str, tmp_path: Path) -> Callable[[], Callable[[str], str]]:
    """Puts what is in `tmp_path` into the bucket; returns what makes a URL of a name."""

    def up() -> Callable[[str], str]:
        files, root = fs.FileSystem.from_uri(bucket)
        for path in tmp_path.rglob("*"):
            if path.is_file():
                with files.open_output_stream(f"{root}/{path.relative_to(tmp_path)}", compression=None) as stream:
                    stream.write(path.read_bytes())
        place, mark, query = bucket.partition("?")
        return lambda name: f"{place}/{name}{mark}{query}"

    return up


def written(folder: Path) -> None:
    """A source of each format, each with a row that cannot be read."""
    (folder / "parts").mkdir()
    (folder / "parts" / "b.csv").write_text("text,gold\nfever,C1\none,cell,more\n")
    (folder / "parts" / "a.csv.gz").write_bytes(gzip.compress("text,gold\n左膝退变,C2\n,C3\n".encode()))
    (folder / "parts" / "_manifest.csv").write_text("not, of, the, source")
    pq.write_table(pa.table({"text": [*(f"finding {n}" for n in range(500)), None]}), folder / "m.parquet", row_group_size=100)
    (folder / "m.jsonl").write_text('{"text": "fever"}\n{not json\n')
    (folder / "array.json").write_text('[{"text": "fever"},\n{"text": 5}]')
    (folder / "m.pubtator").write_text("1|t|High fever\n1\t5\t10\tfever\tDisease\tC1\n1\t0\t5\tfever\tDisease\tC1\n")
    (folder / "cadec" / "sct").mkdir(parents=True)
    (folder / "cadec" / "text").mkdir()
    (folder / "cadec" / "sct" / "A.1.ann").write_text("TT1\t386661006 | Fever | 0 5\tfever\nTT2\tno cells\n")
    (folder / "cadec" / "text" / "A.1.txt").write_text("fever all day")
    with tarfile.open(folder / "cadec.tar.gz", "w:gz") as archive:
        archive.add(folder / "cadec", "cadec")
    (folder / "splits.json").write_text('{"1": "test"}')


@pytest.mark.parametrize(
    ("format", "path"),
    [
        ("table", "parts"),
        ("table", "parts/*.csv"),
        ("table", "m.parquet"),
        ("jsonl", "m.jsonl"),
        ("jsonl", "array.json"),
        ("pubtator", "m.pubtator"),
        ("standoff", "cadec"),
        ("standoff", "cadec.tar.gz"),
    ],
)
def test_mentions_of_every_format_are_those_of_the_same_files_on_a_disk(upload, tmp_path: Path, format: str, path: str):
    written(tmp_path)
    url = upload()

    def read(where: str, splits: str) -> tuple[list, list]:
        by_file = {"split_file": splits} if format == "pubtator" else {}
        return read_mentions([MentionsConfig.model_validate({"format": format, "path": where, **by_file})], 13)

    mentions, rejects = read(url(path), url("splits.json"))
    here, refused = read(str(tmp_path / path), str(tmp_path / "splits.json"))
    assert mentions == here
    assert mentions
    assert rejects == [{**row, "file": row["file"].replace(str(tmp_path), shown(url("x"))[:-2])} for row in refused]
    assert rejects
    assert all(row["file"].startswith("s3://linked/") and "?" not in row["file"] for row in rejects)


def test_a_knowledge_base_is_read_from_a_store(upload, tmp_path: Path):
    (tmp_path / "kb.obo").write_text("format-version: 1.2\n\n[Term]\nid: X:1\nname: Fever\nsynonym: pyrexia\n")
    concepts, rejects = read_kb(KbConfig(format="obo", path=upload()("kb.obo")))
    assert [concept.name for concept in concepts] == ["Fever"]
    assert rejects[0]["file"].endswith("/kb.obo")


def test_a_bucket_may_be_named_by_a_variable(upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.txt").write_text("é")
    url = upload()("a.txt")
    monkeypatch.setenv("RPDR_TEST_BUCKET", "linked")
    assert read_text(locate_source(url.replace("s3://linked/", "s3://${RPDR_TEST_BUCKET}/"))) == "é"
    monkeypatch.setenv("RPDR_TEST_BUCKET", "s3://linked")
    assert read_text(locate_source(url.replace("s3://linked/", "${RPDR_TEST_BUCKET}/"))) == "é"
    [found] = locate_all(url.replace("s3://linked/", "${RPDR_TEST_BUCKET}/").replace("a.txt", "*.txt"))
    assert read_text(found) == "é"
    monkeypatch.delenv("RPDR_TEST_BUCKET")
    with pytest.raises(DataError, match=r"s3://\$\{RPDR_TEST_BUCKET\}/[^?]*a\.txt: set the environment variable RPDR_TEST_BUCKET"):
        locate_source(url.replace("s3://linked/", "s3://${RPDR_TEST_BUCKET}/"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("/m.csv", "/none.csv"), r"^s3://linked/\w+/none\.csv: no such object"),
        (("/m.csv", "/*.tsv"), r"^s3://linked/\w+/\*\.tsv: no file there"),
        (("s3://linked/", "s3://not-there/"), r"^s3://not-there/\w+/m\.csv: no such object, folder or bucket"),
        (("s3://", "s9://"), r"^s9://linked/\w+/m\.csv: cannot be used"),
        (("s3://", "s3://me:hu/s?h@"), r"^s3://me@linked/\w+/m\.csv: has a secret in it.*environment"),
        (("?", "?secret_key=hush&"), r"^s3://linked/\w+/m\.csv: has a secret in it.*environment"),
        (
            ("?", "?sv=2024-11-04&sig=hush&"),
            r"^s3://linked/\w+/m\.csv: has a secret in it, or a parameter that is none of scheme, .*environment",
        ),
        (("?", " ?"), r"^s3://linked/\w+/m\.csv : cannot be used .*; check the URL"),
    ],
)
def test_what_cannot_be_found_is_named_in_one_line_without_what_may_be_secret(upload, tmp_path: Path, change: tuple[str, str], says: str):
    (tmp_path / "m.csv").write_text("text\nfever\n")
    with pytest.raises(DataError, match=says) as refused:
        locate_all(upload()("m.csv").replace(*change))
    for part in ("\n", "hush", "hu/s", "endpoint_override=", "sv="):
        assert part not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://b/x?scheme=http&endpoint_override=localhost:9000&region=eu-west-1&allow_bucket_creation=true&allow_bucket_deletion=false",
        "s3://b/x?tls_ca_file_path=/etc/ca.pem&tls_verify_certificates=false&smart_defaults=standard&allow_delayed_open=true&region=eu-west-1",
        "gs://anonymous@b/x?scheme=http&endpoint_override=localhost:4443&retry_limit_seconds=3&project_id=p",
        "abfs://c@account/x?blob_storage_authority=localhost:1&dfs_storage_authority=localhost:1&enable_tls=false&background_writes=true",
        "abfs://c@account.dfs.core.windows.net/x?credential_kind=anonymous",
    ],
)
def test_what_is_no_secret_may_be_in_a_url(url: str):
    assert connected(url, DataError)[1].endswith("/x")


@pytest.mark.parametrize("url", ["abfs://c@account/x?sv=2024-11-04&sig=hush", "gs://b/x?sas=hush", "abfs://c@account/x?client_secret=hush"])
def test_a_token_in_a_url_is_a_secret(url: str):
    with pytest.raises(DataError, match=r"/x: has a secret in it") as refused:
        connected(url, DataError)
    assert "hush" not in str(refused.value)


def test_what_a_store_says_of_urls_of_its_own_has_no_query():
    with (
        pytest.raises(DataError, match=r"failed on 'http://account/c'\. Is it there.*check the URL") as refused,
        reached("abfs://c@account/x", DataError),
    ):
        raise OSError("GetProperties failed on 'http://account/c?restype=container&sig=hush&sv=1'. Is it there?")
    assert "hush" not in str(refused.value)


def test_a_folder_with_folders_in_it_is_refused(upload, tmp_path: Path):
    for name in ("x/a.csv", "x/sub/b.csv", "x/_temporary/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text\nfever\n")
    url = upload()
    with pytest.raises(DataError, match=r"^s3://linked/\w+/x: there are folders in it \(sub\), .* as s3://linked/\w+/x/\*$"):
        locate_all(url("x"))
    assert [file.name for file in locate_all(url("x/*"))] == ["a.csv"]


def test_the_folder_of_a_table_whose_files_hold_deleted_rows_is_refused(upload, tmp_path: Path):
    for name in ("x/a.parquet", "x/_delta_log/0.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    url = upload()
    for where in (url("x"), url("x/*")):
        with pytest.raises(DataError, match=r"^s3://linked/\w+/x(/\*)?: the folder of a table \(Delta\)"):
            locate_all(where)


@pytest.fixture
def stranger(bucket: str) -> Iterator[None]:
    """The server knows no key from now on."""

    def ask(count: str) -> None:
        where = f"http://{parse_qs(bucket)['endpoint_override'][0]}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(where, count.encode(), {"Content-Type": "text/plain"}))

    ask("0")
    yield
    ask("inf")


def test_refused_credentials_are_told_with_where_they_come_from(bucket: str, stranger):
    with pytest.raises(DataError, match=r"^s3://linked/\w+: cannot be used .*ACCESS_DENIED.*AWS_ACCESS_KEY_ID"):
        locate_all(bucket)


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz", "m.parquet", "m.tar.gz"])
def test_an_object_that_changes_while_it_is_read_is_refused(upload, tmp_path: Path, name: str):
    (tmp_path / "m.csv").write_text("text\n" + "".join(f"finding {n}\n" for n in range(500)))
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress((tmp_path / "m.csv").read_bytes()))
    pq.write_table(pa.table({"text": [f"finding {n}" for n in range(50)]}), tmp_path / "m.parquet")
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "m.csv", "m.csv")
    url = upload()(name)
    rows = read_bytes(url) if name == "m.tar.gz" else stream_mentions([MentionsConfig(format="table", path=url)], 13)
    assert next(rows)
    (tmp_path / name).write_bytes(b"text\nanother\n")
    upload()
    with pytest.raises(DataError, match=rf"/{name}: has changed while it was read"):
        list(rows)


def read_bytes(url: str) -> Iterator[bytes]:
    with opened(locate_source(url)) as file:
        yield file.read(1)


def test_an_object_that_is_cut_short_while_it_is_read_does_not_end_there(upload, tmp_path: Path):
    (tmp_path / "m.txt").write_bytes(b"a line of text\n" * 2**20)  # more than is asked for at once
    lines = read_lines(locate_source(upload()("m.txt")))
    assert next(lines) == "a line of text"
    (tmp_path / "m.txt").write_bytes(b"a line of text\n")
    upload()
    with pytest.raises(DataError, match=r"^s3://linked/\w+/m\.txt: (cannot be used|has changed)"):
        list(lines)
