"""The benchmark that fits the library's curves: no human mask is read, and it tells what is."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import quality_curves
from mal_core.quality.score import default_model
from scenes.write import write_scenes
from tests.mal_core.models.test_export import write_checkpoint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Drawn scenes in the folders of a data set; human masks in the validation file only."""
    folder = tmp_path / "scenes"
    write_scenes(folder / "drawn", num_train=16, num_val=8, size=128, seed=0)
    images, annotations = folder / "images", folder / "annotations"
    images.mkdir()
    annotations.mkdir()
    for split in ("train", "val"):
        content = json.loads((folder / "drawn" / split / "annotations.json").read_text())
        for record in content["images"]:
            name = f"{split}-{record['file_name']}"
            (folder / "drawn" / split / "images" / record["file_name"]).rename(images / name)
            record["file_name"] = name
        if split == "train":
            for entry in content["annotations"]:
                del entry["segmentation"]
        (annotations / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return write_checkpoint(tmp_path / "checkpoint.pth", mask_threshold=0.3)


@pytest.mark.slow
def test_curves_are_fitted_to_composites_and_judged_by_human_masks(
    data: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["quality_curves", str(tmp_path / "out"), "--data", f"scenes={data}"]
    sizes = ["--labels", "60", "--composites", "24", "--judged", "20"]
    monkeypatch.setattr("sys.argv", [*command, "--checkpoints", f"scenes={checkpoint}", *sizes])
    quality_curves.main()
    for kind in quality_curves.KINDS:
        curve = json.loads((tmp_path / "out" / f"{kind}.json").read_text())
        assert tuple(curve["names"]) == default_model(kind).names
        assert curve["origin"].endswith("masks: scenes")
        assert curve["weights"] != list(default_model(kind).weights)
    table = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert [row.split("|")[2].strip() for row in table[2:]] == [
        "mean probability",
        "the mask alone",
        "present curve",
        "this curve",
        "fitted to own composites",
    ]
    assert all(row.split("|")[1].strip() == table[2].split("|")[1].strip() for row in table[2:])
