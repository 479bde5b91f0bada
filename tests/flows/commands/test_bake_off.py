"""`mal bake-off` from the user's end."""

import json
from pathlib import Path

import pytest

from flows.commands.cli import main
from mal_core.geometry.masks import ellipse_to_rle
from tests.mal_core.labelers.test_ensemble import disks_file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    import numpy as np

    folder = tmp_path_factory.mktemp("disks")
    files = disks_file(folder, photos=6)
    content = json.loads(files.annotations.read_text())
    sizes = {record["id"]: (record["height"], record["width"]) for record in content["images"]}
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        if not entry["iscrowd"]:
            box = np.array([x, y, x + w, y + h], dtype=float)
            entry["segmentation"] = ellipse_to_rle(box, *sizes[entry["image_id"]])
    (folder / "human.json").write_text(json.dumps(content))
    given = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    return [*given, f"store={folder / 's'}", f"workdir={folder / 'w'}"]


def folder_of(data: list[str]) -> Path:
    return Path(data[-1].partition("=")[2])


def test_the_best_is_found_without_human_masks_and_shown(data, capsys):
    human = f"human={folder_of(data).parent / 'human.json'}"
    listed = "labelers=[box,ellipse,{name:grabcut,iterations:3}]"
    assert main(["bake-off", listed, *data, human, "sample=12"]) == 0
    said = capsys.readouterr().out
    found = json.loads((folder_of(data) / "bake_off.json").read_text())
    names = [one["name"] for one in found["ranking"]]
    assert names[-1] == "box"
    assert names[0] == found["truth"]["best"] or found["truth"]["lost"] < 0.02
    assert found["truth"]["objects"] == found["objects"] == 12
    assert f"Take {names[0]}" in said
    assert f"by 12 human masks {found['truth']['best']} is best" in said
    assert set(found["seconds_per_1000_boxes"]) == {"box", "ellipse", "grabcut"}
    assert found["seconds_per_1000_boxes"]["grabcut"] > found["seconds_per_1000_boxes"]["box"] > 0
    page = (folder_of(data) / "bake_off.html").read_text()
    assert found["recommendation"] in page
    assert page.count("data:image/jpeg;base64,") == 12 * 4
    assert "http" not in page.replace("http-equiv", "")


def test_the_ranking_reads_no_human_mask(data, tmp_path, capsys):
    """With and without them the same order, and nothing said of a truth."""
    for number, more in enumerate(([], [f"human={folder_of(data).parent / 'human.json'}"])):
        output = tmp_path / str(number)
        told = ["labelers=[box,ellipse]", *data, f"output={output}", "sample=8", *more]
        assert main(["bake-off", *told]) == 0
    capsys.readouterr()
    one, two = (json.loads((tmp_path / k / "bake_off.json").read_text()) for k in ("0", "1"))
    assert one["ranking"] == two["ranking"]
    assert one["truth"] is None
    assert "Green" not in (tmp_path / "0" / "bake_off.html").read_text()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["labelers=[grabcut]"], "wanted two or more to compare"),
        ([], "wanted two or more to compare"),
        (["labelers=[box,ensemble]"], "no ensemble among them"),
        (["labelers=[mal,mal]"], "mal can take part once"),
        (["labelers=[box,ellipse]", "sample=0"], "sample=0 is not possible"),
        (["labelers=[box,elipse]"], "labelers: there is no 'elipse'"),
        (["labelers=[box,ellipse]", "checkpoint={file}"], "not among the labelers"),
        (["labelers=[box,ellipse]", "human={empty}"], "no annotation has the id of a box in"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_status_2(data, told, words, tmp_path, capsys):
    content = json.loads((folder_of(data).parent / "human.json").read_text())
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({**content, "annotations": []}))
    given = [one.format(file=empty, empty=empty) for one in told]
    assert main(["bake-off", *given, *data, f"output={tmp_path / 'out'}"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def changed_human(data, tmp_path, change) -> str:
    content = json.loads((folder_of(data).parent / "human.json").read_text())
    change(content)
    target = tmp_path / "human.json"
    target.write_text(json.dumps(content))
    return f"human={target}"


def next_ids(content):
    """Each object gets the id of the next one, as in a file of other objects."""
    ids = [entry["id"] for entry in content["annotations"]]
    for entry, other in zip(content["annotations"], [*ids[1:], ids[0]], strict=True):
        entry["id"] = other


def one_image_on(content):
    for entry in content["annotations"]:
        entry["image_id"] = entry["image_id"] % len(content["images"]) + 1


def twice_as_wide(content):
    for record in content["images"]:
        record["width"] *= 2


def crowds(content):
    for entry in content["annotations"]:
        entry["iscrowd"] = 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_image_on, "Is it the right file?"),
        (twice_as_wide, "(width x height). Is it the right file?"),
        (crowds, "are crowds (iscrowd=1), which are masks of no single object."),
    ],
)
def test_human_masks_of_other_objects_are_refused(data, change, words, tmp_path, capsys):
    human = changed_human(data, tmp_path, change)
    told = ["labelers=[box,ellipse]", *data, human, "sample=12", f"output={tmp_path / 'o'}"]
    assert main(["bake-off", *told]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "draw boxes" not in said, "refused before anything is drawn"
    assert str(tmp_path / "human.json") in said


def test_human_masks_of_the_same_images_but_other_boxes_are_refused(data, tmp_path, capsys):
    def swapped(content):
        """Masks change places within their photos, ids and images stay."""
        for record in content["images"]:
            own = [one for one in content["annotations"] if one["image_id"] == record["id"]]
            shapes = [entry.get("segmentation") for entry in own]
            for entry, shape in zip(own, [*shapes[1:], shapes[0]], strict=True):
                entry["segmentation"] = shape

    human = changed_human(data, tmp_path, swapped)
    told = ["labelers=[box,ellipse]", *data, human, "sample=12", f"output={tmp_path / 'o'}"]
    status = main(["bake-off", *told])
    assert status == 2
    assert "its masks are not those of the boxes of" in capsys.readouterr().err


def test_what_does_not_fit_is_left_out_and_said(data, tmp_path, capsys):
    seen = {}

    def change(content):
        objects = [one for one in content["annotations"] if not one["iscrowd"]]
        away, crowd, blank, absent = objects[:4]
        size = away["segmentation"]["size"]
        x, _, width, _ = away["bbox"]
        corner = 0 if x + width / 2 > size[1] / 2 else size[1] - 8
        away["segmentation"] = [[corner, 0, corner + 8, 0, corner + 8, 8, corner, 8]]
        crowd["iscrowd"] = 1
        blank["segmentation"] = {"size": size, "counts": [size[0] * size[1]]}
        del absent["segmentation"]
        seen.update(
            zip(("away", "crowd", "blank", "absent"), (a["id"] for a in objects[:4]), strict=True)
        )

    human = changed_human(data, tmp_path, change)
    told = ["labelers=[box,ellipse]", *data, human, "sample=1000", f"output={tmp_path / 'o'}"]
    assert main(["bake-off", *told]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "o" / "bake_off.html").read_text()
    for line in (
        f"1 human masks are crowds, the first is annotation {seen['crowd']}: left out",
        "1 human masks are not where the boxes of their ids are, the first is annotation "
        f"{seen['away']}: left out",
        f"1 human masks have no pixel, the first is annotation {seen['blank']}: left out",
        f"1 boxes of the sample have no human mask, the first is annotation {seen['absent']}",
    ):
        assert f"{line}\n" in said
        assert f"{line}." in page
    found = json.loads((tmp_path / "o" / "bake_off.json").read_text())
    assert found["truth"]["objects"] == found["objects"] - 4
