"""The demo on real images: its data is complete, small, and what its README says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.settings import composing
from flows.settings.run_config import Inputs, data_config
from mal_core.config import SplitConfig
from mal_core.data.inspection.check import check_data

ROOT = Path(__file__).resolve().parents[2]
NUCLEI = ROOT / "examples" / "nuclei"
MOST_BYTES = 3_000_000


def content(split: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NUCLEI / f"{split}.json").read_text())
    return found


def test_it_passes_the_check_of_the_input_without_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = composing.compose(["experiment=demo_real"])
    assert [recipe.name for recipe in config.segmenters] == ["mask_rcnn_lite0"]
    assert config.data.train is not None
    assert config.data.val is not None
    train, val = (
        SplitConfig(images=one.images, annotations=one.annotations)
        for one in (config.data.train, config.data.val)
    )
    data = data_config(config.data, Inputs(train=train, val=val))
    checked = check_data(data, need_val=True, decode=True)
    assert checked.has_train_masks
    assert checked.val is not None
    assert checked.val.masks.complete
    assert not checked.oddities()


def test_every_image_is_there_once_and_in_one_split() -> None:
    names = [image["file_name"] for split in ("train", "val") for image in content(split)["images"]]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(path.name for path in (NUCLEI / "images").iterdir())
    for name in names[::20]:
        with Image.open(NUCLEI / "images" / name) as image:
            assert image.size == (256, 256)


def test_its_size_and_its_readme_are_true() -> None:
    assert sum(path.stat().st_size for path in NUCLEI.rglob("*") if path.is_file()) < MOST_BYTES
    words = (NUCLEI / "README.md").read_text()
    counts = [int(text.replace(",", "")) for text in re.findall(r"\d[\d,]*(?= nuclei|\))", words)]
    train, val = (len(content(split)["annotations"]) for split in ("train", "val"))
    assert {train + val, train, val} <= set(counts)
    assert "CC0 1.0" in words
    assert all(one["name"] == "CC0 1.0" for one in content("train")["licenses"])
