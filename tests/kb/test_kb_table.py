"""A knowledge base as a table: a concept or a name a row, in CSV, TSV, Parquet or UMLS's RRF; what is refused, and what is told of."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from knowledge_bases import OBO, put, read

from rpdr.config import KbConfig
from rpdr.errors import DataError
from rpdr.kb import Concept, kb_notes, read_kb
from rpdr.schema import ConceptId


@pytest.mark.parametrize("name", ["kb.csv", "kb.csv.gz"])
def test_csv_reads_quotes_commas_and_synonyms(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, '\ufeffconcept_id,name,synonyms\nC1,"Pain, chest","Chest ""pain""|pain, chest| |thoracalgia"\nC2,Cough,\n')
    concepts, rejects = read(path)
    assert concepts[0].names == ("Pain, chest", 'Chest "pain"', "thoracalgia")
    assert concepts[1] == Concept(concepts[1].concept_id, "Cough", ("Cough",), None)
    assert rejects == []


def test_csv_rows_of_wrong_width_or_without_id_or_name_are_rejects_and_cost_no_neighbour(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.csv", 'concept_id,name,synonyms\nC1,a,\nC2,b\n,c,\nC4,,\n\nC5,"never closed,\nC6,f,\n')
    concepts, rejects = read(path)
    assert [c.concept_id for c in concepts] == ["C1", "C5", "C6"]
    assert [(r["line"], r["reason"]) for r in rejects] == [(3, "2 cells where 3 are expected"), (4, "no concept id"), (5, "no name")]


def test_a_quoted_cell_may_run_over_lines_and_later_line_numbers_stay_right(tmp_path: Path) -> None:
    concepts, rejects = read(put(tmp_path / "kb.csv", 'concept_id,name,definition\nC1,a,"one\ntwo"\nC2,b\n'))
    assert concepts[0].definition == "one two"
    assert [r["line"] for r in rejects] == [4]


def test_tsv_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    concepts, _ = read(put(tmp_path / "kb.tsv", 'concept_id\tname\nC1\t"Dropped head\nC2\tCough\n'))
    assert [c.name for c in concepts] == ['"Dropped head', "Cough"]


def test_columns_given_as_numbers_read_a_table_without_header(tmp_path: Path) -> None:
    concepts, _ = read(put(tmp_path / "codes.txt.gz", "00\t操作\n00.0\t超声\n"), columns={"id": "0", "name": "1"})
    assert [(c.concept_id, c.name) for c in concepts] == [("00", "操作"), ("00.0", "超声")]


def test_a_table_with_another_separator_is_read_by_it_and_told_of_without_it(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.csv", 'concept_id;name;synonyms\nC1;"Pain; chronic";ache|dolor\n')
    concepts, _ = read(path, separator=";")
    assert [(c.concept_id, c.names) for c in concepts] == [("C1", ("Pain; chronic", "ache", "dolor"))]
    with pytest.raises(DataError, match=r"kb\.csv: no column 'concept_id'; its first line is one cell, with ';' in it: set kb\.separator"):
        read(path)


def test_parquet_reads_list_columns_as_synonyms(tmp_path: Path) -> None:
    pq.write_table(pa.table({"code": [1, 2], "name": ["a", None], "synonyms": [["b", "c"], None]}), tmp_path / "kb.parquet")
    concepts, rejects = read(tmp_path / "kb.parquet", columns={"id": "code", "name": "name", "synonyms": "synonyms"})
    assert [(c.concept_id, c.names) for c in concepts] == [("1", ("a", "b", "c"))]
    assert [(r["line"], r["reason"]) for r in rejects] == [(2, "no name")]


def test_parquet_bytes_are_read_as_utf8_and_cost_their_row_where_they_are_none(tmp_path: Path) -> None:
    table = pa.table({
        "concept_id": pa.array([b"C1", b"C2", b"\xff3"], pa.binary()),
        "name": pa.array(["Übelkeit".encode(), b"Fieber", b"Husten"], pa.large_binary()),
        "synonyms": pa.array([[b"nausea"], None, []], pa.list_(pa.binary())),
        "image": pa.array([b"\xff\xd8"] * 3, pa.binary()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "kb.parquet")
    concepts, rejects = read(tmp_path / "kb.parquet")
    assert [(c.concept_id, c.names) for c in concepts] == [("C1", ("Übelkeit", "nausea")), ("C2", ("Fieber",))]
    [refused] = rejects
    assert (refused["line"], "utf-8" in refused["reason"]) == (3, True)


def test_a_parquet_file_without_columns_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "kb.parquet")
    with pytest.raises(DataError, match=r"kb\.parquet: empty, it has no columns"):
        read(tmp_path / "kb.parquet")


def test_parquet_columns_that_nobody_asks_for_cost_no_row_whatever_they_are_called(tmp_path: Path) -> None:
    table = pa.table({"concept_id": ["C1"], "name": ["fever"], "a.b": pa.array([b"\xff"], pa.binary())})
    pq.write_table(table, tmp_path / "kb.parquet")
    assert [c.name for c in read(tmp_path / "kb.parquet")[0]] == ["fever"]


def test_parquet_ids_that_became_floats_are_refused(tmp_path: Path) -> None:
    table = pa.table({"concept_id": pa.array([None, 12345678901234567.0], pa.float64()), "name": ["a", "b"]})
    pq.write_table(table, tmp_path / "kb.parquet")
    with pytest.raises(
        DataError, match=r"kb\.parquet: row 2 has the concept id 1\.2\d+e\+16, a float; write the column 'concept_id' as text"
    ):
        read(tmp_path / "kb.parquet")


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("synonyms", pa.array([[{"term": "wheezy"}]]), "dict"),
        ("synonyms", pa.array([{"term": "wheezy"}]), "dict"),
        ("name", pa.array([["Asthma", "wheezy"]]), "list"),
        ("name", pa.array([[]], pa.list_(pa.string())), "list"),
        ("definition", pa.array([["of the lungs"]]), "list"),
    ],
)
def test_parquet_cells_that_are_no_plain_values_are_refused(tmp_path: Path, column: str, value: pa.Array, kind: str) -> None:
    columns = {"concept_id": pa.array(["C1"]), "name": pa.array(["Asthma"]), column: value}
    pq.write_table(pa.table(columns), tmp_path / "kb.parquet")
    with pytest.raises(DataError, match=rf"kb\.parquet: row 1 has in the column '{column}' a {kind}; write "):
        read(tmp_path / "kb.parquet")


@pytest.mark.parametrize("cell", ["['pyrexia', 'febrile']", "['pyrexia' 'febrile']", '["pyrexia"]', "['a',\n \"b's\"]", "[]"])
def test_synonyms_that_are_a_list_written_out_as_text_are_refused(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "kb.parquet"
    pq.write_table(pa.table({"concept_id": ["C1", "C2"], "name": ["cough", "fever"], "synonyms": ["[Ca2+] low|a [b]", cell]}), path)
    with pytest.raises(DataError, match=r"row 2 has in the column 'synonyms' a list that is written out as text; join its items with the"):
        read(path)


@pytest.mark.parametrize("kind", [pa.decimal128(38, 10), pa.decimal128(18, 0)])
def test_parquet_ids_that_are_decimals_are_the_whole_numbers_that_they_stand_for(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array([267036007, 195967001]).cast(pa.decimal128(20, 0)).cast(kind)
    pq.write_table(pa.table({"concept_id": ids, "name": ["Fatigue", "Asthma"]}), tmp_path / "kb.parquet")
    assert [c.concept_id for c in read(tmp_path / "kb.parquet")[0]] == ["267036007", "195967001"]


def test_parquet_bytes_in_dictionaries_and_large_lists_are_texts_too(tmp_path: Path) -> None:
    columns = {
        "concept_id": pa.array([b"C1"]).dictionary_encode(),
        "name": ["Asthma"],
        "synonyms": pa.array([[b"wheezy"]], pa.large_list(pa.binary())),
    }
    pq.write_table(pa.table(columns), tmp_path / "kb.parquet")
    [concept], _ = read(tmp_path / "kb.parquet")
    assert (concept.concept_id, concept.names) == ("C1", ("Asthma", "wheezy"))


def test_missing_column_is_one_line_that_names_file_column_and_nearest(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.csv", "concept_idx,name,other_names\nC1,a,b\n")
    with pytest.raises(DataError, match=r"kb\.csv: no column 'concept_id'; .*kb\.columns\.id.*'concept_idx'") as error:
        read(path)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no column 'synonyms'"):
        read(path, columns={"id": "concept_idx", "name": "name", "synonyms": "synonyms"})


def test_columns_of_a_knowledge_base_may_differ_in_letter_case(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.csv", "Concept_ID,NAME,Synonyms\nC1,Fever,hot\n")
    assert read(path)[0][0].names == ("Fever", "hot")
    assert kb_notes(KbConfig(format="table", path=str(path))) == []


def test_a_knowledge_base_without_a_header_is_told_to_number_its_columns(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no column 'concept_id'; set kb\.columns\.id .*; if the first line is data, number the columns$"
    ) as error:
        read(put(tmp_path / "kb.csv", "267032009,Tired all of the time\n"))
    assert "Tired" not in str(error.value)


NAMES = """kind\tconceptId\tterm\tactive\tlanguage
SYN\t7\tthrowing up\t1\ten
SYN\t9\t"ache" in the head\t1\ten
SYN\t7\tpuking\t0\ten
FSN\t7\tVomiting\t1\ten
SYN\t7\tErbrechen\t1\tde
SYN\t7\tthrowing  UP\t1\ten
SYN\t\tno id\t1\ten
SYN\t9\tHeadache\t1\tEN-GB
"""
A_NAME_A_ROW: dict[str, Any] = {"columns": {"id": "conceptId", "name": "term"}, "row": "name"}


def test_where_a_row_is_a_name_those_of_one_concept_are_gathered(tmp_path: Path) -> None:
    path = put(tmp_path / "names.txt", NAMES)
    where = {"active": 1, "language": ["en", "en-gb"]}
    concepts, rejects = read(path, "table", **A_NAME_A_ROW, where=where, preferred={"kind": "FSN"})
    assert concepts == [
        Concept(ConceptId("7"), "Vomiting", ("Vomiting", "throwing up"), None),
        Concept(ConceptId("9"), '"ache" in the head', ('"ache" in the head', "Headache"), None),
    ]
    assert [(r["line"], r["reason"]) for r in rejects] == [(8, "no concept id")]
    assert kb_notes(KbConfig(format="table", path=str(path), **A_NAME_A_ROW)) == []
    [first, _] = read(path, "table", **A_NAME_A_ROW)[0]
    assert first.names == ("throwing up", "puking", "Vomiting", "Erbrechen")  # all of them, the first in front


def test_umls_names_are_read_as_they_stand_and_the_row_with_most_of_what_is_preferred_names_the_concept(tmp_path: Path) -> None:
    def row(cui: str, name: str, ts: str, stt: str, ispref: str, language: str = "ENG", suppress: str = "N") -> str:
        return "|".join([cui, language, ts, "L", stt, "S", ispref, "A", "", "", "", "MSH", "PT", "D1", name, "0", suppress, "", ""])

    rows = [
        row("C1", '"Never closed', "P", "VC", "Y"),
        row("C1", "Vomiting", "P", "PF", "Y"),
        row("C1", "Vomiting, NOS", "P", "PF", "N"),
        row("C2", "Náusea", "P", "PF", "Y", "SPA"),
        row("C2", "Nausea", "S", "VO", "N"),
        row("C2", "Sick", "P", "PF", "Y", suppress="O"),
    ]
    (tmp_path / "MRCONSO.RRF.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    concepts, rejects = read(
        tmp_path / "MRCONSO.RRF.gz",
        "table",
        columns={"id": "0", "name": "14"},
        row="name",
        where={"1": "ENG", "16": "N"},
        preferred={"2": "P", "4": "PF", "6": "Y"},
    )
    assert [(c.name, c.names) for c in concepts] == [("Vomiting", ("Vomiting", '"Never closed', "Vomiting, NOS")), ("Nausea", ("Nausea",))]
    assert rejects == []


def test_rows_that_are_not_asked_for_are_none(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.csv", "concept_id,name,domain\nC1,a,Condition\nC2,b,Drug\nC1,a again,Procedure\n")
    assert [c.concept_id for c in read(path, "table", where={"Domain": "condition"})[0]] == ["C1"]
    with pytest.raises(DataError, match=r"check where: .*'Measurement'.* which may fit no row"):
        read(path, "table", where={"domain": "Measurement"})
    with pytest.raises(DataError, match=r"no column 'vocabulary'; set kb\.where\.vocabulary to one that is there"):
        read(path, "table", where={"vocabulary": "x"})
    with pytest.raises(DataError, match=r"'C1' stands twice, on lines 2 and 4; .* set kb\.row: name"):
        read(path, "table")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"format": "obo", "row": "name"}, "row and where are read with `format: table` alone"),
        ({"format": "medic", "where": {"a": "b"}}, "row and where are read with `format: table` alone"),
        ({"format": "table", "preferred": {"a": "b"}}, "preferred is read with `row: name` alone"),
    ],
)
def test_what_a_format_or_a_row_does_not_have_is_refused(told: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KbConfig.model_validate({"path": "x", **told})


def test_a_config_that_a_run_has_written_out_reads_the_same(tmp_path: Path):
    """It names the default's columns, of which a knowledge base need not have all."""
    (tmp_path / "kb.csv").write_text("concept_id,name\nC1,Fever\n")
    config = KbConfig(format="table", path=str(tmp_path / "kb.csv"))
    again = KbConfig.model_validate(config.model_dump(mode="json"))
    assert read_kb(again) == read_kb(config)


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("concept_id,name,synonym,definition", ["'synonyms'", "'synonym' is not read", "{id: concept_id, name: name, definition: definition, synonyms: synonym}"]),
        ("Concept_ID,name,Synonym,x", ["'synonyms'", "'Synonym' is not read", "{id: Concept_ID, name: name, synonyms: Synonym}"]),
        ("concept_id,name,synonyms,description", ["'definition'", "'description' is not read"]),
    ],
)  # fmt: skip
def test_a_column_whose_name_is_nearly_a_defaults_is_told_of(tmp_path: Path, header: str, meant: list[str]) -> None:
    path = put(tmp_path / "kb.csv", header + "\nC1,Fever,hot|heat,\n")
    [note] = kb_notes(KbConfig(format="table", path=str(path)))
    for words in [str(path), "kb.columns", *meant]:
        assert words in note


def test_a_column_that_is_simply_missing_or_that_the_config_names_is_not_told_of(tmp_path: Path) -> None:
    plain = put(tmp_path / "kb.csv", "concept_id,name,code\nC1,Fever,7\n")
    assert kb_notes(KbConfig(format="table", path=str(plain))) == []
    own = put(tmp_path / "own.csv", "concept_id,name,synonym\nC1,Fever,hot\n")
    assert kb_notes(KbConfig(format="table", path=str(own), columns={"name": "name"})) == []
    assert kb_notes(KbConfig(format="obo", path=str(put(tmp_path / "x.obo", OBO)))) == []


def test_a_column_of_a_defaults_name_that_the_config_leaves_out_is_told_of(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.csv", "code,term,synonyms,definition\nC1,Fever,hot,of the body\n")
    columns = {"id": "code", "name": "term", "definition": "definition"}
    [note] = kb_notes(KbConfig.model_validate({"format": "table", "path": str(path), "columns": columns}))
    assert (
        "its column 'synonyms' is not read; if that is meant, set kb.columns: {id: code, name: term, definition: definition, synonyms: synonyms}"
        in note
    )
    assert kb_notes(KbConfig.model_validate({"format": "table", "path": str(path), "columns": {**columns, "synonyms": "synonyms"}})) == []
    assert kb_notes(KbConfig.model_validate({"format": "table", "path": str(path), "columns": {**columns, "name": "Synonyms"}})) == []
    numbered = {"format": "table", "path": str(path), "columns": {"id": "0", "name": "1"}}
    assert kb_notes(KbConfig.model_validate(numbered)) == []


@pytest.mark.parametrize(
    ("cells", "separator", "mark"),
    [
        (["hot; heat", "ache;dolor", "a;b", "one", ""], "|", ";"),
        (["hot, heat", "ache, dolor", "a, b"], "|", ","),
        (["hot, heat|fire", "ache, dolor", "a, b"], "|", None),
        (["hot|heat", "ache|dolor", "a|b"], ";", "|"),
        (["Pain, acute", "Pain, chronic", "one"], "|", None),
        (["a, b", "c, d", "e, f", *["one"] * 13], "|", None),
    ],
)
def test_synonyms_that_have_another_separator_than_the_configs_are_told_of(
    tmp_path: Path, cells: list[str], separator: str, mark: str | None
) -> None:
    path = put(tmp_path / "kb.csv", "concept_id,name,synonyms\n" + "".join(f'C{n},name {n},"{cell}"\n' for n, cell in enumerate(cells)))
    notes = kb_notes(KbConfig(format="table", path=str(path), synonym_separator=separator))
    told = f'{path}: no synonym has {separator!r}, 3 have {mark!r}; if that stands between synonyms, set kb.synonym_separator: "{mark}"'
    assert notes == ([told] if mark else [])


def test_synonyms_in_lists_have_no_separator_to_be_told_of(tmp_path: Path) -> None:
    pq.write_table(pa.table({"concept_id": list("abc"), "name": list("abc"), "synonyms": [["x; y"]] * 3}), tmp_path / "kb.parquet")
    assert kb_notes(KbConfig(format="table", path=str(tmp_path / "kb.parquet"))) == []


def test_quotation_marks_that_count_as_text_are_told_of(tmp_path: Path) -> None:
    path = put(tmp_path / "kb.txt", "concept_id\tname\tsynonyms\n" + "".join(f'C{n}\t"Fever, {n}"\t"a"|b\n' for n in range(3)))
    [note] = kb_notes(KbConfig(format="table", path=str(path)))
    assert note.startswith(
        f"{path}: 3 cells of the column 'name' have quotation marks around them, which count as text, as they do where '\\t' stands"
    )


@pytest.mark.parametrize("column", ["synonyms", "definition"])
def test_a_synonym_or_definition_that_many_concepts_have_is_told_of(tmp_path: Path, column: str) -> None:
    def noted(nothing: int, own: int) -> list[str]:
        cells = [*["nan"] * nothing, *[f"word {n}" for n in range(own)], ""]
        path = put(tmp_path / "kb.csv", f"concept_id,name,{column}\n" + "".join(f"C{n},name {n},{cell}\n" for n, cell in enumerate(cells)))
        return kb_notes(KbConfig(format="table", path=str(path)))

    [note] = noted(20, 9)
    assert f"the {column.removesuffix('s')} 'nan' is that of 20 of 30 concepts; leave the cell empty" in note
    assert noted(19, 9) == noted(20, 1980) == []
