"""Deployments on a real Prefect server with a real worker, read back through its API."""

import json
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from mal_core.processes.files import sha256_file
from mal_core.processes.nodes import free_port
from tests.flows.browser import chromium, look_at
from tests.flows.prefect_server_process import Server, most_at_once, running, taking_turns

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("prefect"))) as found:
        yield found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("places")
    return [f"workdir={root / 'work'}", f"store={root / 'store'}"]


@pytest.fixture(scope="module")
def data(drawn: Path) -> str:
    """What artifact keys call the validation data."""
    return f"annotations-{sha256_file(drawn / 'val' / 'annotations.json')[:6]}"


def test_full_deployment_leaves_its_report_as_artifacts(
    server: Server, tiny, places, data: str
) -> None:
    with taking_turns(server):
        run = server.run_by_command("full", [*tiny, *places])
        assert server.finish(run) == "COMPLETED", server.logs(run)

    table = json.loads(server.ask(f"/artifacts/retention-{data}-solov2-r18/latest")["data"])
    titles = ["human masks", "pseudo-labels", "retention", "95 % interval"]
    assert [row["trained on"] for row in table] == titles
    cells = [cell for row in table for cell in row.values()]
    assert not {"NaN", "nan", "inf", "Infinity", ""} & set(cells)
    page = server.ask(f"/artifacts/retention-{data}/latest")["data"]
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
    assert f"{workdir}/report.html" in server.ask(f"/artifacts/report-{data}/latest")["data"]

    assert server.ask(f"/flow_runs/{run}")["name"] == f"full in {workdir}"
    tasks = server.ask("/task_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
    names = [f"train solov2_r18 on {kind} masks, seed 0" for kind in ("human", "pseudo")]
    trainings = [task for task in tasks if task["name"] in names]
    assert len(trainings) == 2
    assert most_at_once(trainings) == 1, "segmenter_jobs is 2, but the server allows one"
    assert "train MAL: 6/6" in server.logs(run)


def test_single_stage_runs_alone_with_form_and_overrides_and_takes_the_rest_from_the_store(
    server: Server, tiny, places
) -> None:
    label = server.ask("/deployments/name/mal-pipeline/generate-pseudo-labels")["id"]
    paths = dict(text.split("=", 1) for text in tiny if text.startswith("data.train."))
    form = {
        "train_images": paths["data.train.images"],
        "train_annotations": paths["data.train.annotations"],
        "mask_threshold": 0.45,
    }
    rest = [text for text in tiny if not text.startswith("data.train.")]
    changes = ["label_shards=2", "label_workers=2", "data.name=My boxes"]
    body = {
        "parameters": {
            "form": form,
            "overrides": [*rest, *places, *changes],
            "stage": "generate-pseudo-labels",
        }
    }
    run = str(server.ask(f"/deployments/{label}/create_flow_run", body)["id"])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    config = Path(places[0].partition("=")[2]) / "config.yaml"
    assert "mask_threshold: 0.45" in config.read_text()
    tasks = server.ask("/task_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 10})
    assert {"label shard 1 of 2", "label shard 2 of 2"} <= {task["name"] for task in tasks}
    log = server.logs(run)
    assert "train-mal: running" not in log
    assert "generate-pseudo-labels: running" in log
    assert "boxes in" in server.ask("/artifacts/labels-my-boxes/latest")["data"]


def test_second_evaluation_shows_the_trend(server: Server, tiny, places, data: str) -> None:
    workdir, store = places
    run = server.run("evaluate-retention", [*tiny, f"{workdir}_again", store])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    assert ": running" not in server.logs(run), "another folder for what is stored"
    page = server.ask(f"/artifacts/retention-{data}/latest")["data"]
    assert "Runs on the same validation data" in page
    assert page.count("data:image/svg+xml") == 2


def test_the_dashboard_shows_deployment_run_and_report(
    server: Server, places, data: str, tmp_path: Path, mal
) -> None:
    full = server.ask("/deployments/name/mal-pipeline/full")["id"]
    (run,) = server.runs_of(full)
    newest = {"limit": 1, "sort": "CREATED_DESC"}
    (page,) = server.ask(
        "/artifacts/filter", {**newest, "artifacts": {"key": {"any_": [f"retention-{data}"]}}}
    )
    workdir, store = (Path(place.partition("=")[2]) for place in places)
    site = server.api.removesuffix("/api")
    with chromium() as browser:
        shown = partial(look_at, browser, folder=tmp_path)
        shown(f"{site}/deployments/deployment/{full}", "deployment", ["mal-pipeline", "Run"])
        fields = ["Train Images", "Labeler Steps", "Segmenters", "Overrides"]
        shown(f"{site}/deployments/deployment/{full}/run", "form", fields)
        # Bars and names of the stages are painted, not written; the log below is text.
        words = ["Completed", "Subflow Runs", "check the input"]
        shown(f"{site}/runs/flow-run/{run}", "flow-run", words)
        trend = ["human masks", "Runs on the same validation data"]
        place = f"{site}/artifacts/artifact/{page['id']}"
        text = shown(place, "retention", trend, at_the_end=True)
        assert "NaN" not in text
        with serving_reports(store) as address:
            words = ["Retention report", "Pseudo-labels"]
            shown(f"{address}{workdir}/report.html", "report", words)
            shown(address, "history", ["Retention over time", str(workdir)])


@contextmanager
def serving_reports(store: Path) -> Iterator[str]:
    """`mal serve` in a process of its own; yields its address."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "flows.commands.cli",
        "serve",
        f"store={store}",
        f"serve_port={port}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()  # it says where once it listens
    finally:
        process.terminate()
        process.communicate()


def test_impossible_form_is_refused_before_a_run_exists(server: Server) -> None:
    full = server.ask("/deployments/name/mal-pipeline/full")["id"]
    before = server.runs_of(full)
    for form in ({"labeler_steps": 0}, {"segmenters": ["yolo"]}, {"sed": 1}):
        body = {"parameters": {"form": form, "stage": "full"}}
        with pytest.raises(urllib.error.HTTPError) as refusal:
            server.ask(f"/deployments/{full}/create_flow_run", body)
        assert refusal.value.code in (409, 422)
        assert next(iter(form)) in refusal.value.read().decode()
    assert server.runs_of(full) == before


def test_wrong_setting_fails_the_run_with_its_message(server: Server, tiny, places) -> None:
    run = server.run("train-mal", [*tiny, *places, "mal.max_stepz=3"])
    assert server.finish(run) == "FAILED"
    found = server.ask(f"/flow_runs/{run}")
    assert "Did you mean 'mal.max_steps'?" in found["state"]["message"]
    assert found["name"] == "train-mal"
