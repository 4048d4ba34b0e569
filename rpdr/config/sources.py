"""Where the knowledge base and the mentions are, how they are read, and which mention is of which split."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field

from rpdr.config.values import Cells, Encoding, Text
from rpdr.sections import Section


class KbConfig(Section):
    """A knowledge base: where it is and how to read it."""

    format: Literal["obo", "table", "medic", "icd10cm"] = Field(
        description="obo: OBO 1.4; table: CSV/TSV/Parquet; medic: id1|id2||name1|name2; icd10cm: the CDC's tabular XML"
    )
    path: str = Field(
        description="a path, ${VARIABLE}/path, package:NAME/path inside an installed Python package, or an object store's URL (s3://bucket/kb.obo, gs://, "
        "abfs://), whose credentials come from the environment; a server of one's own: s3://…?scheme=http&endpoint_override=localhost:9000"
    )
    encoding: Encoding = Field("utf-8", description="of its text, by Python's name, e.g. cp1252, gb18030")
    columns: dict[Literal["id", "name", "synonyms", "definition"], Text] = Field(
        default={"id": "concept_id", "name": "name", "synonyms": "synonyms", "definition": "definition"},
        description="table only: which column holds what; a column that is not named here is not read",
    )
    separator: str = Field(
        "",
        description="table only: between cells, e.g. ';' as Excel writes it in much of Europe; empty: comma for .csv, tab for .tsv and .txt",
    )
    synonym_separator: str = Field("|", min_length=1, description="table only: between synonyms in one cell")
    row: Literal["concept", "name"] = Field(
        "concept",
        description="table only: what a row is; name: one name of a concept that has others in other rows, as in UMLS's MRCONSO.RRF and the descriptions "
        "of SNOMED CT",
    )
    preferred: dict[Text, Cells] = Field(
        default={},
        description="row: name only: what the row with a concept's own name has in these columns, e.g. {TTY: PT}; the row that has most of it, of equals the "
        "first",
    )
    where: dict[Text, Cells] = Field(
        default={},
        description="table only: read those rows alone that have this, or one of these, in these columns, e.g. {LAT: ENG, SAB: [MSH, SNOMEDCT_US]}",
    )
    id_prefix: str = Field("", description="keep only concepts whose id starts with this, e.g. HP:")
    merge_same_names: bool = Field(
        False,
        description="concepts whose preferred names are the same become one: the first one's id, with the others' as alternate ids. "
        "For lists of codes that name a category and its only member alike, where answers are names",
    )
    only_synonym_types: tuple[str, ...] = Field((), description="obo only: read names from synonyms of these types alone")
    drop_synonym_types: tuple[str, ...] = Field((), description="obo only: leave synonyms of these types out, e.g. [layperson]")

    @pydantic.model_validator(mode="after")
    def _of_its_format_alone(self) -> KbConfig:
        for key in ("only_synonym_types", "drop_synonym_types"):
            if getattr(self, key) and self.format != "obo":
                raise ValueError(
                    f"{key} is read with `format: obo` alone; take it out, as synonyms of `format: {self.format}` have no types"
                )
        if self.format != "table" and (self.where or self.row == "name"):
            raise ValueError(f"row and where are read with `format: table` alone; take them out, or name another format than {self.format}")
        if self.preferred and self.row != "name":
            raise ValueError("preferred is read with `row: name` alone; add that, or take it out")
        return self


class HashSplit(Section):
    """Split mentions by md5 of their lower-case (case-folded) UTF-8 text modulo `modulo`: the same text is always on the same side."""

    modulo: int = Field(10, ge=2, description="how many remainders there are")
    of: Literal["cleaned", "given"] = Field(
        "cleaned", description="given: md5 of the text as it stands in the source, not cleaned, not lower-cased: to repeat another's split"
    )
    labelled: tuple[int, ...] = Field((), description="remainders")
    dev: tuple[int, ...] = Field((), description="remainders")
    test: tuple[int, ...] = Field((), description="remainders")
    unlabelled: tuple[int, ...] = Field((), description="remainders")
    corpus: tuple[int, ...] = Field((), description="remainders")

    @pydantic.model_validator(mode="after")
    def _each_remainder_once(self) -> HashSplit:
        used = [*self.labelled, *self.dev, *self.test, *self.unlabelled, *self.corpus]
        if len(used) != len(set(used)) or any(not 0 <= r < self.modulo for r in used):
            raise ValueError(f"remainders must be different and within 0..{self.modulo - 1}")
        return self


class DocumentSplit(Section):
    """Split by document, in the source's order: `labelled` has the first share of the documents, then come `unlabelled`, `dev`, `test` and `corpus`, in
    whatever order they are named."""

    labelled: float = Field(0.0, ge=0, le=1, description="share")
    unlabelled: float = Field(0.0, ge=0, le=1, description="share")
    dev: float = Field(0.0, ge=0, le=1, description="share")
    test: float = Field(0.0, ge=0, le=1, description="share")
    corpus: float = Field(0.0, ge=0, le=1, description="share")

    @pydantic.model_validator(mode="after")
    def _shares_of_one(self) -> DocumentSplit:
        whole = sum((self.labelled, self.unlabelled, self.dev, self.test, self.corpus))
        if not 0 < whole <= 1 + 1e-9:
            raise ValueError(f"the shares make {whole:g}; they must make at most 1, and what they leave of it is not read")
        return self


class MentionsConfig(Section):
    """One source of mentions."""

    format: Literal["table", "jsonl", "pubtator", "standoff", "concept_names"] = Field(
        description="table: CSV/TSV/Parquet; jsonl: JSON Lines, or one JSON array of objects; standoff: .ann folders or a .tar.gz of them; "
        "concept_names: the names of a knowledge base (`kb`)"
    )
    path: str = Field(
        "",
        description="as kb.path; also a folder without folders in it, or a pattern (parts/*.parquet), of several files; concept_names takes its path "
        "from `kb`",
    )
    encoding: Encoding = Field("utf-8", description="of its text, by Python's name, e.g. cp1252, gb18030")
    split: Literal["labelled", "unlabelled", "dev", "test", "corpus"] | HashSplit = Field(
        "corpus", description="a split's name, or a rule by hash of the text"
    )
    split_file: str = Field("", description="JSON of document id -> split; overrides `split`. A document that it does not name is left out")
    split_documents: DocumentSplit | None = Field(
        None,
        description="shares of the documents, in the source's order: labelled first, then unlabelled, dev, test, corpus, in whatever order they are named; "
        "overrides `split`",
    )
    columns: dict[Literal["id", "text", "context", "type", "doc_id", "gold"], Text] | None = Field(
        None,
        description="table, jsonl: field -> column name, or 0-based number for a file without a header; none: those columns "
        "that have a field's name. Once it is given, a column that it does not name is not read",
    )
    header: bool = Field(
        True,
        description="table: whether the first line names the columns; where all of `columns` are numbers, it does not unless you say so",
    )
    separator: str = Field(
        "",
        description="table: between cells; empty: comma for .csv, tab for .tsv and .txt. Where it is a tab or several characters, a quotation mark is "
        "a character like any other",
    )
    gold: Literal["given", "nil", "unknown"] = Field(
        "given", description="given: as the source says; nil: none of these is in the knowledge base; unknown: not annotated"
    )
    nil_values: tuple[Text, ...] = Field(("-1", "NIL", "CUI-less", "CONCEPT_LESS"), description="gold ids that mean NIL")
    gold_by: Literal["id", "name"] = Field(
        "id", description="name: gold names its concepts, and ## alone stands between several (a + may be part of a name)"
    )
    gold_bar: Literal["either", "all"] = Field(
        "either", description="what | between gold ids means: alternatives, or all of them together, as in PubTator's composite mentions"
    )
    unknown_gold: Literal["keep", "nil"] = Field(
        "keep", description="gold that the knowledge base lacks: keep: no answer is right; nil: 'none of these' is, if nothing else is left"
    )
    gold_prefix: dict[str, str] = Field(default={}, description="pubtator only: prefix put before ids, e.g. {'': 'MESH:'}")
    types: tuple[str, ...] = Field((), description="keep only mentions of these types; empty: all")
    leave_out: tuple[Literal["context", "type"], ...] = Field(
        (), description="read no further than the filters: mentions that differ in these alone are then one question, asked and linked once"
    )
    abbreviations: bool = Field(
        True,
        description='write out those that the document, or the context that a row has, defines: where it says "Duchenne muscular dystrophy (DMD)", '
        "DMD is linked as that; `written` is then what stands there",
    )
    kb: KbConfig | None = Field(None, description="concept_names: the knowledge base whose names are the mentions, with the keys of `kb`")
    keep_every: int = Field(
        1,
        ge=1,
        description="keep one text in so many, by its hash, of those that have each remainder of `split`: a sample that never changes",
    )
    repeat: int = Field(
        0, ge=0, description="draw this many mentions (with repeats, Zipf-like, seeded) from the source; 0: the source as it is"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _numbers_name_no_header(cls, given: Any) -> Any:
        """As in a knowledge base, columns that are all numbers say that there is no header. It stands in the config then, which may be written out."""
        if not isinstance(given, dict) or "header" in given or given.get("format") != "table":
            return given
        columns = given.get("columns")
        if not isinstance(columns, dict) or "text" not in columns or not all(str(column).isdecimal() for column in columns.values()):
            return given
        return {**given, "header": False}

    @pydantic.model_validator(mode="after")
    def _somewhere(self) -> MentionsConfig:
        if self.format == "concept_names" and self.kb is None:
            raise ValueError("kb is missing: `format: concept_names` takes its mentions from the names of that knowledge base")
        if self.format != "concept_names" and not self.path:
            raise ValueError("path is missing: name the file, the folder or the pattern that holds the mentions")
        return self

    @pydantic.model_validator(mode="after")
    def _prefix_of_pubtator_alone(self) -> MentionsConfig:
        if self.gold_prefix and self.format != "pubtator":
            raise ValueError(
                f"gold_prefix is read with `format: pubtator` alone; take it out, and write the ids of `format: {self.format}` as the knowledge base has them"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _one_split_by_document(self) -> MentionsConfig:
        if self.split_file and self.split_documents:
            raise ValueError("split_file and split_documents both say where a document goes; give one of them")
        return self
