"""The Docker Compose files: complete, without secrets, and they stop in the right order."""

import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.compose_files import MAIN, SCALE, read, scaled

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?][^}]*)?\}")


def services(name: str) -> dict[str, Any]:
    return read(MAIN)["services"] if name == MAIN else scaled()


@pytest.mark.parametrize("name", [MAIN, SCALE])
def test_every_variable_has_a_default_or_a_message_and_is_in_the_example(name: str) -> None:
    found = VARIABLE.findall((ROOT / name).read_text())
    example = (ROOT / ".env.example").read_text()
    explained = set(re.findall(r"^#?\s*(\w+)=", example, re.MULTILINE))
    assert found
    assert [variable for variable, default in found if not default] == []
    assert {variable for variable, _ in found} - explained == set()


def test_the_example_holds_no_secret() -> None:
    assert re.search(r"^POSTGRES_PASSWORD=$", (ROOT / ".env.example").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", [MAIN, SCALE])
def test_what_services_wait_for_and_mount_exists(name: str) -> None:
    known = services(name)
    volumes = set(read(MAIN)["volumes"]) | set(read(name)["volumes"])
    for title, service in known.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in known, title
            if how["condition"] == "service_healthy":
                assert "healthcheck" in known[needed], needed
        for volume in service.get("volumes", []):
            source = volume.split(":/")[0]
            assert source in volumes or source.startswith("${MAL_"), volume


def test_the_scaled_set_stops_worker_servers_services_and_stores_last() -> None:
    known = scaled()

    def waits_for(name: str) -> set[str]:
        direct = set(known[name].get("depends_on", {}))
        return direct.union(*(waits_for(one) for one in direct))

    assert "server" in waits_for("worker")
    assert "services" in waits_for("server")
    assert {"redis", "database", "migrate", "block-types"} <= waits_for("services")
    for name in ("worker", "server", "services", "redis", "database"):
        assert "stop_grace_period" in known[name], name


def test_only_the_background_services_schedule_and_only_one_migrates_and_registers() -> None:
    known = scaled()
    assert "--no-services" in known["server"]["command"]
    assert known["services"]["command"] == ["server", "services", "start"]
    assert known["migrate"]["command"][:3] == ["server", "database", "upgrade"]
    for name in ("server", "services", "migrate", "block-types"):
        for task in ("DATABASE_MIGRATE", "REGISTER_BLOCKS"):
            assert known[name]["environment"][f"PREFECT_SERVER_{task}_ON_START"] == "false"
        for key, value in read(MAIN)["services"]["server"]["environment"].items():
            if "_DATABASE_" in key:
                assert known[name]["environment"][key] == value


def test_every_service_of_ours_is_built_alike() -> None:
    ours = [one for one in scaled().values() if one["image"].startswith("mal-pipeline")]
    assert len(ours) == 6
    assert all(one["build"] == ours[0]["build"] for one in ours)
    assert {one["image"] for one in ours} == {ours[0]["image"]}


@pytest.mark.parametrize("name", [MAIN, SCALE])
def test_our_containers_can_write_to_volumes_and_two_folders_only(name: str) -> None:
    ours = [one for one in services(name).values() if one["image"].startswith("mal-pipeline")]
    assert len(ours) >= 3
    for service in ours:
        assert service["read_only"] is True
        assert [one.split(":")[0] for one in service["tmpfs"]] == ["/tmp", "/home/mal"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_modules_for_redis_are_installed() -> None:
    named = [value for value in read(SCALE)["x-shared"].values() if "prefect_redis" in value]
    assert len(named) == 5
    for name in named:
        import_module(name)


def test_there_is_a_port_for_every_server() -> None:
    server = scaled()["server"]
    default = re.search(r":-(\d+)", server["deploy"]["replicas"])
    ports = re.search(r":(\d+)-(\d+)}:4200", server["ports"][0])
    assert default
    assert ports
    assert int(ports[2]) - int(ports[1]) + 1 == int(default[1])


@pytest.mark.parametrize("name", ["", "-docker", "-kubernetes", "-redis"])
def test_the_image_gets_the_prefect_that_is_tested(name: str) -> None:
    # The image is built from the lock, and no other image of Prefect is used anywhere.
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    assert f"prefect{name}=={version(f'prefect{name}')}" in lock
    images = [service["image"] for service in scaled().values()]
    assert all(re.match(r"(mal-pipeline|postgres|redis):", image) for image in images)
