"""The Kubernetes manifest: valid, and every name in it leads somewhere."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.work_pools.kubernetes_schema import problems

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "work_pools" / "mal-pipeline.yaml").read_text()
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all(TEXT))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TEMPLATE = json.loads((ROOT / "work_pools" / "kubernetes.json").read_text())
SECRET, SECRET_KEY = "mal-database", "password"


def kinds(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in DOCUMENTS if one["kind"] == kind}


def workloads() -> dict[str, dict[str, Any]]:
    found = [kinds(kind) for kind in ("Deployment", "StatefulSet", "Job")]
    return {name: document for group in found for name, document in group.items()}


def pods() -> dict[str, dict[str, Any]]:
    return {name: one["spec"]["template"]["spec"] for name, one in workloads().items()}


def container(name: str) -> dict[str, Any]:
    (only,) = pods()[name]["containers"]
    return only


def variables(name: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(name)["env"] if "value" in one}


def values_of(key: str, node: Any) -> Iterator[Any]:
    """All values under a key, anywhere."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for value in node.values():
            yield from values_of(key, value)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(key, value)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one["kind"])
def test_every_document_is_valid_and_in_our_namespace(document: dict[str, Any]) -> None:
    assert problems(document) == []
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] in kinds("Namespace")


def test_no_name_is_used_twice() -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in DOCUMENTS]
    assert len(names) == len(set(names))


def test_selectors_and_ports_meet() -> None:
    labels = {}
    for name, workload in workloads().items():
        labels[name] = workload["spec"]["template"]["metadata"]["labels"]
        if selector := workload["spec"].get("selector"):
            assert selector["matchLabels"].items() <= labels[name].items(), name
    for name, service in kinds("Service").items():
        chosen = [
            one for one in labels if service["spec"]["selector"].items() <= labels[one].items()
        ]
        assert chosen == [name]
        ports = {port["name"] for port in container(name)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_probes_ask_ports_that_are_there() -> None:
    for name in ("server", "worker"):
        ports = {port["name"] for port in container(name)["ports"]}
        probes = [value for key, value in container(name).items() if key.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes} <= ports
    for name in set(workloads()) - set(kinds("Job")):
        assert "livenessProbe" in container(name), name


def test_addresses_name_services_and_their_ports() -> None:
    services = kinds("Service")
    for name in ("worker", "deploy"):
        address = urlsplit(variables(name)["PREFECT_API_URL"])
        ports = [port["port"] for port in services[str(address.hostname)]["spec"]["ports"]]
        assert ports == [address.port]
    database = services[variables("server")["PREFECT_SERVER_DATABASE_HOST"]]
    assert (
        str(database["spec"]["ports"][0]["port"])
        == variables("server")["PREFECT_SERVER_DATABASE_PORT"]
    )
    assert (
        variables("database")["POSTGRES_USER"]
        == variables("server")["PREFECT_SERVER_DATABASE_USER"]
    )
    assert (
        variables("database")["POSTGRES_DB"] == variables("server")["PREFECT_SERVER_DATABASE_NAME"]
    )


def test_the_secret_is_made_by_hand_and_always_the_same() -> None:
    assert kinds("Secret") == {}
    used = list(values_of("secretKeyRef", DOCUMENTS))
    assert used == [{"name": SECRET, "key": SECRET_KEY}] * 2
    assert f"secret generic {SECRET} " in TEXT
    assert f"--from-literal={SECRET_KEY}=" in TEXT


@pytest.mark.parametrize("source", ["manifest", "compose"])
def test_prefect_makes_the_right_address_of_any_password(source: str) -> None:
    password = "p@ss/w:rd#%"
    compose = COMPOSE["services"]["server"]["environment"]
    chosen = variables("server") if source == "manifest" else compose
    database = {name: value for name, value in chosen.items() if "_DATABASE_" in name}
    code = (
        "import sqlalchemy as s; from prefect.settings import get_current_settings as g\n"
        "u = s.make_url(g().server.database.connection_url.get_secret_value())\n"
        "print(u.drivername, u.username, u.password, u.host, u.port, u.database)"
    )
    environment = {**os.environ, **database, "PREFECT_SERVER_DATABASE_PASSWORD": password}
    printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert printed.split() == [
        "postgresql+asyncpg",
        "prefect",
        password,
        "database",
        "5432",
        "prefect",
    ]


def test_claims_and_accounts_exist() -> None:
    claims = kinds("PersistentVolumeClaim")
    defaults = TEMPLATE["variables"]["properties"]
    assert {defaults[f"{one}_claim"]["default"] for one in ("data", "store", "runs")} == set(claims)
    assert pods()["worker"]["serviceAccountName"] in kinds("ServiceAccount")
    binding = kinds("RoleBinding")["mal-worker"]
    assert binding["roleRef"]["name"] in kinds("Role")
    assert {one["name"] for one in binding["subjects"]} == set(kinds("ServiceAccount"))


def test_the_worker_may_do_what_prefect_kubernetes_does() -> None:
    allowed = {
        (resource, verb)
        for rule in kinds("Role")["mal-worker"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = {("jobs", verb) for verb in ("create", "delete", "get", "list", "watch")}
    needed |= {("pods", verb) for verb in ("get", "list", "watch")} | {("pods/log", "get")}
    assert needed <= allowed
    # It watches one namespace; all of them would need a ClusterRole.
    watched = variables("worker")["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"]
    assert [watched] == list(kinds("Namespace"))
    assert watched == TEMPLATE["variables"]["properties"]["namespace"]["default"]


def test_worker_and_deploy_job_agree_on_pool_and_template() -> None:
    arguments = container("worker")["args"]
    pool = arguments[arguments.index("--pool") + 1]
    template = arguments[arguments.index("--base-job-template") + 1]
    script = container("deploy")["args"][0]
    assert f"work-pool create {pool} --type kubernetes" in script
    assert variables("deploy")["PREFECT_DEFAULT_WORK_POOL_NAME"] == pool
    assert template.removeprefix("/app/") in script
    assert (ROOT / template.removeprefix("/app/")).is_file()
    assert "work_pools work_pools" in (ROOT / "Dockerfile").read_text()


def test_images_are_ours_or_those_of_compose() -> None:
    ours = TEMPLATE["variables"]["properties"]["image"]["default"]
    database = COMPOSE["services"]["database"]["image"]
    assert {container(name)["image"] for name in pods()} == {ours, database}
    assert container("database")["image"] == database
    assert COMPOSE["services"]["worker"]["image"] == ours.replace("latest", "${MAL_TAG:-latest}")
    # Prefect asks for 14.9 or newer.
    assert int(re.findall(r"\d+", database)[0]) >= 15


@pytest.mark.parametrize("name", sorted(pods()))
def test_every_pod_runs_with_few_rights_and_known_needs(name: str) -> None:
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["enableServiceLinks"] is False
    assert container(name)["securityContext"]["allowPrivilegeEscalation"] is False
    assert {"cpu", "memory"} <= container(name)["resources"]["requests"].keys()
    if container(name)["image"].startswith("mal-pipeline"):
        user = pod["securityContext"]["runAsUser"]
        assert f"USER {user}:{user}" in (ROOT / "Dockerfile").read_text()
        assert variables(name)["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert variables(name)["DO_NOT_TRACK"] == "1"
