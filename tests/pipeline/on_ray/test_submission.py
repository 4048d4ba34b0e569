"""What a submitted job is, and what is refused before it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from ray._private.runtime_env.packaging import create_package
from submitted import CONFIG, submission

from rpdr.config import load
from rpdr.errors import ConfigError
from rpdr.pipeline.on_ray.submission import Submission


def test_the_command_names_the_config_as_the_copy_has_it(folder: Path):
    what = submission(folder, overrides=("seed=1 2",))
    assert what.entrypoint == "python -m rpdr.cli prepare --config c.yaml --set 'seed=1 2'"
    assert ".env" in what.runtime_env["excludes"]
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "corpora: {notes: {format: table, path: notes.csv}}\n")
    assert submission(folder, "link", corpus="notes", redo=True).entrypoint.endswith(" link --config c.yaml --corpus notes --redo")


def test_neither_the_run_nor_a_source_by_its_whole_path_nor_a_key_goes_with_the_copy(folder: Path):
    for name in (
        "out/mine/corpus/m.parquet",
        "deep/notes/a.txt",
        "deep/notes.csv",
        ".ssh/id",
        "id_ed25519",
        ".config/gcloud/x",
        "id_map.csv",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    told = CONFIG.format(run_dir=folder / "out" / "mine") + f"corpora: {{notes: {{format: table, path: {folder}/deep/*.csv}}}}\n"
    (folder / "c.yaml").write_text(told.replace("path: kb.csv", f"path: {folder / 'kb.csv'}"))
    what = submission(folder)
    assert set(what.packed) == {"c.yaml", "mentions.csv", "deep/notes/a.txt", "id_map.csv"}
    package = folder.parent / "package.zip"
    create_package(str(folder), package, include_gitignore=True, excludes=what.runtime_env["excludes"])
    assert set(ZipFile(package).namelist()) == set(what.packed)


def test_a_folder_that_no_cluster_takes_is_refused_before_it_is_packed(folder: Path):
    (folder / "data").mkdir()
    for name, mib in (("model.bin", 90), ("small.bin", 20)):
        with (folder / "data" / name).open("wb") as file:
            file.truncate(mib * 2**20)
    with pytest.raises(ConfigError, match=r"would be 110 MiB.* takes 100 MiB; .* data/model\.bin \(90 MiB\): move it .* \.rayignore"):
        submission(folder)
    (folder / ".rayignore").write_text("data/\n")
    assert "data/model.bin" not in submission(folder).packed


def test_that_text_goes_to_the_cluster_with_the_copy_is_told_where_the_policy_is_restricted(folder: Path):
    (note,) = submission(folder).notes
    assert note.startswith("data_policy: restricted: mentions.csv goes to the cluster")
    with (folder / "c.yaml").open("a") as file:
        file.write("data_policy: public\n")
    assert submission(folder).notes == []


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("calibrate", {"redo": True}, "--redo: calibrate measures anew"),
        ("teach", {"corpus": "notes"}, "--corpus: teach takes none"),
        ("link", {"corpus": "nots"}, r"corpora\.nots: the config has no such corpus \(there are: notes\)"),
        ("link", {"corpus": ""}, r"corpora\.'': the config has no such corpus"),
    ],
)
def test_what_the_command_there_would_refuse_is_refused_here(folder: Path, command: str, options: dict[str, Any], says: str):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "corpora: {notes: {format: table, path: notes.csv}}\n")
    with pytest.raises(ConfigError, match=says):
        submission(folder, command, **options)


def test_a_secret_in_a_url_is_not_passed_with_a_job(folder: Path):
    output = "s3://b/x?secret_key=hush"
    config = load(folder / "c.yaml", {"link.output": output})
    with pytest.raises(ConfigError, match=r"link\.output: s3://b/x: has a secret in it") as refused:
        Submission("link", folder / "c.yaml", config, (f"link.output={output}",), folder=folder)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "MY_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASS", "AZURE_STORAGE_CONNECTION_STRING"),
        *("NPM_AUTH", "Proxy_Authorization"),
    ],
)
def test_a_secret_is_not_passed_with_a_job(folder: Path, name: str):
    with pytest.raises(ConfigError, match=f"--env {name}: a secret would stand in the job's record") as refused:
        submission(folder, environment=(f"{name}=sk-123456",))
    assert "sk-123456" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://me:hush@proxy:3128", "https://hush@host/simple", "postgres://me:hush@db/x", "git+https://${ME}:hush@host/x.git@v1"]
)
def test_neither_is_one_in_the_url_of_a_variable_or_of_a_requirement(folder: Path, url: str):
    with pytest.raises(ConfigError, match=r"--env WAY: the user or password of its URL would stand in the job's record") as refused:
        submission(folder, environment=(f"WAY={url}",))
    assert "hush" not in str(refused.value)
    (folder / "more.txt").write_text(f"numpy\n--extra-index-url {url}\n")
    with pytest.raises(ConfigError, match=r"more\.txt: in line 2 the user or password of a URL would stand in the job's record") as refused:
        submission(folder, pip=folder / "more.txt")
    assert "hush" not in str(refused.value)


def test_what_is_no_secret_is_passed(folder: Path):
    lines = ("git+ssh://git@host/x.git@v1", "x @ https://host/a@b.whl", "--index-url https://${USER}:${TOKEN}@host/simple", "y>=1")
    (folder / "more.txt").write_text("\n".join(lines))
    given = ("RAY_AUTH_MODE=token", "RPDR_DATA=/shared/data", "HTTPS_PROXY=http://proxy:3128", "MAIL=me@host")
    assert len(submission(folder, environment=given, pip=folder / "more.txt").runtime_env["env_vars"]) == 4


def test_the_teachers_key_is_a_secret_by_whatever_name(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "teacher: {api_key_env: HOUSE}\n")
    with pytest.raises(ConfigError, match="--env HOUSE: a secret"):
        submission(folder, environment=("HOUSE=sk-1",))


def test_a_run_directory_that_would_end_with_the_job_is_refused(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="runs/mine"))
    with pytest.raises(ConfigError, match=r"run_dir: runs/mine is relative.*--set run_dir=/shared/runs/mine"):
        submission(folder)


def test_so_is_a_place_for_shards_that_would(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="/shared/run") + "link: {output: linked}\n")
    with pytest.raises(ConfigError, match=r"link\.output: linked is relative"):
        submission(folder)


def test_a_config_that_the_copy_leaves_out_is_refused(folder: Path):
    (folder / "runs" / "mine").mkdir(parents=True)
    (folder / "runs" / "mine" / "config.yaml").write_text(CONFIG.format(run_dir="/shared/run"))
    with pytest.raises(ConfigError, match=r"config.yaml: in runs/, which the job's copy"):
        Submission("prepare", folder / "runs" / "mine" / "config.yaml", load(folder / "c.yaml"), folder=folder)


@pytest.mark.parametrize(("ignoring", "ignored"), [(".gitignore", "c.yaml"), (".rayignore", "*.yaml"), (".gitignore", "c.*")])
def test_neither_is_one_taken_that_is_ignored_there(folder: Path, ignoring: str, ignored: str):
    (folder / ignoring).write_text(ignored + "\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: the job's copy of .* leaves it out, by a \.gitignore"):
        submission(folder)


def test_a_run_dir_with_a_variable_of_another_form_is_refused(folder: Path):
    (folder / "c.yaml").write_text(CONFIG.format(run_dir="$HOME/run"))
    with pytest.raises(ConfigError, match=r"run_dir: \$HOME/run is relative"):
        submission(folder)


def test_a_config_outside_the_folder_is_refused(folder: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=r"c.yaml: not in .*other.*--working-dir"):
        Submission("prepare", folder / "c.yaml", load(folder / "c.yaml"), folder=tmp_path / "other")


def test_requirements_that_are_not_there_are_refused(folder: Path):
    with pytest.raises(ConfigError, match=r"--pip typo\.txt: no such file"):
        submission(folder, pip=Path("typo.txt"))
