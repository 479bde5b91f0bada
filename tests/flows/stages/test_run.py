"""`mal run` as a user sees it: results, caching, repair, interruptions. All stages are real."""

import json
import signal
from pathlib import Path

import pytest

from mal_core.processes.files import sha256_file

pytestmark = pytest.mark.slow

RESULTS = (
    "mal/checkpoint.pth",
    "labels/train.json",
    "labels/skipped.json",
    "retention.json",
    "report.html",
    "config.yaml",
    "segmenters/solov2_r18/human/predictions.json",
    "segmenters/solov2_r18/pseudo/checkpoint.pth",
)


@pytest.fixture(scope="module")
def output(mal, tiny) -> str:
    """What the first run printed."""
    return mal.run("run", *tiny)


def digests(workdir: Path) -> dict[str, str]:
    return {name: sha256_file(workdir / name) for name in RESULTS}


def started(output: str) -> list[str]:
    """Stages that computed something."""
    return [line[9:].strip() for line in output.splitlines() if line.endswith(": running")]


def test_run_ends_with_table_accounting_and_report(output: str, mal) -> None:
    report = json.loads((mal.workdir / "retention.json").read_text())
    arms = report["segmenters"]["solov2_r18"]
    assert {"human", "pseudo", "retention", "interval", "verdict", "classes"} <= set(arms)
    assert arms["seeds"] == [0]
    assert set(arms["human"]) == {
        *("AP", "AP50", "AP75", "APs", "APm", "APl", "APbnd", "APbox", "APr", "APc", "APf"),
    }
    *table, accounting, cost, last = output.strip().splitlines()
    assert any(line.startswith("solov2_r18  pseudo-labels") for line in table)
    counts = report["accounting"]
    assert accounting.startswith(f"boxes in {counts['boxes']} = masks {counts['masks']} + crowds")
    assert cost.startswith("cost: ")
    assert " of CPU; " in cost
    assert last == f"report: {mal.workdir / 'report.html'}"


def test_arms_differ_in_the_annotation_path_only(output: str, mal) -> None:
    diff = (mal.workdir / "segmenters" / "solov2_r18" / "config.diff").read_text()
    changed = [line for line in diff.splitlines()[2:] if line[0] in "+-"]
    assert [line[0] for line in changed] == ["-", "+"]
    assert all(line.rstrip(",").endswith(".json'") for line in changed)


def test_second_run_computes_nothing_and_changes_nothing(output: str, mal, tiny) -> None:
    before = digests(mal.workdir)
    again = mal.run("run", *tiny)
    assert started(again) == []
    assert digests(mal.workdir) == before


def test_lost_and_altered_results_come_back_from_the_store(output: str, mal, tiny) -> None:
    before = digests(mal.workdir)
    (mal.workdir / "mal" / "checkpoint.pth").unlink()
    (mal.workdir / "report.html").write_text("altered")
    assert started(mal.run("evaluate", *tiny)) == []
    assert digests(mal.workdir) == before


def test_altered_output_in_the_store_is_made_again_and_nothing_after_it(
    output: str, mal, tiny
) -> None:
    (labels,) = (mal.root / "store" / "generate-pseudo-labels").glob("*/train.json")
    labels.write_text(labels.read_text().replace("1", "2", 1))
    again = mal.run("segment", *tiny)
    assert f"{labels} was altered" in again
    assert started(again) == ["generate-pseudo-labels: running"]


def test_report_is_rendered_again_from_the_working_folder(output: str, mal) -> None:
    page = mal.workdir / "report.html"
    page.unlink()
    assert "retention" in mal.run("report")
    assert "solov2_r18" in page.read_text()


def test_label_uses_an_existing_checkpoint_for_any_file(output: str, mal, tiny, drawn) -> None:
    checkpoint = mal.workdir / "mal" / "checkpoint.pth"
    target = mal.root / "elsewhere" / "masks.json"
    source = drawn / "val" / "annotations.json"
    printed = mal.run(
        "label",
        f"checkpoint={checkpoint}",
        f"data.train.images={drawn / 'val' / 'images'}",
        f"data.train.annotations={source}",
        f"output={target}",
    )
    labeled, skipped = (
        json.loads(target.read_text()),
        target.with_name(f"{target.stem}.skipped.json"),
    )
    assert skipped.is_file()
    assert labeled["images"] == json.loads(source.read_text())["images"]
    assert "boxes in" in printed
    assert str(target) in printed


def test_run_that_was_ended_at_every_stage_gives_the_undisturbed_result(
    output: str, mal, fresh_mal, tiny
) -> None:
    # `run` starts a server each time; each signal must end that, too. The human arm is trained by
    # the same stage, and one arm is one child less to start after each end.
    settings = [*tiny, "human_arm=none"]
    ends = [
        ("train MAL: 0/6", signal.SIGKILL, -signal.SIGKILL, "run"),
        ("label boxes: 0/", signal.SIGINT, 130, "run"),
        ("train solov2_r18: 0/3", signal.SIGKILL, -signal.SIGKILL, "evaluate"),
        ("done in", signal.SIGTERM, 143, "run"),
    ]
    for line, number, status, verb in ends:
        assert fresh_mal.end_at(line, number, verb, *settings) == status
        fresh_mal.wait_until_alone()
    fresh_mal.run("evaluate", *settings)
    for name in ("labels/train.json", "labels/skipped.json"):
        assert sha256_file(fresh_mal.workdir / name) == sha256_file(mal.workdir / name)
    results = [json.loads((one.workdir / "retention.json").read_text()) for one in (fresh_mal, mal)]
    ended, undisturbed = (one["segmenters"]["solov2_r18"]["pseudo"] for one in results)
    assert ended == undisturbed
    assert (fresh_mal.workdir / "report.html").is_file()
