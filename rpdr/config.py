"""One typed, frozen config for a run. Every key has a default where one makes sense, a unit in its name, and a check.

`load(path)` reads YAML, refuses unknown keys (naming the nearest valid one), and raises ConfigError with the file and line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from rpdr.sections import Section, read_sections, unshown

SANDBOX = "sandbox"  # the model's name of the simulated teacher


def _encoding(name: str) -> str:
    try:
        "".encode(name)  # not codecs.lookup, which knows hex too
    except (LookupError, ValueError) as error:
        raise ValueError("is not an encoding of text that Python knows; try utf-8, cp1252 or gb18030") from error
    return name


def _with_a_scheme(url: str) -> str:
    if url and not re.match(r"https?://", url, re.IGNORECASE):
        raise unshown("needs http:// or https:// before it, e.g. http://localhost:8000/v1")
    return url


def _alone(given: Any) -> Any:
    return (given,) if isinstance(given, str | int) else given


# YAML reads -1 and 0 as numbers, where a gold id or a column is meant
Text = Annotated[str, pydantic.BeforeValidator(lambda given: str(given) if type(given) is int else given)]
# … and true as no text, where a cell is
Cell = Annotated[Text, pydantic.BeforeValidator(lambda given: str(given) if type(given) is bool else given)]
Cells = Annotated[tuple[Cell, ...], pydantic.BeforeValidator(_alone)]
Encoding = Annotated[str, pydantic.AfterValidator(_encoding)]
ServerUrl = Annotated[str, pydantic.AfterValidator(_with_a_scheme)]


class KbConfig(Section):
    """A knowledge base: where it is and how to read it."""

    format: Literal["obo", "table", "medic", "icd10cm"] = Field(
        description="obo: OBO 1.4; table: CSV/TSV/Parquet; medic: id1|id2||name1|name2; icd10cm: the CDC's tabular XML"
    )
    path: str = Field(
        description="a path, ${VARIABLE}/path, package:NAME/path inside an installed Python package, or an object store's URL (s3://bucket/kb.obo, gs://, "
        "abfs://), whose credentials come from the environment; a server of one's own: s3://…?scheme=http&endpoint_override=localhost:9000"
    )
    encoding: Encoding = "utf-8"
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

    modulo: int = Field(10, ge=2)
    of: Literal["cleaned", "given"] = Field(
        "cleaned", description="given: md5 of the text as it stands in the source, not cleaned, not lower-cased: to repeat another's split"
    )
    labelled: tuple[int, ...] = ()
    dev: tuple[int, ...] = ()
    test: tuple[int, ...] = ()
    unlabelled: tuple[int, ...] = ()
    corpus: tuple[int, ...] = ()

    @pydantic.model_validator(mode="after")
    def _each_remainder_once(self) -> HashSplit:
        used = [*self.labelled, *self.dev, *self.test, *self.unlabelled, *self.corpus]
        if len(used) != len(set(used)) or any(not 0 <= r < self.modulo for r in used):
            raise ValueError(f"remainders must be different and within 0..{self.modulo - 1}")
        return self


class DocumentSplit(Section):
    """Split by document, in the source's order: `labelled` has the first share of the documents, then come `unlabelled`, `dev`, `test` and `corpus`, in
    whatever order they are named."""

    labelled: float = Field(0.0, ge=0, le=1)
    unlabelled: float = Field(0.0, ge=0, le=1)
    dev: float = Field(0.0, ge=0, le=1)
    test: float = Field(0.0, ge=0, le=1)
    corpus: float = Field(0.0, ge=0, le=1)

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
    encoding: Encoding = "utf-8"
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
        None, description="table, jsonl: field -> column name, or 0-based number for a file without a header"
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
    kb: KbConfig | None = Field(None, description="concept_names: the knowledge base whose names are the mentions")
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


class RetrieverConfig(Section):
    """Bi-encoder, its fine-tuning and its index."""

    model: str = Field(
        "cambridgeltl/SapBERT-from-PubMedBERT-fulltext-mean-token",
        description="hub name, folder, or package:NAME/path; of a checkpoint that no sentence-transformers wrote the mean of its tokens is taken, so name one that "
        "was trained for that",
    )
    prefix: str = Field("", description="put before every text, e.g. 'query: ' for E5")
    top_k: int = Field(10, ge=2, le=100, description="candidates a mention")
    epochs: int = Field(5, ge=0, description="0: use the model as it comes")
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(5e-5, gt=0)
    max_synonym_pairs: int = Field(
        5000,
        ge=0,
        description="synonym pairs of the knowledge base per epoch, beside all labelled mentions; in the second round no more than there are of those",
    )
    max_tokens: int = Field(32, ge=4, description="tokens of a text that are read")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="of its tuning; auto: bf16 where the device computes in it, else fp32. Texts are always encoded in fp32"
    )
    rounds: Literal[1, 2] = Field(
        2,
        description="2: go on tuning it, on the teacher's labels too, and let the student re-rank what that finds; three tunings on fewer pairs, which 1 saves",
    )
    labelled_names: bool = Field(
        True,
        description="mentions of the split `labelled` are further names of their concepts, and tell what is commonly meant, when candidates are looked for "
        "that the teacher chooses from: where dev shows that more is found so",
    )
    aliases: bool = Field(
        True,
        description="linked mentions are further names of their concepts when the student looks for candidates: those of the split `labelled`, and "
        "the teacher's that are more probably right than not; their similarity counts less, by as much as does best on dev",
    )
    commonness: bool = Field(
        True,
        description="with aliases or a second round: how often concepts were meant, and the same text meant them, counts in what the student looks "
        "through; how much, is fitted on dev",
    )
    baselines: bool = Field(
        False, description="also measure the encoder untuned, and tuned on the teacher's labels too: what a student must beat"
    )
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        "auto",
        description="flat: exact; ivf: searches lists of like names, as many as find 99 % of what exact search finds for the labelled mentions; "
        "hnsw: a graph, faster and larger; auto: flat up to 100,000 names, then ivf",
    )
    index_parts: int = Field(
        1,
        ge=1,
        description="in how many files the index keeps its vectors: where they do not fit one node, as many as it takes. Of several, one is built at a "
        "time, and each is held and searched by a process of its own, as far apart as there are nodes (resources.indexing). Read when the index is made: "
        "of a finished run, rpdr retriever --redo and, where there is a second round, rpdr retune --redo",
    )

    @property
    def second_round(self) -> bool:
        """Whether the student re-ranks what a retriever found that has learned from the teacher."""
        return self.aliases or self.rounds == 2


class Price(Section):
    """Dollars per million tokens."""

    input_usd_per_million: float = Field(ge=0)
    output_usd_per_million: float = Field(ge=0)
    batch_discount: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="off both by the provider's Batch API, often 0.5; 0: it gives none, and the budget holds whatever it gives",
    )


class SandboxConfig(Section):
    """A simulated teacher that knows the unlabelled pool's answers and errs at a set rate. For demonstrations and tests only."""

    accuracy: float = Field(
        0.9, gt=0, le=1, description="how often it answers rightly when the answer is among the candidates (or rightly says none)"
    )
    invalid_rate: float = Field(0.01, ge=0, lt=1, description="how often its answer cannot be read")
    stable_errors: float = Field(
        0.6, ge=0, le=1, description="share of its errors that are the same in any order of the options; an assumption, not measured"
    )
    latency_s: float = Field(0.02, ge=0)


class BatchConfig(Section):
    """How the provider's Batch API is used."""

    requests: int = Field(10_000, ge=1, le=50_000, description="requests a batch")
    at_once: int = Field(4, ge=1, description="batches at the provider's at a time")
    poll_s: float = Field(30.0, gt=0, description="between two looks at a batch")


_BUDGETED = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), "give teacher.max_output_tokens"),
    **dict.fromkeys(("n", "best_of", "stream", "tools", "functions", "web_search_options", "prediction"), "leave it out"),
    **dict.fromkeys(("models", "route", "plugins"), "leave it out"),  # OpenRouter's: other models, at their own prices; searches of the web
    "model": "give teacher.model",
    "messages": "leave it out",
    "service_tier": "give its price too, as teacher.price",
}


class TeacherConfig(Section):
    """The closed LLM, and what may be spent on it."""

    model: str = Field(SANDBOX, description="a model name of the endpoint; 'sandbox' starts the sandbox teacher on this machine")
    base_url: ServerUrl = Field("", description="chat-completions endpoint; empty: the SDK's default (or OPENAI_BASE_URL)")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="hosts, e.g. [llm.hospital.example], that restricted data may go to beside this machine: exact names, no wildcards"
    )
    names_model: str = Field(
        "", description="deidentified: a token-classification model that finds names, as a hub name, folder or package:NAME/path"
    )
    phone_regions: tuple[str, ...] = Field(
        ("US", "CA", "GB", "IE", "AU", "NZ", "IN", "CN", "JP", "DE", "AT", "CH", "FR", "BE", "NL", "ES", "PT", "BR", "IT", "SE", "PL"),
        description="deidentified: countries (ISO 3166) whose phone numbers are known without a +",
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="the environment variable that holds the key; keys never stand in a config")
    budget_usd: float = Field(5.0, ge=0, description="hard cap on this run's spending")
    price: Price | None = Field(None, description="wins over rpdr/teacher/prices.yaml; required where that does not know the model")
    max_mentions: int = Field(100_000, ge=0, description="mentions to label at most; 0: none")
    mode: Literal["sync", "batch"] = Field("sync", description="batch: the provider's Batch API, within a day at a lower price")
    batch: BatchConfig = BatchConfig()
    choose: Literal["random", "worth"] = Field(
        "random", description="whom to ask about first: worth = unsure to the retriever, frequent, of concepts not yet asked about"
    )
    examples: int = Field(4, ge=0, le=20, description="few-shot examples, drawn from the labelled mentions")
    votes: int = Field(
        1, ge=1, le=9, description="answers a mention at most, each to another order of the options, until two agree; 1: no vote"
    )
    several: bool = Field(
        False,
        description="a mention may name several concepts, see link.several: ask for all of them (max_output_tokens: 32 leaves room for that)",
    )
    max_output_tokens: int = Field(16, ge=1)
    temperature: float | None = Field(0.0, ge=0, le=2, description="null: the endpoint's own, for models that take none")
    structured: bool = Field(True, description="ask for JSON with the options as an enum; endpoints that refuse it are asked for a number")
    logprobs: bool = Field(False, description="ask for token log-probabilities, which become a label's confidence")
    parameters: dict[str, Any] = Field(default={}, description="sent with each request as they are, e.g. {reasoning_effort: low}")
    api_version: str = Field("", description="Azure OpenAI's dated API alone, e.g. 2024-10-21; its /openai/v1 needs none")
    requests_per_minute: int = Field(0, ge=0, description="of all jobs on the run directory together; 0: no limit")
    tokens_per_minute: int = Field(0, ge=0, description="prompt and answer, of all jobs on the run directory together; 0: no limit")
    timeout_s: float = Field(30.0, gt=0)
    patience_s: float = Field(600.0, gt=0, description="how long the endpoint may answer nothing, or HTTP 429 alone, before the stage ends")
    max_attempts: int = Field(4, ge=1, description="tries of one question: connection errors, time-outs, 5xx; a 429 uses none")
    actors: int = Field(1, ge=1)
    concurrency: int = Field(32, ge=1, description="requests in flight an actor")
    sandbox: SandboxConfig = SandboxConfig()

    @property
    def simulated(self) -> bool:
        """Whether it is the sandbox teacher, whom nobody pays."""
        return self.model == SANDBOX

    @property
    def where_the_key_goes(self) -> str:
        """The remedy where it stands elsewhere."""
        return f"take it out, and put a key into the environment variable {self.api_key_env} (teacher.api_key_env)"

    @pydantic.model_validator(mode="after")
    def _parameters_within_the_budget(self) -> TeacherConfig:
        for name in self.parameters.keys() & _BUDGETED.keys():
            if name != "service_tier" or self.price is None:
                raise ValueError(f"parameters: {name}: the budget is reserved by what is known of a request; {_BUDGETED[name]}")
        return self

    @pydantic.field_validator("api_key_env")
    @classmethod
    def _no_key_itself(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise unshown(
                "is not the name of an environment variable, which has letters, digits and _ alone; put the key into one, as OPENAI_API_KEY, and name that"
            )
        return name

    @pydantic.field_validator("allowed_hosts")
    @classmethod
    def _hosts_alone(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host):
                raise ValueError(f"{host!r} is not the name of a host; give it without scheme, port, path or wildcard")
        return hosts


def _least_and_most(actors: Any) -> int | tuple[int, int]:
    both = (actors, actors) if isinstance(actors, int) else tuple(actors) if isinstance(actors, list | tuple) else ()
    if len(both) != 2 or not all(type(n) is int for n in both) or not 1 <= both[0] <= both[1]:
        raise ValueError("a whole number from 1 up, or [least, most], the least first")
    return actors if isinstance(actors, int) else (both[0], both[1])


Actors = Annotated[int | tuple[int, int], pydantic.BeforeValidator(_least_and_most)]  # of a pool: so many, or [least, most]


def actors_between(actors: int | tuple[int, int]) -> tuple[int, int]:
    """(the least, the most) of a pool."""
    return (actors, actors) if isinstance(actors, int) else actors


class StudentConfig(Section):
    """The open LLM that re-ranks: base model, LoRA, training, scoring."""

    model: str = Field("Qwen/Qwen3-0.6B", description="hub name, folder, or package:NAME/file.gguf")
    layers: int = Field(0, ge=0, description="use the first N layers of the base model alone; 0: all. Half the layers take half the time")
    tuning: Literal["lora", "qlora", "full"] = Field(
        "lora",
        description="lora: adapters over the base model; qlora: over the base in 4 bits, a quarter of the memory (pip install '.[qlora]'); "
        "full: all weights, kept as a whole model; wants a learning_rate of about 2e-5",
    )
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_layers: int = Field(0, ge=0, description="adapt only the last N layers; 0: all. Fewer is faster")
    epochs: int = Field(2, ge=1)
    batch_size: int = Field(16, ge=1, description="mentions a step, over all workers")
    micro_batch_tokens: int = Field(2048, ge=64, description="tokens a forward pass of one worker, padding too: what fits its memory")
    learning_rate: float = Field(2e-4, gt=0, description="of the adapters")
    head_learning_rate: float = Field(2e-3, gt=0, description="of the scoring head: new weights learn faster than adapted ones")
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    max_labels: int = Field(0, ge=0, description="train on at most this many labels, in the order of teacher.choose; 0: all")
    train_candidates: int = Field(
        0,
        ge=0,
        description="train on the chosen candidate and the most similar others, so many in all; 0: all. Half of them take half the time",
    )
    min_trust: float = Field(0.5, ge=0, lt=1, description="leave labels out that are less probably right: the column `trust` of the labels")
    soft_labels: bool = Field(
        True, description="believe a label as far as it is trusted; the rest of its probability stays where the retriever had it"
    )
    gold_labels: bool = Field(
        False,
        description="train on the labelled mentions too, beside the teacher's labels; what retrieved their candidates was tuned on them, so they look easier than new ones",
    )
    early_stop: bool = Field(
        False, description="measure on dev after each epoch, keep the best epoch's student, and stop after an epoch that brought nothing"
    )
    max_tokens_mention: int = Field(48, ge=8)
    max_tokens_candidate: int = Field(48, ge=4, description="of a longer one the beginning and the end are read; short ones cost no more")
    use_context: bool = Field(
        False,
        description="read the sentence that a mention stands in too; a phrase is then linked once a sentence, else once. The teacher reads it either way, "
        "unless the source has `leave_out: [context]`",
    )
    none_reads: Literal["candidates", "mention"] = Field(
        "candidates",
        description='what "none of these" is judged by: candidates: the mention and all candidates; mention: the mention alone, as link.engine: '
        "vllm needs it",
    )
    workers: Actors = Field(
        1,
        description="training processes, at most one a GPU; without a GPU one a core is about twice as fast as one of many threads. [least, most]: as many "
        "as there is room for; one whose machine is lost is not waited for, and training goes on from its last checkpoint with those that are left. Not with "
        "resources.training.labels",
    )
    threads_per_worker: int = Field(0, ge=0, description="CPU threads a training worker; 0: all CPUs divided by the most workers")
    use_gpu: bool | None = Field(None, description="null: if the cluster has GPUs")
    zero_stage: Literal[0, 1, 2, 3] = 1
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="auto: bf16 where the device computes in it, else fp32; name one for equal scores on unequal machines"
    )
    checkpoint_every_steps: int = Field(50, ge=1)

    @pydantic.field_validator("train_candidates")
    @classmethod
    def _something_to_choose_from(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one candidate leaves nothing to choose from; 0 (all), or at least 2")
        return value


class LinkConfig(Section):
    """The batch job over the test mentions and the corpus."""

    output: str | None = Field(
        None,
        description="where `rpdr link --corpus NAME` writes, in a folder NAME: a folder, or an object store's URL as s3://bucket/linked, whose credentials "
        "come from the environment; null: corpora/ in the run directory",
    )
    allowed_stores: tuple[str, ...] = Field(
        (),
        description="buckets of yours, to the letter, that `output` may name under data_policy restricted, though they are on other machines",
    )
    engine: Literal["torch", "vllm"] = Field(
        "torch",
        description="what computes the student's hidden states: torch: ours, a mention in one pass; vllm: vLLM, a sequence a candidate, for large "
        "students on GPUs (pip install '.[vllm]'; student.none_reads: mention). Prompt, head and calibration are the same",
    )
    shard_mentions: int = Field(10_000, ge=1, description="mentions a shard, about; a shard is the unit of resume")
    batch_size: int = Field(32, ge=1, description="mentions a forward pass of the student")
    top_k: int = Field(
        0,
        ge=0,
        le=100,
        description="candidates a mention that the student re-ranks; 0: as many as the teacher chose from, retriever.top_k. A score does not depend "
        "on the other candidates, so there may be more than the student learned from; twice as many take twice the time",
    )
    retriever_actors: Actors = Field(1, description="copies of the retriever's encoder at work, or [least, most], as of the student")
    student_actors: Actors = Field(
        1,
        description="copies of the student at work, or [least, most], between which their number follows the work that waits; no more than there is "
        "room for on GPUs where there are any. Without a GPU one a core is fastest",
    )
    student_gpus: float = Field(
        1.0, gt=0, le=1, description="of a GPU, what a copy of the student holds where there are any: 0.5 puts two on one"
    )
    allow_nil: bool = Field(
        True, description='whether "none of these" may be the answer; false where every mention is known to have a concept'
    )
    several: bool = Field(
        False,
        description="a mention may name several concepts: the answer has all that are probable enough, which is set on dev for the best micro F1",
    )
    exact_match: bool = Field(
        True,
        description="a mention that is verbatim the name of exactly one concept is answered without the student, unless somebody, or the teacher, has linked it "
        "to others alone",
    )
    shortcut: float | None = Field(
        0.98,
        gt=0,
        lt=1,
        description="the retriever's answer is taken without asking the student, where the retriever is so sure that dev shows, with 95 % "
        "certainty, this share of such answers to be the student's too, each text counted once (each context, where the student reads them); null: the student is asked about each mention",
    )
    target_precision: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="abstain from what is not sure enough for this share of right answers, concepts and NIL alike, shown on dev with 95 % "
        "certainty, each text counted once (each context, where the student reads them), e.g. 0.95; of several concepts the first is judged; null: answer everything",
    )


class Needs(Section):
    """What one process asks of the cluster: a node that has no room for it is not given it, and one that has may be started for it."""

    cpus: float = Field(1.0, ge=0)
    gpus: float = Field(0.0, ge=0, description="0.5 puts two on one")
    memory_gib: float = Field(0.0, ge=0, description="0: none is kept for it")
    labels: dict[str, str] = Field(
        default={},
        description="of the nodes that may run it, as Ray's label selectors have them, e.g. {rpdr.io/group: training} or "
        '{ray.io/market-type: "!spot"}',
    )


class ResourcesConfig(Section):
    """Where on a cluster each kind of work runs, and so which nodes are started for it. null: beside the job's own process, or, of a pool, a share
    of the cluster as it is. What may be lost and repeated, which is all of these, suits spot nodes; the driver and the budget stay on the head."""

    tuning: Needs | None = Field(
        None, description="the process that tunes the encoder and indexes all names: stages retriever, retune, baselines"
    )
    retrieving: Needs | None = Field(
        None,
        description="each of link.retriever_actors. Its nodes want a whole CPU beside all actors there, for Ray Data's own tasks: without one they wait for ever",
    )
    indexing: Needs | None = Field(
        None, description="each of retriever.index_parts, where there are several; memory: its file's size and half a gibibyte"
    )
    teaching: Needs | None = Field(None, description="each of teacher.actors, which wait for an endpoint")
    training: Needs | None = Field(None, description="each of student.workers; with gpus, training is on them wherever the job began")
    reranking: Needs | None = Field(None, description="each of link.student_actors, and the process that calibrates the student")


class ReportConfig(Section):
    """Evaluation and the report."""

    bootstrap_samples: int = Field(1000, ge=100)
    examples: int = Field(
        4, ge=0, description="wrong answers and wrong labels shown of each cause; 0 keeps mention texts out of the report"
    )
    machine_usd_per_hour: float | None = Field(
        None, ge=0, description="of the machine that links, to set the student's cost beside the teacher's"
    )
    grafana_url: ServerUrl | None = Field(
        None,
        description="of a Grafana with cluster/grafana.json, e.g. http://localhost:3000: the report links to the run's meters",
    )


class Config(Section):
    """A whole run."""

    run_dir: str = Field(min_length=1, description="where the run's state lives, e.g. runs/quickstart")
    seed: int = 13
    data_policy: Literal["public", "deidentified", "restricted"] = Field(
        "restricted",
        description="restricted: text goes to this machine, teacher.allowed_hosts and link.allowed_stores alone; deidentified: what identifies a person is "
        "masked before text goes to the teacher, as well as patterns can; public: text goes as it is. What `link` writes is not masked",
    )
    kb: KbConfig
    mentions: tuple[MentionsConfig, ...] = Field(min_length=1)
    corpora: dict[str, MentionsConfig] = Field(
        default={},
        description="mentions to link with the finished student, each under a name of yours, which may be added at any time: "
        "`rpdr link --corpus NAME` writes them to corpora/NAME/",
    )
    retriever: RetrieverConfig = RetrieverConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    link: LinkConfig = LinkConfig()
    report: ReportConfig = ReportConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @pydantic.field_validator("corpora")
    @classmethod
    def _folders_of_unsplit_mentions(cls, corpora: dict[str, MentionsConfig]) -> dict[str, MentionsConfig]:
        for name, source in corpora.items():
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"{name!r} will be a folder: letters, digits, '_', '-' and '.' alone")
            if source.split != "corpus" or source.split_file or source.split_documents:
                raise ValueError(f"{name}: all of a corpus is linked; it has no splits")
        return corpora

    @property
    def final_top_k(self) -> int:
        """Candidates a mention that the student re-ranks."""
        return self.link.top_k or self.retriever.top_k

    @pydantic.model_validator(mode="after")
    def _more_candidates_come_from_a_second_round(self) -> Config:
        if self.final_top_k != self.retriever.top_k and not self.retriever.second_round:
            raise ValueError("link.top_k needs a second round that retrieves so many: retriever.aliases: true, or retriever.rounds: 2")
        return self

    @pydantic.model_validator(mode="after")
    def _vllm_reads_plain_sequences(self) -> Config:
        if self.link.engine == "vllm" and self.student.none_reads != "mention":
            raise ValueError(
                'link.engine: vllm reads each branch alone, and this student\'s "none of these" reads all candidates: train one with '
                "student.none_reads: mention, or leave link.engine: torch"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _training_finds_its_nodes(self) -> Config:
        needs, student = self.resources.training, self.student
        if needs and student.use_gpu is not None and student.use_gpu != bool(needs.gpus):
            raise ValueError(
                f"student.use_gpu: {student.use_gpu} and resources.training.gpus: {needs.gpus:g} contradict each other; leave use_gpu out"
            )
        if needs and needs.gpus > 1:  # with several, DeepSpeed would look for the model on another than Ray has put it on
            raise ValueError(
                f"resources.training.gpus: {needs.gpus:g}: a training worker uses one GPU; give it 1, and raise student.workers"
            )
        least, most = actors_between(student.workers)
        if needs and 0 < needs.gpus < 1 < most:
            raise ValueError(
                f"resources.training.gpus: {needs.gpus:g}: training workers cannot share a GPU; give each one, or leave student.workers at 1"
            )
        if needs and needs.labels and least < most:
            raise ValueError(
                "student.workers: a range is counted on the nodes of all groups, as Ray Train looks at no labels, and may wait for ever; give one number "
                "(a lost node is waited for), or leave resources.training.labels out"
            )
        return self


def load(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read and check a YAML config. `overrides` are dotted keys, e.g. {"run_dir": "runs/x", "student.epochs": 1}.

    Raises ConfigError: one line that names the file, the line and the remedy.
    """
    return read_sections(path, Config, "config", "kb", overrides)
