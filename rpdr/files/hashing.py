"""One hash for all that is compared by content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rpdr.files.places import BLOCK
from rpdr.files.writing import TEMPORARY


def sha256(*parts: Any) -> str:
    """One hash for everything that is compared by content: bytes as they are, other values as canonical JSON. 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, ensure_ascii=False, default=str).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def sha256_tree(path: Path, without: str = "") -> str:
    """Content hash of a file, or of a folder's files with their relative names but those that match `without`; what killed writers left there is
    none of them."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not TEMPORARY.fullmatch(p.name))
    for file in files:
        if without and file.relative_to(path).match(without):
            continue
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()
