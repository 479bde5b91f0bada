"""Deployments on a real Prefect server with a real worker, read back through its API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.prefect_server_process import Server, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("prefect"))) as found:
        yield found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("places")
    return [f"workdir={root / 'work'}", f"store={root / 'store'}"]


def test_full_deployment_leaves_its_report_as_artifacts(server: Server, tiny, places) -> None:
    run = server.run("full", [*tiny, *places])
    assert server.finish(run) == "COMPLETED", server.logs(run)

    table = json.loads(server.ask("/artifacts/retention-solov2-r18/latest")["data"])
    titles = ["human masks", "pseudo-labels", "retention", "95 % interval"]
    assert [row["trained on"] for row in table] == titles
    cells = [cell for row in table for cell in row.values()]
    assert not {"NaN", "nan", "inf", "Infinity", ""} & set(cells)
    page = server.ask("/artifacts/mal-retention/latest")["data"]
    workdir = Path(places[0].removeprefix("workdir="))
    assert str(workdir / "report.html") in page
    assert "data:image/svg+xml" in page
    assert (workdir / "report.html").is_file()
    assert f"http://127.0.0.1:4280{workdir}/report.html" in page

    for key in ("progress-train-mal", "progress-label-boxes"):
        artifact = server.ask(f"/artifacts/{key}/latest")
        assert (artifact["type"], float(artifact["data"])) == ("progress", 100.0), key
    training = server.ask("/artifacts/progress-train-mal/latest")
    assert training["description"].startswith("train MAL: 6/6 (100 %), ETA 0:00")
    assert f"{workdir}/report.html" in server.ask("/artifacts/mal-report/latest")["data"]

    tasks = server.ask("/task_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
    names = [task["name"] for task in tasks]
    assert "train solov2_r18 on human masks, seed 0" in names
    assert "train solov2_r18 on pseudo masks, seed 0" in names
    assert "train MAL: 6/6" in server.logs(run)


def test_single_stage_runs_alone_and_takes_the_rest_from_the_store(
    server: Server, tiny, places
) -> None:
    run = server.run("generate-pseudo-labels", [*tiny, *places, "mal.mask_threshold=0.4"])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    log = server.logs(run)
    assert "train-mal: running" not in log
    assert "generate-pseudo-labels: running" in log
    assert "boxes in" in server.ask("/artifacts/mal-labels/latest")["data"]


def test_second_evaluation_shows_the_trend(server: Server, tiny, places) -> None:
    run = server.run("evaluate-retention", [*tiny, *places, "mal.mask_threshold=0.4"])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    page = server.ask("/artifacts/mal-retention/latest")["data"]
    assert "Runs on the same validation data" in page
    assert page.count("data:image/svg+xml") == 2


def test_wrong_setting_fails_the_run_with_its_message(server: Server, tiny, places) -> None:
    run = server.run("train-mal", [*tiny, *places, "mal.max_stepz=3"])
    assert server.finish(run) == "FAILED"
    assert "Did you mean 'mal.max_steps'?" in server.ask(f"/flow_runs/{run}")["state"]["message"]


def test_cancelled_run_is_cancelled_leaves_no_process_and_can_be_continued(
    server: Server, tiny, places, processes_with
) -> None:
    store = places[1].removeprefix("store=")
    run = server.run("train-mal", [*tiny, *places, "mal.max_steps=100000"])
    server.wait("training", lambda: "train MAL: 0/100000" in server.logs(run))
    server.command("flow-run", "cancel", run)
    assert server.finish(run) == "CANCELLED"
    server.wait("end of the child", lambda: not processes_with(store), seconds=20)
    assert list(Path(store).glob("train-mal/*.partial/state.pth"))
