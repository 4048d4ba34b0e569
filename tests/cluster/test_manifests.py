"""What is in cluster/: valid by KubeRay's and Ray's own schemas, and every kind of work fits a worker group that is there for it."""

from __future__ import annotations

import copy
import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config, validate_config

from rpdr.config import Needs, ResourcesConfig

CLUSTER = Path(__file__).parents[2] / "cluster"
KUBERAY = Path(__file__).parent / "kuberay"  # the CRDs of KubeRay 1.7 (github.com/ray-project/kuberay, Apache-2.0), as of 2026-08-19
MANIFESTS = ("distill", "link", "cluster")
CLOUDS = ("aws", "gcp")
QUANTITIES = {"Gi": 2**30, "Mi": 2**20, "m": 1e-3}
MACHINES = {  # cores and GiB that they are sold with
    "m6i.xlarge": (4, 16),
    "m6i.large": (2, 8),
    "g6.4xlarge": (16, 64),
    "g5.2xlarge": (8, 32),
    "n2-standard-4": (4, 16),
    "n2-standard-2": (2, 8),
    "g2-standard-12": (12, 48),
    "g2-standard-8": (8, 32),
}


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "kuberay" / f"{name}.yaml").read_text())


def cluster_of(name: str) -> dict[str, Any]:
    spec = manifest(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def quantity(text: Any) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", str(text)).groups()
    return float(number) * QUANTITIES.get(unit, 1)


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    """By kind: KubeRay's schema, which knows every key that there may be."""
    found = {}
    for file in sorted(KUBERAY.glob("*.yaml.gz")):
        crd = yaml.load(gzip.decompress(file.read_bytes()), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        (version,) = (v for v in crd["spec"]["versions"] if v["name"] == "v1")
        found[crd["spec"]["names"]["kind"]] = Draft202012Validator(closed(version["schema"]["openAPIV3Schema"]))
    return found


def closed(schema: Any) -> Any:
    """Without room for keys that it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "type" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def errors(validators: dict[str, Draft202012Validator], given: dict[str, Any]) -> list[str]:
    given = {**given, "metadata": {}}  # Kubernetes' own, which the CRD leaves open
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validators[given["kind"]].iter_errors(given)]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_what_kuberay_takes(validators: dict[str, Draft202012Validator], name: str):
    assert errors(validators, manifest(name)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("shutdownAfterJobFinished",), True),
        (("ttlSecondsAfterFinished",), "soon"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "minReplica"), 0),
        (("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "image"), 3),
        (("rayClusterSpec", "authOptions", "mode"), "password"),
    ],
)
def test_the_check_finds_what_is_wrong(validators: dict[str, Draft202012Validator], path: tuple[Any, ...], value: Any):
    wrong = copy.deepcopy(manifest("distill"))
    at = wrong["spec"]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert errors(validators, wrong)


@pytest.mark.parametrize("name", ["distill", "link"])
def test_a_job_ends_its_cluster_and_cannot_run_for_ever(name: str):
    spec = manifest(name)["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] <= 600
    assert spec["activeDeadlineSeconds"]
    assert spec["entrypoint"].startswith("rpdr ")


@pytest.mark.parametrize("name", MANIFESTS)
def test_groups_shrink_to_nothing_and_the_head_takes_no_work(name: str):
    cluster = cluster_of(name)
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "tolerations" not in cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == 0
        assert group["labels"] == {"rpdr.io/group": group["groupName"]}


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_are_not_root_and_hold_no_secret_by_value(name: str):
    cluster = cluster_of(name)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["readinessProbe"]
            assert container["livenessProbe"]
            assert not [v["name"] for v in container["env"] if re.search("KEY|TOKEN|SECRET", v["name"])]


def needs() -> list[tuple[str, Needs]]:
    """What the clusters' resources.yaml asks for."""
    told = ResourcesConfig.model_validate(yaml.safe_load((CLUSTER / "resources.yaml").read_text())["resources"])
    return [(name, need) for name in ResourcesConfig.model_fields if (need := getattr(told, name))]


def test_every_kind_of_work_has_needs():
    assert [name for name, _ in needs()] == list(ResourcesConfig.model_fields)


@pytest.mark.parametrize("name", ["resources", "resources-cpu"])
def test_they_can_be_appended_to_a_config_whose_last_line_has_no_end(name: str):
    tree = yaml.safe_load("link: {batch_size: 8}" + (CLUSTER / f"{name}.yaml").read_text())
    assert list(tree) == ["link", "resources"]


def fits(need: Needs, labels: dict[str, str], cpus: float, gpus: float, memory: float) -> bool:
    there = need.labels.items() <= labels.items()
    return there and need.cpus <= cpus and need.gpus <= gpus and need.memory_gib * 2**30 <= memory


@pytest.mark.parametrize("name", ["distill", "cluster"])
def test_every_kind_of_work_fits_a_group_of_kuberay(name: str):
    groups = cluster_of(name)["workerGroupSpecs"]
    for work, need in needs():
        found = []
        for group in groups:
            limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
            if fits(need, group["labels"], quantity(limits["cpu"]), limits.get("nvidia.com/gpu", 0), 0.7 * quantity(limits["memory"])):
                found.append(group["groupName"])
        assert found, work


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_pod_fits_its_groups_machine_beside_what_kubernetes_keeps(name: str, cloud: str):
    cluster, vms = cluster_of(name), yaml.safe_load((CLUSTER / f"{cloud}.yaml").read_text())["available_node_types"]
    pods = {"head": cluster["headGroupSpec"], **{group["groupName"]: group for group in cluster["workerGroupSpecs"]}}
    beside = cluster["autoscalerOptions"]["resources"]
    for group, pod in pods.items():
        machine = vms[group]["node_config"]
        cores, gibibytes = MACHINES[machine.get("InstanceType") or machine["machineType"]]
        asked = pod["template"]["spec"]["containers"][0]["resources"]["requests"]
        more = beside["requests"] if group == "head" else {"cpu": 0, "memory": 0}
        assert quantity(asked["cpu"]) + quantity(more["cpu"]) <= 0.9 * cores, group
        assert quantity(asked["memory"]) + quantity(more["memory"]) <= 0.85 * gibibytes * 2**30, group


def test_linking_alone_fits_its_own_cluster():
    (group,) = cluster_of("link")["workerGroupSpecs"]
    works = ("retrieving", "indexing", "reranking")
    assert {need.labels["rpdr.io/group"] for work, need in needs() if work in works} == {group["groupName"]}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_vm_cluster_is_what_ray_takes_and_every_kind_of_work_fits_it(name: str):
    given = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    prepared = prepare_config(copy.deepcopy(given))
    validate_config(prepared)
    types = {kind: group for kind, group in given["available_node_types"].items() if kind != given["head_node_type"]}
    assert given["available_node_types"][given["head_node_type"]]["resources"] == {"CPU": 0}
    assert {group["min_workers"] for group in types.values()} == {0}
    for work, need in needs():
        assert any(
            fits(need, group["labels"], group["resources"]["CPU"], group["resources"].get("GPU", 0), group["resources"]["memory"])
            for group in types.values()
        ), work


@pytest.mark.parametrize("name", CLOUDS)
def test_each_vm_of_a_cluster_wants_a_token_and_has_it(name: str):
    given = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    options = given["docker"]["run_options"]
    assert "-e RAY_AUTH_MODE=token" in options
    (path,) = (option.partition("=")[2] for option in options if "RAY_AUTH_TOKEN_PATH" in option)
    assert given["file_mounts"] == {path: "~/.ray/auth_token"}
    assert path.startswith("/home/ray/")  # not ~: of an image that does not set HOME, Ray takes it for /root
    assert "useradd --create-home --uid 1000 ray" in (CLUSTER / "Dockerfile").read_text()


@pytest.mark.parametrize(("mounted", "does"), [(True, ["mkdir"]), (False, ["mkdir", "mount"])])
@pytest.mark.parametrize("name", CLOUDS)
def test_a_head_that_has_its_file_system_is_not_given_it_again(name: str, mounted: bool, does: list[str], tmp_path: Path):
    (command,) = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())["initialization_commands"]
    (tmp_path / "sudo").write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/done\n")
    (tmp_path / "mountpoint").write_text(f"#!/bin/sh\nexit {0 if mounted else 1}\n")
    for stand_in in ("sudo", "mountpoint"):
        (tmp_path / stand_in).chmod(0o755)
    subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, check=True)
    assert (tmp_path / "done").read_text().split() == does


@pytest.mark.parametrize("name", CLOUDS)
def test_rays_check_finds_what_is_wrong(name: str):
    given = prepare_config(yaml.safe_load((CLUSTER / f"{name}.yaml").read_text()))
    with pytest.raises(Exception, match="min_worker'"):
        validate_config({**given, "available_node_types": {"head": {"resources": {}, "node_config": {}, "min_worker": 1}}})


def test_the_image_passes_the_linter():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed; `make setup` installs it")
    done = subprocess.run([linter, str(CLUSTER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_there_and_is_sent_to_who_builds_it():
    root = CLUSTER.parent
    sent = (root / ".dockerignore").read_text().splitlines()
    for line in (CLUSTER / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (root / source).exists(), source
                assert any(Path(source).match(kept.removeprefix("!")) for kept in sent if kept.startswith("!")), source


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_lock_has_versions_that_the_project_allows(target: str):
    import tomllib

    from packaging.requirements import Requirement

    locked = dict(
        line.split("==") for line in (CLUSTER / f"requirements-{target}.lock").read_text().splitlines() if not line.startswith("#")
    )
    project = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        wanted = Requirement(text)
        assert Version(locked[wanted.name.lower().replace("_", "-")]) in wanted.specifier, wanted.name
    assert ("faiss-gpu" in locked) == (target == "cuda")
    assert not {"pytest", "mypy", "moto"} & set(locked)


def test_the_dashboard_draws_every_meter_and_no_other():
    from rpdr.pipeline.on_ray.meters import METERS

    board = json.loads((CLUSTER / "grafana.json").read_text())
    drawn = {name for panel in board["panels"] for target in panel["targets"] for name in re.findall(r"ray_(rpdr_\w+)", target["expr"])}
    assert drawn == set(METERS)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_a_node_type_costs_the_same_with_and_without_gpus_beside_it():
    told, cpu = (yaml.safe_load((CLUSTER / name).read_text())["types"] for name in ("nodes.yaml", "nodes-cpu.yaml"))
    assert cpu == {name: told[name] for name in cpu}
