"""Where the licence of a base model is read, and that none is made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gguf import GGUFWriter

from rpdr.errors import ModelError
from rpdr.reranker.licence import Licence, licence_of


def gguf(path: Path, **general: str) -> str:
    writer = GGUFWriter(path, "llama")
    for name, value in general.items():
        writer.add_string(f"general.{name.replace('__', '.')}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return str(path)


def test_a_gguf_file_states_its_own(tmp_path: Path):
    plain = licence_of(gguf(tmp_path / "a.gguf", license="apache-2.0"))
    assert plain == Licence("apache-2.0", "`general.license` of its GGUF file")
    named = licence_of(
        gguf(
            tmp_path / "b.gguf",
            license="other",
            license__name="own",
            license__link="https://example.org",
            repo_url="https://huggingface.co/o/m",
        )
    )
    assert (named.name, named.link, named.hub_id) == ("own", "https://example.org", "o/m")
    assert licence_of(gguf(tmp_path / "c.gguf", name="a model")) == Licence()


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: mit\n---\n# A model\n", "mit"),
        ("---\r\nlicense: [mit, apache-2.0]\r\n---\r\n", "mit or apache-2.0"),
        ("---\nlanguage: en\n---\nlicense: mit\n", ""),
        ("---\nlicense: [\n---\n", ""),
        ("# A model\n\nlicense: mit\n", ""),
        (None, ""),
    ],
)
def test_a_folder_states_it_in_its_model_card(tmp_path: Path, card: str | None, stated: str):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    found = licence_of(str(tmp_path))
    assert found.licence == stated
    assert ("model card" in found.by) == bool(stated)


def test_a_package_states_it_where_the_model_does_not():
    found = licence_of("package:peft/tuners")
    assert found.licence.startswith("Apache")
    assert "the Python package peft" in found.by
    assert "code alone" in found.by


def test_a_model_that_is_not_there_is_an_error():
    with pytest.raises(ModelError, match="no_such"):
        licence_of("./no_such_model")


def test_a_hub_name_is_looked_up_on_the_hub_and_unknown_where_that_has_nothing(tmp_path: Path):
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.startswith("/api/models/org/known")
            data = {"id": "org/known", "cardData": {"license": "gemma"}} if known else {"error": "Repository not found"}
            body = json.dumps(data).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = "import sys; from rpdr.reranker.licence import licence_of; [print(licence_of(name)) for name in sys.argv[1:]]"
    # a process of its own: the hub's address is read when its library is imported
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        **{"HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"},
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "org/known", "org/other"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    server.shutdown()
    server.server_close()
    known, other = (line for line in done.stdout.splitlines() if line.startswith("Licence("))
    assert eval(known) == Licence("gemma", "the model card of org/known", hub_id="org/known")
    assert eval(other) == Licence(hub_id="org/other")
