"""Small knowledge bases, as files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from rpdr.config import KbConfig
from rpdr.kb import Concept, read_kb

OBO = """format-version: 1.4
synonymtypedef: layperson "layperson term"

[Term]
id: HP:1 ! a comment
name: Cephalalgia {source="x"}
alt_id: HP:9
def: "Pain \\"in\\" the head\\: bad." [ref:1]
synonym: "Headache" EXACT layperson [] {who="me", x="y"}
synonym: "head   ache" RELATED [ref:1, ref:2]
synonym: "HEADACHE" EXACT []
synonym: "Cephalgia" []

[Term]
id: HP:2
name: Old
is_obsolete: true

[Term]
id: HP:3
name: Fever
synonym: no quotes EXACT []

[Term]
id: HP:4

[Typedef]
id: part_of
name: part of

[Term]
id: GO:1
name: other ontology
"""


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path, format: str = "table", **settings: Any) -> tuple[list[Concept], list[dict[str, Any]]]:
    return read_kb(KbConfig.model_validate({"format": format, "path": str(path), **settings}))
