"""Each format of a knowledge base: what is read, what is refused, and what the error says when nothing can be read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from knowledge_bases import OBO, put, read

from rpdr.errors import DataError
from rpdr.kb import load_kb, save_kb
from rpdr.schema import CONCEPTS, REJECTS

REPLACED = """
[Term]
id: HP:5
name: Older
is_obsolete: true
replaced_by: HP:3

[Term]
id: HP:6
name: Split
is_obsolete: true
replaced_by: HP:1
replaced_by: HP:3
"""


def test_obo_reads_terms_with_escapes_synonyms_and_alternate_ids(tmp_path: Path) -> None:
    concepts, _ = read(put(tmp_path / "x.obo", OBO), "obo", id_prefix="HP:")
    assert [c.concept_id for c in concepts] == ["HP:1", "HP:3"]
    assert concepts[0].name == "Cephalalgia"
    assert concepts[0].names == ("Cephalalgia", "Headache", "head ache", "Cephalgia")
    assert concepts[0].definition == 'Pain "in" the head: bad.'
    assert concepts[0].alternate_ids == ("HP:9",)


def test_obo_malformed_synonym_and_nameless_term_are_rejects_with_their_lines(tmp_path: Path) -> None:
    _, rejects = read(put(tmp_path / "x.obo", OBO), "obo")
    lines = OBO.split("\n")
    assert [(r["line"], r["reason"].split()[0]) for r in rejects] == [
        (lines.index("synonym: no quotes EXACT []") + 1, "synonym"),
        (lines.index("id: HP:4"), "no"),
    ]
    assert pa.Table.from_pylist(rejects, schema=REJECTS).num_rows == 2


def test_obo_only_synonym_types_keeps_the_preferred_name_out_of_names(tmp_path: Path) -> None:
    concepts, _ = read(put(tmp_path / "x.obo", OBO), "obo", only_synonym_types=["layperson"])
    assert [(c.name, c.names) for c in concepts] == [("Cephalalgia", ("Headache",))]


def test_obo_drop_synonym_types_leaves_other_synonyms(tmp_path: Path) -> None:
    concepts, _ = read(put(tmp_path / "x.obo", OBO), "obo", drop_synonym_types=["layperson"], id_prefix="HP:1")
    assert concepts[0].names == ("Cephalalgia", "head ache", "HEADACHE", "Cephalgia")


def test_obo_misspelt_synonym_type_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.obo: no synonym has the type 'laypersn'; it has 'layperson'"):
        read(put(tmp_path / "x.obo", OBO), "obo", drop_synonym_types=["laypersn"])


def test_obo_with_windows_line_ends_reads_the_same(tmp_path: Path) -> None:
    unix, windows = put(tmp_path / "u.obo", OBO), put(tmp_path / "w.obo", OBO.replace("\n", "\r\n"))
    assert read(unix, "obo")[0] == read(windows, "obo")[0]


def test_wrong_encoding_and_broken_gzip_are_data_errors(tmp_path: Path) -> None:
    latin = put(tmp_path / "kb.csv", "concept_id,name\nC1,Sjögren\n", "iso-8859-1")
    with pytest.raises(DataError, match="not utf-8 at byte"):
        read(latin)
    assert read(latin, encoding="iso-8859-1")[0][0].name == "Sjögren"
    whole = put(tmp_path / "kb.csv.gz", "concept_id,name\n" + "C1,a\n" * 100)
    whole.write_bytes(whole.read_bytes()[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read(whole)
    with pytest.raises(DataError, match="not a Parquet file"):
        read(put(tmp_path / "kb.parquet", "text"))


def test_medic_first_id_is_the_concept_and_the_others_are_alternates(tmp_path: Path) -> None:
    path = put(tmp_path / "medic.txt", "C567755|613097||Tooth Agenesis, 6|STHAG6\nD1||Fever|fever\nbad line\n||x\nD2||\n")
    concepts, rejects = read(path, "medic")
    assert [(c.concept_id, c.names, c.alternate_ids) for c in concepts] == [
        ("C567755", ("Tooth Agenesis, 6", "STHAG6"), ("613097",)),
        ("D1", ("Fever",), ()),
    ]
    assert [r["line"] for r in rejects] == [3, 4, 5]


def test_icd10cm_reads_nested_diagnoses_and_inclusion_terms(tmp_path: Path) -> None:
    xml = """<?xml version="1.0" encoding="utf-8"?><ICD10CM.tabular><chapter><name>1</name><desc>Chapter</desc><section>
    <diag><name>A00</name><desc>Cholera</desc><diag><name>A00.1</name><desc>Cholera, eltor</desc>
    <inclusionTerm><note>Cholera eltor</note></inclusionTerm></diag><diag><name>A00.2</name></diag></diag>
    </section></chapter></ICD10CM.tabular>"""
    concepts, rejects = read(put(tmp_path / "icd.xml", xml), "icd10cm")
    assert [(c.concept_id, c.names) for c in concepts] == [("A00", ("Cholera",)), ("A00.1", ("Cholera, eltor", "Cholera eltor"))]
    assert [(r["line"], r["reason"]) for r in rejects] == [(3, "no <desc>")]
    with pytest.raises(DataError, match="not well-formed XML"):
        read(put(tmp_path / "broken.xml", xml[:-9]), "icd10cm")


def test_id_that_stands_twice_with_different_names_is_an_error_naming_both_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kb\.csv: the concept id 'C1' stands twice, on lines 2 and 4"):
        read(put(tmp_path / "kb.csv", "concept_id,name\nC1,a\nC2,b\nC1,c\n"))


def test_concepts_of_one_name_can_be_merged_into_the_first(tmp_path: Path) -> None:
    text = "code,name,also,about\nR51,Headache,head pain,\nI10,Hypertension,,\nR51.x,headache,cephalgia|Head pain,of any kind\nR51.y,Headache,,other\n"
    columns = {"id": "code", "name": "name", "synonyms": "also", "definition": "about"}
    path = put(tmp_path / "kb.csv", text)
    concepts, rejects = read(path, columns=columns, merge_same_names=True)
    assert [c.concept_id for c in concepts] == ["R51", "I10"]
    assert concepts[0].names == ("Headache", "head pain", "cephalgia")
    assert (concepts[0].definition, concepts[0].alternate_ids) == ("of any kind", ("R51.x", "R51.y"))
    assert rejects == []
    assert len(read(path, columns=columns)[0]) == 4


def test_row_that_repeats_another_word_for_word_is_a_reject(tmp_path: Path) -> None:
    concepts, rejects = read(put(tmp_path / "kb.csv", "concept_id,name\nC1,a\nC1,a\n"))
    assert len(concepts) == 1
    assert [(r["line"], r["reason"]) for r in rejects] == [(3, "says the same as line 2")]


@pytest.mark.parametrize("text", ["concept_id,name\n", "concept_id,name\nC1,\n"])
def test_knowledge_base_without_names_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"kb\.csv: has no names"):
        read(put(tmp_path / "kb.csv", text))


def test_empty_and_missing_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kb\.csv: empty"):
        read(put(tmp_path / "kb.csv", ""))
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="id_prefix: 'XX:'"):
        read(put(tmp_path / "x.obo", "[Term]\nid: HP:1\nname: Fever\n"), "obo", id_prefix="XX:")


def test_rejected_rows_are_cut_and_their_control_characters_escaped(tmp_path: Path) -> None:
    _, rejects = read(put(tmp_path / "kb.csv", "concept_id,name\nC1,a\n\x1b[31m" + "x" * 9999 + "\n"))
    assert rejects[0]["row"].startswith("\\x1b[31mxx")
    assert len(rejects[0]["row"]) == 500 + len("\\x1b") - 1


def test_saved_knowledge_base_loads_the_same_and_fits_the_schema(tmp_path: Path) -> None:
    concepts, _ = read(put(tmp_path / "x.obo", OBO), "obo")
    save_kb(tmp_path / "kb.parquet", concepts)
    assert load_kb(tmp_path / "kb.parquet") == concepts
    assert pq.read_schema(tmp_path / "kb.parquet").equals(CONCEPTS)
    with pytest.raises(DataError, match="not a saved knowledge base"):
        load_kb(tmp_path / "x.obo")


def test_the_id_of_an_obsolete_concept_is_that_of_the_one_that_replaces_it(tmp_path: Path):
    concepts, _ = read(put(tmp_path / "x.obo", OBO + REPLACED), "obo", id_prefix="HP:")
    assert {c.concept_id: c.alternate_ids for c in concepts} == {"HP:1": ("HP:9",), "HP:3": ("HP:5",)}


def test_the_concept_that_an_obsolete_one_names_goes_before_one_that_has_its_id_too(tmp_path: Path):
    concepts, _ = read(put(tmp_path / "x.obo", OBO.replace("alt_id: HP:9", "alt_id: HP:5") + REPLACED), "obo", id_prefix="HP:")
    assert {c.concept_id: c.alternate_ids for c in concepts} == {"HP:1": (), "HP:3": ("HP:5",)}


def test_what_replaces_an_obsolete_concept_may_be_replaced_itself(tmp_path: Path):
    by = {"HP:10": "HP:11", "HP:11": "HP:3", "HP:20": "HP:21", "HP:21": "HP:20", "HP:30": "HP:30"}
    chain = "".join(f"\n[Term]\nid: {old}\nname: {old}\nis_obsolete: true\nreplaced_by: {new}\n" for old, new in by.items())
    concepts, _ = read(put(tmp_path / "x.obo", OBO + chain), "obo", id_prefix="HP:")
    assert {c.concept_id: c.alternate_ids for c in concepts} == {"HP:1": ("HP:9",), "HP:3": ("HP:10", "HP:11")}
