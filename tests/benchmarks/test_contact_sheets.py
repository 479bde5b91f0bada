"""Contact sheets: the worst masks and an even spread of all, none but those that may be shown."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import contact_sheets
from benchmarks.datasets import Data

BAD = 0.5


def worsened(data: Data, out: Path, every: int) -> Path:
    """Human masks with every n-th cut to the left half of its box."""
    content = json.loads(data.val.annotations.read_text())
    for entry in content["annotations"][::every]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w / 2, y, x + w / 2, y + h, x, y + h]]
    path = out / f"labels_{every}.json"
    path.write_text(json.dumps(content))
    return path


def sheets(data: Data, out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Path:
    labels = [f"{name}={worsened(data, out, every)}" for name, every in (("old", 1), ("new", 3))]
    files = ["--images", str(data.val.images), "--human", str(data.val.annotations)]
    target = out / "sheets"
    monkeypatch.setattr("sys.argv", ["", str(target), *files, "--labels", *labels, *more])
    contact_sheets.main()
    return target


def test_the_worst_of_a_file_are_those_that_were_made_worse(data: Data, tmp_path: Path) -> None:
    labels = {"new": worsened(data, tmp_path, 3)}
    subjects = contact_sheets.read_subjects(labels, data.val.annotations)
    bad = [one for one in subjects if one.ious["new"] < 1]
    chosen = contact_sheets.choose(subjects, ["new"], len(bad))
    assert 0 < len(bad) < len(subjects)
    assert {id(one) for one in chosen["worst_new"]} == {id(one) for one in bad}
    spread = [one.ious["new"] for one in chosen["spread"]]
    assert spread == sorted(spread)
    assert spread[0] == min(one.ious["new"] for one in bad)
    assert spread[-1] == 1


def test_a_sheet_per_file_and_one_of_all_show_masks(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = sheets(data, tmp_path, monkeypatch, "--objects", "4", "--columns", "2")
    names = sorted(path.name for path in out.iterdir())
    assert names == ["photos.md", "spread.webp", "worst_new.webp", "worst_old.webp"]
    old = cv2.imread(str(out / "worst_old.webp"))
    tile = contact_sheets.TILE_PX
    assert old.shape[0] == 2 * (tile + contact_sheets.CAPTION_PX + contact_sheets.GAP_PX)
    orange = (old[..., 2].astype(int) - old[..., 0] > 60).mean()
    assert orange > 0.02
    assert (out / "worst_old.webp").stat().st_size <= contact_sheets.MOST_BYTES


def test_only_photos_that_may_be_shown_are(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(data.val.annotations.read_text())
    first = content["images"][0]["file_name"]
    allowed = tmp_path / "allowed.txt"
    allowed.write_text(first)
    out = sheets(data, tmp_path, monkeypatch, "--photos", str(allowed))
    rows = (out / "photos.md").read_text().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [first]
    own = [one for one in content["annotations"] if one["image_id"] == content["images"][0]["id"]]
    assert f"{len([one for one in own if not one['iscrowd']])} objects" in capsys.readouterr().out


def test_a_sheet_is_made_coarser_until_it_fits(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheets, "MOST_BYTES", 12_000)
    out = sheets(data, tmp_path, monkeypatch, "--objects", "4")
    fine = cv2.imread(str(out / "spread.webp"))
    assert (out / "spread.webp").stat().st_size <= 12_000
    assert np.asarray(fine).std() > 20
