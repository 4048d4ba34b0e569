"""A config is right, or one line says what is wrong, where, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import yaml

from rpdr.config import HashSplit, MentionsConfig, TeacherConfig, actors_between, load
from rpdr.errors import ConfigError

SMALL = """run_dir: runs/x
kb:
  format: table
  path: kb.csv
mentions:
  - format: table
    path: mentions.csv
    split: {modulo: 5, labelled: [0], test: [1]}
student:
  epochs: 3
"""
SHIPPED = sorted((Path(__file__).parents[1] / "jobs" / "configs").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, overrides: dict | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text), overrides)
    assert "\n" not in str(caught.value)
    assert str(folder / "config.yaml") in str(caught.value)
    return str(caught.value)


def test_what_is_not_set_has_a_default(tmp_path: Path):
    config = load(written(tmp_path, SMALL))
    assert config.student.epochs == 3
    assert config.retriever.top_k == 10
    assert config.data_policy == "restricted"
    assert config.mentions[0].split == HashSplit(modulo=5, labelled=(0,), test=(1,))


@pytest.mark.parametrize(
    ("text", "key", "nearest", "line"),
    [
        (SMALL.replace("  epochs: 3", "  epoch: 3"), "student.epoch", "'epochs'", 10),
        (SMALL.replace("path: kb.csv", "pth: kb.csv"), "kb.pth", "'path'", 4),
        (SMALL.replace("student:", "studnet:"), "studnet", "'student'", 9),
        (SMALL.replace("    path: mentions.csv", "    paht: mentions.csv"), "mentions.0.paht", "'path'", 7),
        (SMALL.replace("modulo: 5, labelled", "modulo: 5, labeled"), "mentions.0.split.labeled", "'labelled'", 8),
        (SMALL + "teacher:\n  sandbox: {acuracy: 0.9}\n", "teacher.sandbox.acuracy", "'accuracy'", 12),
        (SMALL + "teacher:\n  price: {input_usd: 0.9}\n", "teacher.price.input_usd", "'input_usd_per_million'", 12),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one_and_the_line(tmp_path: Path, text: str, key: str, nearest: str, line: int):
    message = refusal(tmp_path, text)
    assert f"{key}: unknown key; did you mean {nearest}?" in message
    assert f"line {line})" in message


def test_an_unknown_key_that_is_near_none_lists_the_valid_ones(tmp_path: Path):
    message = refusal(tmp_path, SMALL.replace("  epochs: 3", "  zzz: 3"))
    assert "valid here: model, layers" in message


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read the config"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot read the config"):
        load(tmp_path)


def test_bad_yaml_is_named_with_its_line(tmp_path: Path):
    message = refusal(tmp_path, SMALL + "teacher: {model: [\n")
    assert "not valid YAML" in message
    assert "line 12" in message


@pytest.mark.parametrize(
    "text", ["a: 2026-13-45\n", "a: b: c\n", "\tx: 1\n", "b: *y\n", "a: !!python/object:os.system 1\n", "? {b: 1}\n: 2\n"]
)
def test_whatever_yaml_cannot_read_is_a_config_error(tmp_path: Path, text: str):
    assert "not valid YAML" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("kb:\n\tformat: table\n", "a tab; indent by spaces"),
        ("kb: {format: table, path: ${HOSP}/kb.csv}\n", "stands in quotes: {path: '${VARIABLE}/kb.csv'}"),
        ('kb: {path: "C:\\data\\kb.csv"}\n', "write the path in single quotes, or with /"),
        ('kb: {path: "C:\\Users\\kb.csv"}\n', "write the path in single quotes, or with /"),
    ],
)
def test_what_newcomers_to_yaml_write_is_told_the_remedy(tmp_path: Path, text: str, remedy: str):
    assert remedy in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "word\n", "1\n"])
def test_a_config_that_is_no_mapping_is_refused(tmp_path: Path, text: str):
    assert "mapping" in refusal(tmp_path, text)


def test_a_file_that_is_not_utf8_is_named_with_the_byte(tmp_path: Path):
    (tmp_path / "c.yaml").write_bytes(b"run_dir: caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 12"):
        load(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (SMALL.replace("epochs: 3", "epochs: 0"), "student.epochs", 10),
        (SMALL.replace("epochs: 3", "epochs: many"), "student.epochs", 10),
        (SMALL.replace("format: table\n  path", "format: exel\n  path"), "kb.format", 3),
        (SMALL + "retriever:\n  top_k: 1000\n", "retriever.top_k", 12),
        (SMALL + "retriever:\n  index_parts: 0\n", "retriever.index_parts", 12),
        (SMALL + "teacher:\n  budget_usd: -1\n", "teacher.budget_usd", 12),
        (SMALL + "teacher:\n  budget_usd: .nan\n", "teacher.budget_usd", 12),
        (SMALL.replace("test: [1]", "test: [0]"), "mentions.0.split", 8),
        (SMALL.replace("test: [1]", "test: [5]"), "mentions.0.split", 8),
        ("run_dir: x\nkb: {format: obo, path: x}\nmentions: []\n", "mentions", 3),
    ],
)
def test_a_value_out_of_range_is_named_with_its_line(tmp_path: Path, text: str, key: str, line: int):
    message = refusal(tmp_path, text)
    assert message.startswith(f"{key}: ")
    assert f"line {line})" in message


def test_an_item_of_a_list_has_its_own_line_and_no_other_error(tmp_path: Path):
    sources = "mentions:\n  - {format: jsonl, path: a, split: dev}\n  - {format: jsonl, path: b, split: train}\n"
    message = refusal(tmp_path, "run_dir: x\nkb: {format: obo, path: x}\n" + sources)
    assert message.startswith("mentions.1.split: 'train'")
    assert message.endswith("line 5)")
    alone = refusal(
        tmp_path, "run_dir: x\nkb: {format: obo, path: x}\nmentions:\n  - {format: jsonl, path: a, split: {modulo: 3, labeled: [0]}}\n"
    )
    assert alone.startswith("mentions.0.split.labeled: unknown key; did you mean 'labelled'?")
    assert alone.endswith("line 4)")


def test_a_value_of_a_few_names_the_nearest_or_all(tmp_path: Path):
    message = refusal(tmp_path, SMALL.replace("{modulo: 5, labelled: [0], test: [1]}", "unlabeled"))
    assert message.startswith("mentions.0.split: 'unlabeled': did you mean 'unlabelled'? (")
    assert "data_policy: 'de-identified': did you mean 'deidentified'?" in refusal(tmp_path, SMALL + "data_policy: de-identified\n")
    assert "data_policy: 'x': should be one of public, deidentified, restricted (" in refusal(tmp_path, SMALL + "data_policy: x\n")


@pytest.mark.parametrize("key", ["link.top_k", "teacher.sandbox.accuracy", "corpora"])
def test_a_key_without_a_value_is_told_to_have_one_or_be_left_out(tmp_path: Path, key: str):
    (tmp_path / "c.yaml").write_text(SMALL)
    with pytest.raises(ConfigError, match=rf"^{key}: is empty; give it a value, or leave it out where it has a default \("):
        load(tmp_path / "c.yaml", {key: None})


@pytest.mark.parametrize(("section", "keys"), [("kb", "format: table\npath: kb.csv\n"), ("student", "epochs: 3\n"), ("student", "")])
def test_a_section_whose_lines_are_not_indented_is_told_so_and_nothing_else(tmp_path: Path, section: str, keys: str):
    whole = "run_dir: x\nkb: {format: obo, path: x}\nmentions: [{format: jsonl, path: x}]\n"
    rest = "".join(line for line in whole.splitlines(True) if not line.startswith(f"{section}:"))
    message = refusal(tmp_path, rest + f"{section}:\n{keys}")
    assert message.startswith(f"{section}: is empty; indent the lines below")
    assert message.count("line ") == 1


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("test: [1]", "test: [0]"),
        SMALL.replace("    path: mentions.csv\n", ""),
        SMALL + "teacher: {parameters: {n: 2}}\n",
        SMALL + "retriever: {aliases: false, rounds: 1}\nlink: {top_k: 20}\n",
        "run_dir: x\nkb: {format: obo, path: x}\nmentions:\n  - &a {format: jsonl, path: a, split: train}\n  - {<<: *a, path: b}\n",
    ],
)
def test_one_mistake_is_told_once_and_in_our_words(tmp_path: Path, text: str):
    message = refusal(tmp_path, text)
    assert "; mentions" not in message
    assert message.count(str(tmp_path)) == 1
    for words in ("Value error", "Input should be", "{'"):
        assert words not in message


def test_a_section_that_stands_twice_is_refused(tmp_path: Path):
    message = refusal(tmp_path, SMALL + "teacher: {budget_usd: 1.0}\nteacher: {votes: 3}\n")
    assert "line 12: not valid YAML: 'teacher' stands here and in line 11" in message


def test_what_an_anchor_gives_may_be_given_anew(tmp_path: Path):
    (tmp_path / "c.yaml").write_text(
        "run_dir: x\nkb: {format: obo, path: x}\nmentions:\n  - &a {format: jsonl, path: a, split: dev}\n"
        "  - &b {<<: *a, path: b}\n  - {<<: *b, path: c, split: test}\n"
    )
    assert [(m.path, m.split) for m in load(tmp_path / "c.yaml").mentions] == [("a", "dev"), ("b", "dev"), ("c", "test")]


def test_a_missing_key_is_named(tmp_path: Path):
    assert "kb.path: missing" in refusal(tmp_path, SMALL.replace("  path: kb.csv\n", ""))
    assert refusal(tmp_path, SMALL.replace("run_dir: runs/x\n", "")).startswith("run_dir: missing")


@pytest.mark.parametrize(("format", "key"), [("table", "path"), ("standoff", "path"), ("concept_names", "kb")])
def test_a_source_of_mentions_says_where_they_are(tmp_path: Path, format: str, key: str):
    message = refusal(tmp_path, f"run_dir: x\nkb: {{format: obo, path: x}}\nmentions:\n  - {{format: {format}}}\n")
    assert f"{key} is missing: " in message
    assert message.endswith("line 4)")


@pytest.mark.parametrize(
    ("after", "key"),
    [
        ("path: mentions.csv", "gold_prefix: {'': 'MESH:'}"),
        ("path: kb.csv", "only_synonym_types: [layperson]"),
        ("path: kb.csv", "drop_synonym_types: [layperson]"),
    ],
)
def test_a_key_of_another_format_is_refused(tmp_path: Path, after: str, key: str):
    indent = "    " if "mentions" in after else "  "
    message = refusal(tmp_path, SMALL.replace(after, f"{after}\n{indent}{key}"))
    assert f"{key.partition(':')[0]} is read with `format: " in message
    assert "`format: table`" in message


@pytest.mark.parametrize(
    ("more", "header"),
    [
        ({"columns": {"text": "0", "gold": "1"}}, False),
        ({"columns": {"text": "0", "gold": "1"}, "header": True}, True),
        ({"columns": {"text": "0", "gold": "code"}}, True),
        ({"columns": {"gold": "1"}}, True),  # the text's is `text`
        ({}, True),
    ],
)
def test_columns_that_are_all_numbers_say_that_there_is_no_header(more: dict, header: bool):
    config = MentionsConfig.model_validate({"format": "table", "path": "x.csv", **more})
    assert config.header == header
    assert MentionsConfig.model_validate(config.model_dump(mode="json")) == config


def test_overrides_win_over_the_file_and_are_checked_like_it(tmp_path: Path):
    config = load(written(tmp_path, SMALL), {"run_dir": "runs/y", "student.epochs": 1, "teacher.sandbox.accuracy": 0.5})
    assert (config.run_dir, config.student.epochs, config.teacher.sandbox.accuracy) == ("runs/y", 1, 0.5)
    assert "student.epcohs: unknown key" in refusal(tmp_path, SMALL, {"student.epcohs": 1})


def test_an_override_reaches_the_item_of_a_list_and_an_empty_section(tmp_path: Path):
    config = load(written(tmp_path, SMALL.replace("  epochs: 3\n", "")), {"mentions.0.split": "dev", "student.epochs": 2})
    assert (config.mentions[0].split, config.student.epochs) == ("dev", 2)
    for key in ("mentions.1.split", "mentions.split", "mentions.1"):
        with pytest.raises(
            ConfigError, match=rf"--set {key}: mentions is a list of 1; name an item by its number, the first is mentions\.0"
        ):
            load(written(tmp_path, SMALL), {key: "dev"})


def test_an_override_of_one_item_leaves_those_that_share_an_anchor_with_it(tmp_path: Path):
    text = SMALL.replace("split: {", "split: &rule {") + "  - {format: table, path: more.csv, split: *rule}\n"
    text = text.replace("student:\n  epochs: 3\n", "") + "student: {epochs: 3}\n"
    config = load(written(tmp_path, text), {"mentions.1.split.modulo": 80, "mentions.1.split.dev": [7]})
    rules = [source.split for source in config.mentions if isinstance(source.split, HashSplit)]
    assert [(rule.modulo, rule.dev, rule.test) for rule in rules] == [(5, (), (1,)), (80, (7,), (1,))]


def test_an_override_below_what_is_no_section_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="run_dir is not a section"):
        load(written(tmp_path, SMALL), {"run_dir.x": 1})


def test_a_config_cannot_be_changed_after_it_was_read(tmp_path: Path):
    config = load(written(tmp_path, SMALL))
    with pytest.raises(pydantic.ValidationError):
        config.student.epochs = 5


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_loads_and_reads_back_the_same_from_its_own_dump(path: Path, tmp_path: Path):
    config = load(path)
    dumped = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    assert load(written(tmp_path, dumped)) == config


def test_configs_are_shipped():
    assert SHIPPED


@pytest.mark.parametrize(("actors", "between"), [("3", (3, 3)), ("[1, 4]", (1, 4)), ("[2, 2]", (2, 2))])
def test_a_pool_has_so_many_actors_or_a_least_and_a_most(tmp_path: Path, actors: str, between: tuple[int, int]):
    config = load(written(tmp_path, SMALL + f"link:\n  student_actors: {actors}\n"))
    assert actors_between(config.link.student_actors) == between
    again = written(tmp_path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load(again) == config


@pytest.mark.parametrize("actors", ["0", "[2, 1]", "[0, 2]", "many", "[1, 2, 3]", "[1, 2.5]", "true", "null"])
def test_a_pool_of_none_or_of_less_than_its_least_is_refused(tmp_path: Path, actors: str):
    told = refusal(tmp_path, SMALL + f"link:\n  student_actors: {actors}\n")
    assert "link.student_actors" in told
    assert "[least, most]" in told


@pytest.mark.parametrize("target", [0, 1, 95])
def test_a_target_precision_is_a_share_between_0_and_1(tmp_path: Path, target: float):
    assert f"link.target_precision: {target}: Input should be" in refusal(tmp_path, SMALL, {"link.target_precision": target})
    assert load(written(tmp_path, SMALL), {"link.target_precision": 0.95}).link.target_precision == 0.95


def test_more_candidates_for_the_student_need_a_second_round(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("run_dir: x\nkb: {format: obo, path: x}\nmentions: [{format: jsonl, path: x}]\nlink: {top_k: 20}\n")
    assert load(path).final_top_k == 20
    assert load(path, {"link.top_k": 0}).final_top_k == 10
    with pytest.raises(ConfigError, match=r"link\.top_k needs a second round"):
        load(path, {"retriever.aliases": False, "retriever.rounds": 1})
    assert load(path, {"retriever.aliases": False}).final_top_k == 20


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("notes", {"split": "test"}, "it has no splits"),
        ("notes", {"split_documents": {"test": 1.0}}, "it has no splits"),
        ("../notes", {}, "will be a folder"),
        ("", {}, "will be a folder"),
    ],
)
def test_a_corpus_is_a_folder_of_mentions_without_splits(tmp_path: Path, name: str, more: dict, says: str):
    corpora = {name: {"format": "table", "path": "x.csv", **more}}
    assert says in refusal(tmp_path, SMALL, {"corpora": corpora})


def test_training_is_asked_for_where_it_can_be(tmp_path: Path):
    needs = {"resources.training": {"gpus": 1, "labels": {"rpdr.io/group": "training"}}}
    assert "resources.training.gpus: 1" in refusal(tmp_path, SMALL, {**needs, "student.use_gpu": False})
    half = {"resources.training": {"cpus": 1, "gpus": 0.5}}
    assert "cannot share a GPU" in refusal(tmp_path, SMALL, {**half, "student.workers": 2})
    assert load(written(tmp_path, SMALL), {**half, "student.workers": 1}).resources.training
    message = refusal(tmp_path, SMALL, {"resources.training": {"gpus": 2}})
    assert "resources.training.gpus: 2: a training worker uses one GPU; give it 1, and raise student.workers" in message
    assert "student.workers: a range" in refusal(tmp_path, SMALL, {**needs, "student.workers": [1, 4]})
    assert load(written(tmp_path, SMALL), {"resources.training": {"gpus": 1}, "student.workers": [1, 4]}).student.workers == (1, 4)


def test_vllm_wants_a_student_whose_none_reads_the_mention_alone(tmp_path: Path):
    assert "student.none_reads: mention" in refusal(tmp_path, SMALL, {"link.engine": "vllm"})
    assert load(written(tmp_path, SMALL), {"link.engine": "vllm", "student.none_reads": "mention"}).link.engine == "vllm"


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "max_completion_tokens", "n", "model", "messages", "stream", "service_tier", "models", "route", "plugins", "prediction"],
)
def test_parameters_that_the_budget_knows_nothing_of_are_refused(name: str):
    with pytest.raises(ValueError, match=rf"parameters: {name}: the budget"):
        TeacherConfig.model_validate({"parameters": {name: 4000}})
    TeacherConfig.model_validate({"parameters": {"reasoning_effort": "low"}})


def test_a_tier_of_service_wants_its_price():
    price = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    assert TeacherConfig.model_validate({"parameters": {"service_tier": "flex"}, "price": price}).parameters


def test_a_number_may_stand_where_a_column_or_a_gold_id_is_meant(tmp_path: Path):
    text = SMALL.replace("path: kb.csv", "path: kb.csv\n  columns: {id: 0, name: 1}")
    text = text.replace("path: mentions.csv", "path: mentions.csv\n    columns: {text: 0, gold: 1}\n    nil_values: [-1, NIL]")
    config = load(written(tmp_path, text))
    assert config.kb.columns == {"id": "0", "name": "1"}
    assert (config.mentions[0].columns, config.mentions[0].header) == ({"text": "0", "gold": "1"}, False)
    assert config.mentions[0].nil_values == ("-1", "NIL")
    assert "kb.columns.id: True: " in refusal(tmp_path, text.replace("{id: 0", "{id: true"))


def test_a_number_that_begins_with_0_is_read_as_it_is_written(tmp_path: Path):
    text = SMALL.replace("path: mentions.csv", "path: mentions.csv\n    nil_values: [00000, 0017, 09, 0]").replace(
        "epochs: 3", "epochs: 010"
    )
    config = load(written(tmp_path, text))
    assert config.mentions[0].nil_values == ("00000", "0017", "09", "0")
    assert config.student.epochs == 10
    again = yaml.safe_dump(config.model_dump(mode="json"))
    assert load(written(tmp_path, again)) == config


def test_sources_that_are_no_list_are_told_how_a_list_is_written(tmp_path: Path):
    message = refusal(tmp_path, SMALL.replace("  - format: table\n", "    format: table\n"))
    assert message.startswith("mentions: should be a list: each source begins with `- `")
    assert message.endswith("line 5)")
    assert "mentions.0.types: should be a list: each item" in refusal(
        tmp_path, SMALL.replace("    split:", "    types: Disease\n    split:")
    )


@pytest.mark.parametrize("name", ["hex", "rot13", "undefined", "latin-42", ""])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, name: str):
    assert f"kb.encoding: {name!r}: " in refusal(tmp_path, SMALL.replace("path: kb.csv", f"path: kb.csv\n  encoding: '{name}'"))
    message = refusal(tmp_path, SMALL.replace("path: mentions.csv", f"path: mentions.csv\n    encoding: '{name}'"))
    assert f"mentions.0.encoding: {name!r}: " in message
    assert "try utf-8" in message


@pytest.mark.parametrize("key", ["api_key", "openai_api_key", "apikey", "API-KEY"])
def test_a_key_is_sent_to_the_environment_and_not_repeated(tmp_path: Path, key: str):
    message = refusal(tmp_path, SMALL + f"teacher: {{{key}: sk-hush}}\n")
    assert f"teacher.{key}: no key stands in a config; put it into the environment variable OPENAI_API_KEY" in message
    assert "hush" not in message
    assert "did you mean 'api_key_env'?" in refusal(tmp_path, SMALL + "teacher: {api_key_en: MINE}\n")


@pytest.mark.parametrize("value", ["sk-hush", "sk-proj_hush", "hush=", "${hush}", "1hush", "hush\n", ""])
def test_a_key_in_the_place_of_its_variables_name_is_refused_and_not_repeated(tmp_path: Path, value: str):
    message = refusal(tmp_path, SMALL, {"teacher.api_key_env": value})
    assert "teacher.api_key_env: is not the name of an environment variable" in message
    assert "hush" not in message


@pytest.mark.parametrize("url", ["localhost:8000/v1", "llm.example.org/v1", "ftp://llm.example.org", "me:hush@llm.example.org"])
def test_an_endpoint_has_a_scheme(tmp_path: Path, url: str):
    for key in ("teacher.base_url", "report.grafana_url"):
        message = refusal(tmp_path, SMALL, {key: url})
        assert f"{key}: needs http:// or https://" in message
        assert "hush" not in message
    assert load(written(tmp_path, SMALL), {"teacher.base_url": "HTTPS://llm.example.org/v1"}).teacher.base_url
