"""Every family trains for real, in processes of its own, and survives what users do to it.

On recipes small enough to learn images by heart; the full-size ones are in a file of their own.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.jobs.segmenter import (
    CONFIG_FILE,
    DETECTIONS_FILE,
    PREDICTIONS_FILE,
    config_diff,
    read_run,
    train_segmenter,
)
from mal_core.processes.children import child_environment
from mal_core.processes.files import write_json
from tests.phase2_configs.jobs import ARMS, FAMILIES, make_job, run_runner, run_script, write_job

pytestmark = pytest.mark.slow


def mask_ap(annotations: Path, predictions: Path) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        scores = COCOeval(truth, truth.loadRes(str(predictions)), "segm")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return float(scores.stats[0])


# The arms differ in the annotation path only, as all families show; one learns from either file.
TRAINED = [
    ("solov2_r18", "human"),
    ("cascade_mask_rcnn_convnext_cpu", "pseudo"),
    ("mask2former_swin_cpu", "human"),
]


@pytest.fixture(scope="module")
def trained(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All families, in one process; the val images are the train images.

    One val file lists its categories in another order than the train file. The last job is one
    that is refused, its val file has another class.
    """
    folder = tmp_path_factory.mktemp("trained")
    content = json.loads(drawn.human.read_text())
    reordered = {**content, "categories": content["categories"][::-1]}
    write_json(folder / "reordered.json", reordered)
    jobs = []
    for name, arm in TRAINED:
        val = folder / "reordered.json" if name.startswith("mask2former") else drawn.human
        job = make_job(drawn, name, getattr(drawn, arm), val)
        jobs.append(write_job(job, folder / name / arm))
    again = make_job(drawn, "solov2_r18", drawn.human, drawn.human)
    jobs.append(write_job(again, folder / "solov2_r18" / "again"))
    content["categories"][0]["name"] = "plate"
    write_json(folder / "plate.json", content)
    bad = make_job(drawn, "solov2_r18", drawn.human, folder / "plate.json")
    jobs.append(write_job(bad, folder / "bad"))
    result = run_runner(*jobs)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return folder, result.stdout


@pytest.mark.parametrize(("name", "arm"), TRAINED)
def test_family_learns_its_images_from_either_file(
    name: str, arm: str, trained: tuple[Path, str], drawn: Any
) -> None:
    folder, _ = trained
    run = read_run(name, folder / name / arm)
    steps = [json.loads(line)["step"] for line in run.scalars.read_text().splitlines()]
    assert steps == list(range(1, FAMILIES[name][0] + 1))
    assert mask_ap(getattr(drawn, arm), run.predictions) > 0.1


@pytest.mark.parametrize(
    ("name", "kept"),
    [("solov2_r18", 50), ("cascade_mask_rcnn_convnext_cpu", 50), ("mask2former_swin_cpu", 20)],
)
def test_a_run_says_how_many_detections_it_keeps(
    name: str, kept: int, trained: tuple[Path, str]
) -> None:
    folder, output = trained
    for file in (folder / name).glob(f"*/{DETECTIONS_FILE}"):
        assert json.loads(file.read_text()) == {"per_image": kept}
    assert f"detections per image: {kept}; up to 2 objects on one" in output


def test_no_instance_is_ignored_silently(trained: tuple[Path, str]) -> None:
    _, output = trained
    lines = [line for line in output.splitlines() if line.startswith("instances:")]
    # 16 shapes, half of them polygons and half RLE, and one crowd.
    assert len(lines) == len(TRAINED) + 1
    for line in lines:
        assert line.startswith("instances: 17 in the file, 16 used, 1 crowds, 0 on filtered")
        assert line.endswith("0 ignored by mmdet")


def test_same_seed_gives_the_same_predictions(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    first, again = (folder / "solov2_r18" / arm / PREDICTIONS_FILE for arm in ("human", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_predictions_carry_boxes_of_their_masks_and_text_counts(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    results = json.loads((folder / "solov2_r18" / "human" / PREDICTIONS_FILE).read_text())
    assert results
    assert all(isinstance(result["segmentation"]["counts"], str) for result in results)
    assert all(result["bbox"][2] > 0 and result["bbox"][3] > 0 for result in results)
    assert {result["category_id"] for result in results} <= {3, 7}


def mmdet_tool(name: str) -> str:
    spec = importlib.util.find_spec("mmdet")
    return str(Path(spec.origin).parent / ".mim" / "tools" / name)


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, mmdet_tool(arguments[0]), *arguments[1:]]
    return subprocess.run(
        command, capture_output=True, text=True, env=child_environment(), check=False
    )


def test_stock_test_tool_scores_the_dumped_config_as_we_do(
    trained: tuple[Path, str], tmp_path: Path, drawn: Any
) -> None:
    folder, _ = trained
    run = read_run("mask2former_swin_cpu", folder / "mask2former_swin_cpu" / "human")
    work = ["--work-dir", str(tmp_path)]
    result = run_tool("test.py", str(run.config), str(run.checkpoint), *work)
    found = re.search(r"coco/segm_mAP: ([\d.]+)", result.stdout + result.stderr)
    assert found, result.stdout + result.stderr
    assert float(found[1]) == pytest.approx(mask_ap(drawn.human, run.predictions), abs=2e-3)


def test_stock_train_tool_trains_the_dumped_config(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = trained
    config = folder / "solov2_r18" / "human" / CONFIG_FILE
    options = ["train_cfg.max_iters=2", "train_cfg.val_interval=2"]
    result = run_tool(
        "train.py", str(config), "--work-dir", str(tmp_path), "--cfg-options", *options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "iter_2.pth").is_file()


def test_killed_training_continues_from_the_last_whole_checkpoint(
    drawn: Any, tmp_path: Path
) -> None:
    job = make_job(drawn, "solov2_r18", drawn.human, drawn.val)
    path = write_job(job, tmp_path)
    command = [sys.executable, "-m", "phase2_configs.runner.train", str(path)]
    with (tmp_path / "killed.txt").open("w") as output:
        victim = subprocess.Popen(command, stdout=output, stderr=output, env=child_environment())
        deadline = time.monotonic() + 300
        while not (tmp_path / "iter_9.pth").exists():
            assert victim.poll() is None, (tmp_path / "killed.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    # What a kill in the middle of writing leaves behind.
    last = max(tmp_path.glob("iter_*.pth"), key=lambda file: int(file.stem[5:]))
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    again = run_runner(path, path)  # the second time all is done
    assert again.returncode == 0, again.stdout + again.stderr
    whole, _, rest = again.stdout.partition(f"{PREDICTIONS_FILE} is there already: nothing to do")
    resumed = [line for line in whole.splitlines() if line.startswith("resuming from iter_")]
    assert resumed
    assert last.name not in resumed[0]
    assert "predicted instances" in whole
    assert not rest.strip()
    run = read_run(job.recipe.name, tmp_path)
    steps = [json.loads(line)["step"] for line in run.scalars.read_text().splitlines()]
    assert steps == list(range(1, FAMILIES["solov2_r18"][0] + 1))


def test_bad_jobs_end_with_status_2_and_one_message(trained: tuple[Path, str]) -> None:
    folder, output = trained
    assert "category 3 is 'plate' here but 'disc'" in output.splitlines()[-1]
    assert not list((folder / "bad").glob("*.pth"))


KEPT = """
import json, sys
from pathlib import Path
from phase2_configs.runner.detections import kept_detections
from phase2_configs.runner.training import build_config, register_all_modules
from mal_core.jobs.segmenter import CONFIG_FILE, read_job
register_all_modules(init_default_scope=True)
from mmdet.models.language_models import bert
assert bert.HFBertModel is None, "a fifth of a child's start, for models that have no masks"
for path in map(Path, sys.argv[1:]):
    config = build_config(read_job(path), path.parent)
    path.with_name(CONFIG_FILE).write_text(config.pretty_text)
    print("@", json.dumps([path.parent.name, kept_detections(config.to_dict())]))
"""


@pytest.fixture(scope="module")
def adapted(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Configs of all families for both arms, and how many detections each keeps."""
    folder = tmp_path_factory.mktemp("adapted")
    jobs = {}
    for name in FAMILIES:
        for arm in ARMS:  # the validation file is small, the training file's fullest image is not
            job = make_job(drawn, name, getattr(drawn, arm), drawn.human)
            jobs[f"{name}-{arm}"] = replace(job, most_objects=120)
    few = {"model": {"test_cfg": {"max_per_img": 60}}}
    recipe = replace(jobs["solov2_r18-human"].recipe, options=few)
    jobs["chosen"] = replace(jobs["solov2_r18-human"], recipe=recipe)
    result = run_script(KEPT, *(write_job(job, folder / name) for name, job in jobs.items()))
    assert result.returncode == 0, result.stderr
    lines = [line[2:] for line in result.stdout.splitlines() if line.startswith("@ ")]
    return folder, dict(json.loads(line) for line in lines)


def test_the_limit_follows_the_data_in_both_arms_and_options_have_the_last_word(
    adapted: tuple[Path, dict[str, int]],
) -> None:
    _, kept = adapted
    arms = [f"{name}-{arm}" for name in FAMILIES for arm in ARMS]
    assert kept == {**dict.fromkeys(arms, 150), "chosen": 60}


@pytest.mark.parametrize("name", FAMILIES)
def test_both_arms_differ_in_the_annotation_path_only(
    name: str, adapted: tuple[Path, dict[str, int]], drawn: Any
) -> None:
    folder, _ = adapted
    diff = config_diff(*(folder / f"{name}-{arm}" / CONFIG_FILE for arm in ARMS)).splitlines()
    changed = [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert len(changed) == 2
    assert re.fullmatch(rf"-\s+ann_file='{drawn.human}',", changed[0])
    assert re.fullmatch(rf"\+\s+ann_file='{drawn.pseudo}',", changed[1])


def test_two_processes_train_one_segmenter_together(
    drawn: Any, trained: tuple[Path, str], tmp_path: Path
) -> None:
    job = make_job(drawn, "solov2_r18", drawn.human, drawn.val)
    recipe = replace(job.recipe, max_steps=6, batch_size=2, num_processes=2)
    run = train_segmenter(replace(job, recipe=recipe), tmp_path / "two")
    lines = [json.loads(line) for line in run.scalars.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    log = (tmp_path / "two" / "log.txt").read_text()
    assert "Distributed training: True" in log
    content = json.loads(drawn.val.read_text())
    predicted = {entry["image_id"] for entry in json.loads(run.predictions.read_text())}
    assert predicted <= {image["id"] for image in content["images"]}
    # The same seed starts from the same weights, whoever trains.
    alone = read_run("solov2_r18", trained[0] / "solov2_r18" / "human")
    first = json.loads(alone.scalars.read_text().splitlines()[0])["loss"]
    assert lines[0]["loss"] == pytest.approx(first, rel=0.5)
