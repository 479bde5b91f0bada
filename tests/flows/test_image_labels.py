"""Labels of photos that are turned, deep and oddly named are those of the plain photos."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mal_core.data.images.frames import turned_back


@pytest.mark.slow
def test_labels_return_in_the_users_frame_and_under_the_users_names(
    mal, drawn: Path, phase_1: list[str], tmp_path: Path
) -> None:
    images, annotations = drawn / "train" / "images", drawn / "train" / "annotations.json"
    plain = [f"data.train.images={images}", f"data.train.annotations={annotations}"]
    mal.run("train", *plain, *phase_1)
    kept = mal.root / "kept.pth"
    shutil.copy(mal.workdir / "mal" / "checkpoint.pth", kept)
    odd = odd_twin(images, annotations, tmp_path)
    for name, given in (("plain", plain), ("odd", odd)):
        output = mal.run(
            "label", *given, *phase_1, f"checkpoint={kept}", f"output={tmp_path / name}.json"
        )
        assert "boxes in" in output
    wanted, labeled = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("plain", "odd"))
    assert labeled["annotations"] == wanted["annotations"]
    named = [image["file_name"] for image in labeled["images"]]
    assert named == [f"photos\\{image['file_name'].upper()}" for image in wanted["images"]]


def odd_twin(images: Path, annotations: Path, folder: Path) -> list[str]:
    """The same photos: most lie on their side, one has twelve bits; names as on Windows."""
    content = json.loads(annotations.read_text())
    (folder / "photos").mkdir()
    for index, image in enumerate(content["images"]):
        with Image.open(images / image["file_name"]) as opened:
            shown = np.asarray(opened.convert("RGB"))
        target = folder / "photos" / image["file_name"]
        if index == 0:
            deep = shown[..., ::-1].astype(np.uint16) << 4
            cv2.imwrite(str(target), deep)
        else:
            exif = Image.Exif()
            exif[0x0112] = orientation = (6, 3, 8)[index % 3]
            Image.fromarray(turned_back(shown, orientation)).save(target, exif=exif)
        image["file_name"] = f"photos\\{image['file_name'].upper()}"
    (folder / "odd_input.json").write_text(json.dumps(content))
    return [
        f"data.train.images={folder / 'photos'}",
        f"data.train.annotations={folder / 'odd_input.json'}",
    ]
