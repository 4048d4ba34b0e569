"""ICD-10-CM as the CDC publishes it: the tabular list in XML. One concept a <diag>, nested or not; its inclusion terms are synonyms.

Seventh characters (<sevenChrDef>), which the CDC does not spell out code by code, are not expanded.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from rpdr.config import KbConfig
from rpdr.errors import DataError
from rpdr.files import Source, read_text
from rpdr.kb.concept import Concept, concept_of
from rpdr.tables.rejects import Reject, reject


def read(path: Source, config: KbConfig) -> Iterator[tuple[int, Concept] | Reject]:
    """Concepts with the 1-based number of their <diag> in the file. Raises DataError if the file is not XML."""
    text = read_text(path, config.encoding)
    try:
        root = ElementTree.fromstring(text.encode("utf-8"), parser=ElementTree.XMLParser(encoding="utf-8"))
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not well-formed XML ({error}); `icd10cm` reads the CDC's icd10c-tabular-….xml") from error
    for number, diag in enumerate(root.iter("diag"), start=1):
        code, description = (diag.findtext("name") or "").strip(), (diag.findtext("desc") or "").strip()
        if code and description:
            yield number, concept_of(code, description, [note.text or "" for note in diag.iterfind("inclusionTerm/note")])
        else:
            yield reject(path, number, "no <name>" if not code else "no <desc>", f"<diag> {code} {description}")
