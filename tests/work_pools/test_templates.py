"""The templates of the work pools, read by Prefect's own workers and server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from docker.models.containers import _create_container_args
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from tests.flows.prefect_server_process import Server, answering
from tests.work_pools.kubernetes_schema import problems
from tests.work_pools.pools import ROOT, configuration, deployed_variables, read

POOLS = ("docker", "kubernetes")
GIGABYTE = 2**30
# Prefect writes these into the pod instead of the job, and demands them there; Kubernetes
# ignores them.
PREFECTS_MISTAKE = {"parallelism": 1, "completions": 1}


@pytest.mark.parametrize("pool", POOLS)
def test_a_template_is_prefects_default_with_our_changes(pool: str) -> None:
    # In a process of its own: the script is not importable as a part of the package.
    code = "import json, write_templates as w; print(json.dumps(w.rendered()))"
    folder = ROOT / "work_pools"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=folder, text=True)
    hint = "Prefect or our changes moved: python work_pools/write_templates.py; then git diff"
    assert (folder / f"{pool}.json").read_text() == json.loads(printed)[pool], hint


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What docker-py sends to the daemon for a run."""
    monkeypatch.chdir(ROOT)
    worker = DockerWorker(work_pool_name="mal-docker", test_mode=True)
    daemon = SimpleNamespace(version=lambda: {"Version": "27.0.0"})
    made = configuration(DockerWorkerJobConfiguration, "docker")
    settings = worker._build_container_settings(daemon, made)
    return _create_container_args({**settings, "version": "1.45"})


def test_a_docker_run_has_its_folders_memory_and_entry_point(container: dict[str, Any]) -> None:
    assert container["image"] == "mal-pipeline:latest"
    assert (container["entrypoint"], container["command"]) == (
        ["/usr/bin/env"],
        "prefect flow-run execute",
    )
    host = container["host_config"]
    assert host["ShmSize"] == 2 * GIGABYTE
    assert host["Init"] is True
    assert host["Binds"] == [
        f"{ROOT}/data:/data/input:ro",
        f"{ROOT}/runs:/app/runs",
        "mal-pipeline_store:/data/store",
        "mal-pipeline_cache:/home/mal/.cache",
    ]


def test_a_docker_run_has_the_variables_of_pool_and_deployment(container: dict[str, Any]) -> None:
    environment = container["environment"]
    assert environment["MAL_STORE"] == "/data/store"
    for name, value in deployed_variables()["env"].items():
        assert environment[name] == value


def test_an_image_that_is_in_no_registry_is_not_pulled() -> None:
    made = configuration(DockerWorkerJobConfiguration, "docker")
    assert made.image_pull_policy == "IfNotPresent"


def test_docker_volumes_are_those_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    volumes = compose["services"]["worker"]["volumes"]
    targets = [volume.split(":/", 1)[1] for volume in volumes]
    ours = read("docker")["variables"]["properties"]["volumes"]["default"]
    assert [volume.split(":/", 1)[1] for volume in ours] == targets
    named = [volume.split(":")[0] for volume in ours if not volume.startswith(".")]
    assert named == [f"{compose['name']}_{volume}" for volume in ("store", "cache")]


@pytest.mark.parametrize("gpus", [None, 2])
def test_the_job_of_a_kubernetes_run_is_valid(gpus: int | None) -> None:
    variables = {} if gpus is None else {"gpus": gpus}
    made = configuration(KubernetesWorkerJobConfiguration, "kubernetes", **variables)
    manifest = json.loads(json.dumps(made.job_manifest))
    pod = manifest["spec"]["template"]["spec"]
    assert {key: pod.pop(key) for key in PREFECTS_MISTAKE} == PREFECTS_MISTAKE
    assert problems(manifest) == []
    assert "{{" not in json.dumps(manifest)
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "16Gi"} | ({"nvidia.com/gpu": gpus} if gpus else {})


def test_the_pod_of_a_kubernetes_run_keeps_what_it_needs() -> None:
    made = configuration(KubernetesWorkerJobConfiguration, "kubernetes")
    spec = made.job_manifest["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert (made.namespace, spec["backoffLimit"]) == ("mal", 0)
    assert pod["terminationGracePeriodSeconds"] == 120
    assert pod["securityContext"]["runAsUser"] == 1000
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert (container["command"], container["args"]) == (
        ["/usr/bin/env"],
        ["prefect", "flow-run", "execute"],
    )
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["MAL_STORE"] == "/data/store"
    assert environment.items() >= deployed_variables()["env"].items()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with answering(Server(tmp_path_factory.mktemp("prefect"))) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_a_real_server_takes_the_template_and_all_deployments(server: Server, pool: str) -> None:
    name, template = f"mal-{pool}", f"work_pools/{pool}.json"
    create = ("work-pool", "create", name, "--type", pool, "--overwrite")
    server.command(*create, "--base-job-template", template)
    stored = server.ask(f"/work_pools/{name}")
    assert (stored["type"], stored["base_job_template"]) == (pool, read(pool))

    server.environment["PREFECT_DEFAULT_WORK_POOL_NAME"] = name
    server.command("--no-prompt", "deploy", "--all")
    deployed = server.ask("/deployments/filter", {})
    assert len(deployed) == len(yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"])
    for deployment in deployed:
        assert deployment["work_pool_name"] == name
        assert deployment["job_variables"] == deployed_variables()
        assert deployment["pull_steps"] == [{"flows.lifetime.working_directory.enter_project": {}}]
