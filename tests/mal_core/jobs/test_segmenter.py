"""What the library promises about segmenter runs before and around the child process."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.errors import ArtifactError, ConfigError, DatasetError, SegmenterError
from mal_core.jobs.segmenter import (
    JOB_FILE,
    SegmenterJob,
    check_segmenter_data,
    claim_of,
    config_diff,
    read_job,
    read_run,
    resolve_config,
    train_segmenter,
)
from mal_core.processes.files import write_json
from mal_core.processes.records import write_record


def coco(**changes: Any) -> dict[str, Any]:
    annotation = {
        "id": 5,
        "image_id": 1,
        "category_id": 2,
        "bbox": [1, 1, 8, 8],
        "area": 36,
        "iscrowd": 0,
        "segmentation": [[1, 1, 9, 1, 9, 9]],
    }
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 40}],
        "annotations": [annotation],
        "categories": [{"id": 2, "name": "disc"}, {"id": 4, "name": "slab"}],
    }
    return {**content, **changes}


def with_annotation(**changes: Any) -> dict[str, Any]:
    return coco(annotations=[{**coco()["annotations"][0], **changes}])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, val = tmp_path / "train.json", tmp_path / "val.json"
    write_json(train, coco())
    write_json(val, coco())
    return train, val


@pytest.fixture
def job(files: tuple[Path, Path], tmp_path: Path) -> SegmenterJob:
    train, val = files
    return SegmenterJob(
        recipe=SegmenterConfig(name="solov2_r18", config=Path("phase2_configs/solov2_r18.py")),
        train=SplitConfig(images=tmp_path, annotations=train),
        val=SplitConfig(images=tmp_path, annotations=val),
        seed=4,
    )


def test_good_files_are_accepted(files: tuple[Path, Path]) -> None:
    check_segmenter_data(*files)


def test_order_of_categories_is_free(files: tuple[Path, Path]) -> None:
    write_json(files[1], coco(categories=coco()["categories"][::-1]))
    check_segmenter_data(*files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_annotation(segmentation=[[1, 1, 9, 1]]), "annotation 5 has no mask that mmdet reads"),
        (with_annotation(segmentation=None), "annotation 5 has no mask that mmdet reads"),
        (with_annotation(segmentation={"counts": "12"}), r"annotation 5 has a mask of None"),
        (with_annotation(iscrowd=1), "no annotation to train on"),
        (coco(annotations=[]), "no annotation to train on"),
        (
            coco(categories=[{"id": 2, "name": "x"}, {"id": 4, "name": "x"}]),
            "category 4 has the name",
        ),
        ([1], "not a COCO file"),
    ],
)
def test_training_file_that_mmdet_would_misread_is_refused(
    content: Any, message: str, files: tuple[Path, Path]
) -> None:
    write_json(files[0], content)
    with pytest.raises(DatasetError, match=message) as error:
        check_segmenter_data(*files)
    assert error.value.path == files[0]


def test_annotation_without_area_is_named(files: tuple[Path, Path]) -> None:
    content = coco()
    del content["annotations"][0]["area"]
    write_json(files[0], content)
    with pytest.raises(DatasetError, match="1 annotations have no area"):
        check_segmenter_data(*files)


def test_all_differing_categories_are_named(files: tuple[Path, Path]) -> None:
    write_json(files[1], coco(categories=[{"id": 2, "name": "plate"}]))
    with pytest.raises(DatasetError) as error:
        check_segmenter_data(*files)
    assert len(error.value.problems) == 2
    assert "category 2 is 'plate' here but 'disc'" in str(error.value)
    assert "category 4 is absent here but 'slab'" in str(error.value)


def test_absent_or_broken_file_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        check_segmenter_data(tmp_path / "absent.json", files[1])
    files[0].write_text("{")
    with pytest.raises(DatasetError, match="broken JSON"):
        check_segmenter_data(*files)


def test_job_survives_its_file(job: SegmenterJob, tmp_path: Path) -> None:
    write_record(tmp_path / JOB_FILE, claim_of(job))
    assert read_job(tmp_path / JOB_FILE) == job


def test_folder_of_another_job_is_refused(job: SegmenterJob, tmp_path: Path) -> None:
    work_dir = tmp_path / "work"
    write_record(work_dir / JOB_FILE, claim_of(replace(job, seed=5)))
    with pytest.raises(ConfigError, match="other settings"):
        train_segmenter(job, work_dir)


def test_changed_annotations_are_another_job(job: SegmenterJob, tmp_path: Path) -> None:
    work_dir = tmp_path / "work"
    write_record(work_dir / JOB_FILE, claim_of(job))
    write_json(job.train.annotations, with_annotation(area=37))
    with pytest.raises(ConfigError, match="other annotations"):
        train_segmenter(job, work_dir)


def test_unknown_config_is_refused_before_any_child_starts(
    job: SegmenterJob, tmp_path: Path
) -> None:
    recipe = replace(job.recipe, config=Path("phase2_configs/absent.py"))
    with pytest.raises(ConfigError, match=r"absent\.py is not a file"):
        train_segmenter(replace(job, recipe=recipe), tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_bundled_config_is_left_to_mmdet() -> None:
    assert resolve_config(Path("mmdet::solov2/x.py")) == "mmdet::solov2/x.py"


def test_unfinished_run_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("")
    with pytest.raises(ArtifactError, match=r"predictions\.json, .*missing"):
        read_run("x", tmp_path)


def test_diff_leaves_out_each_runs_own_folder(tmp_path: Path) -> None:
    paths = []
    for arm, annotations in (("a", "human.json"), ("b", "labels/train.json")):
        path = tmp_path / arm / "config.py"
        path.parent.mkdir()
        path.write_text(f"ann_file='{annotations}'\nlr=0.1\nwork_dir='{path.parent}'\n")
        paths.append(path)
    assert config_diff(*paths).splitlines()[2:] == [
        "@@ -1 +1 @@",
        "-ann_file='human.json'",
        "+ann_file='labels/train.json'",
    ]
    assert config_diff(paths[0], paths[0]) == ""


@pytest.mark.slow
def test_failing_child_is_reported_with_its_last_lines(job: SegmenterJob, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    # Not an error of a config that mmdet refuses, which is a sentence of its own.
    broken.write_text("import sys\nsys.exit('this recipe is broken')\n")
    recipe = replace(job.recipe, config=broken)
    with pytest.raises(SegmenterError, match="this recipe is broken") as error:
        train_segmenter(replace(job, recipe=recipe), tmp_path / "work", on_line=sys.stdout.write)
    assert error.value.return_code == 1
    assert error.value.log_path == tmp_path / "work" / "log.txt"
    assert any("this recipe is broken" in line for line in error.value.last_lines)


def test_a_killed_training_comes_with_advice(
    job: SegmenterJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills without a word what uses up the memory."""
    monkeypatch.setattr("mal_core.processes.nodes.launcher", lambda _: ["sh", "-c", "kill -9 $$"])
    with pytest.raises(SegmenterError, match=r"lower segmenter\.batch_size") as caught:
        train_segmenter(job, tmp_path / "work")
    assert caught.value.return_code == -9
