"""`mal check`: everything that is wrong, in one go and by kind; repaired copies that pass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.commands import cli
from tests.builders import CocoFiles, write_coco
from tests.mal_core.formats.drawn_formats import draw, write_voc, write_yolo

Mal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mal:
    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main([*arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def train(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, name="train", with_crowd=True)


@pytest.fixture
def val(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path / "other", name="val", num_images=2)


def given(train: CocoFiles, val: CocoFiles) -> list[str]:
    return [
        f"data.{name}.{key}={value}"
        for name, files in (("train", train), ("val", val))
        for key, value in (("images", files.images), ("annotations", files.annotations))
    ]


def break_both(train: CocoFiles, val: CocoFiles) -> None:
    content = train.content()
    for entry in content["annotations"][:5]:
        entry["category_id"] = 555
    train.rewrite(content)
    content = val.content()
    content["annotations"][0]["bbox"] = [500, 500, 3, 3]
    content["annotations"][1].pop("segmentation")
    content["categories"][1]["name"] = "plate"
    val.rewrite(content)


def test_problems_of_both_files_come_by_kind_with_counts(
    train: CocoFiles, val: CocoFiles, mal: Mal
) -> None:
    break_both(train, val)
    status, out, err = mal("check", *given(train, val))
    assert (status, out) == (2, "")
    assert f"{train.annotations}: 5 problems" in err
    assert "unknown-class: 5" in err
    assert "... and 2 more" in err
    for kind in ("box-outside-image: 1", "mask-missing: 1", "classes-differ: 1"):
        assert kind in err


def test_json_has_every_problem(train: CocoFiles, val: CocoFiles, mal: Mal) -> None:
    break_both(train, val)
    status, out, _ = mal("check", "--json", *given(train, val))
    found = json.loads(out)
    assert (status, found["fine"]) == (2, False)
    (unknown,) = [one for one in found["findings"] if one["kind"] == "unknown-class"]
    assert unknown["count"] == len(unknown["examples"]) == 5
    assert unknown["file"] == str(train.annotations)


def test_a_file_that_is_no_json_does_not_hide_the_other(
    train: CocoFiles, val: CocoFiles, mal: Mal
) -> None:
    break_both(train, val)
    train.annotations.write_bytes(b"\x1f\x8b broken gzip")
    status, _, err = mal("check", *given(train, val))
    assert status == 2
    assert str(train.annotations) in err
    assert "which lies wholly outside" in err


def test_images_of_both_splits_are_told_once(
    train: CocoFiles, val: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    target = tmp_path / "found.json"
    status, out, err = mal("check", *given(train, val), f"output={target}")
    assert (status, out.strip()) == (0, "the input is fine")
    # The builder draws image n of both splits alike.
    kinds = {one["kind"]: one["count"] for one in json.loads(target.read_text())["findings"]}
    assert kinds == {"crowd": 1, "image-in-both": 2}
    assert "are training images too, byte by byte" in err


def test_repaired_copies_pass_and_the_files_stay(
    train: CocoFiles, val: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    break_both(train, val)
    before = [files.annotations.read_bytes() for files in (train, val)]
    folder = tmp_path / "fixed"
    status, out, _ = mal("check", *given(train, val), "fix=true", f"output={folder}")
    assert status == 0, out
    assert [files.annotations.read_bytes() for files in (train, val)] == before
    copies = [CocoFiles(files.images, folder / f"{name}.json") for files, name in
              ((train, "train"), (val, "val"))]  # fmt: skip
    assert mal("check", *given(*copies))[0] == 0
    changes = json.loads((folder / "changes.json").read_text())
    assert changes["train"]["counts"] == {"dropped": 5}
    assert len(changes["train"]["changes"]) == 5
    # Again: the folder is our own.
    assert mal("check", *given(train, val), "fix=true", f"output={folder}")[0] == 0


def test_a_repair_never_writes_over_the_input(
    train: CocoFiles, val: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    own = CocoFiles(train.images, folder / "train.json")
    own.annotations.write_bytes(train.annotations.read_bytes())
    status, _, err = mal("check", *given(own, val), "fix=true", f"output={folder}")
    assert status == 2
    assert "which no repair wrote" in err
    assert own.annotations.read_bytes() == train.annotations.read_bytes()


def test_exchanged_width_and_height_are_put_right(
    train: CocoFiles, val: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    content = train.content()
    image = content["images"][0]
    image["width"], image["height"] = image["height"], image["width"]
    train.rewrite(content)
    folder = tmp_path / "fixed"
    status, out, _ = mal("check", *given(train, val), "fix=true", f"output={folder}")
    assert status == 0
    assert "has width and height exchanged" in out
    repaired = json.loads((folder / "train.json").read_text())
    assert len(repaired["annotations"]) == len(content["annotations"])


def test_a_repair_needs_a_place(train: CocoFiles, val: CocoFiles, mal: Mal) -> None:
    status, _, err = mal("check", *given(train, val), "fix=true")
    assert status == 2
    assert "output=DIR" in err


def fixed(mal: Mal, tmp_path: Path, name: str, annotations: Path) -> tuple[int, str, str, Path]:
    images = draw(tmp_path / "images")
    given = [f"data.train.images={images}", f"data.train.annotations={annotations}"]
    folder = tmp_path / "fixed"
    said = mal("check", f"data={name}", *given, "fix=true", f"output={folder}")
    return *said, folder


def changes_of(folder: Path) -> list[tuple[str, str, str]]:
    listed = json.loads((folder / "changes.json").read_text())["train"]["changes"]
    return [(one["what"], one["entry"], one["why"]) for one in listed]


def test_rows_of_yolo_that_cannot_be_read_are_left_out_and_listed(mal: Mal, tmp_path: Path) -> None:
    labels = write_yolo(tmp_path / "labels")
    rows = (labels / "a.txt").read_text()
    # Without a class; with a class too much; 10 px over the border; mostly outside.
    wrong = "0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n0 0.95 0.5 0.3 0.2\n0 1.2 0.5 0.5 0.2\n"
    (labels / "a.txt").write_text(rows + wrong)
    status, _, err, folder = fixed(mal, tmp_path, "yolo", labels)
    assert status == 0, err
    found = changes_of(folder)
    assert [one[:2] for one in found] == [
        ("dropped", "a.txt, line 3"),
        ("dropped", "a.txt, line 4"),
        ("corrected", "a.txt, line 5"),
        ("dropped", "a.txt, line 6"),
    ]
    assert found[0][2].startswith("'0.5 0.5 0.2 0.2': a box is five numbers")
    assert found[1][2] == "class 7, but there are classes 0 to 1."
    content = json.loads((folder / "train.json").read_text())
    assert len(content["annotations"]) == 4
    assert content["annotations"][2]["bbox"] == pytest.approx([32, 12, 8, 6])


def test_objects_of_voc_that_cannot_be_read_are_left_out_and_listed(
    mal: Mal, tmp_path: Path
) -> None:
    folder = write_voc(tmp_path / "Annotations")
    text = (folder / "a.xml").read_text()
    (folder / "a.xml").write_text(text.replace("<xmin>5</xmin>", "<xmin>five</xmin>"))
    status, _, err, output = fixed(mal, tmp_path, "voc", folder)
    assert status == 0, err
    assert changes_of(output) == [
        ("dropped", "a.xml: object 1", "has bndbox/xmin='five', but it must be a number.")
    ]
    kept = json.loads((output / "train.json").read_text())["annotations"]
    assert [entry["origin"] for entry in kept] == ["a.xml, object 2", "b.xml, object 1"]


@pytest.mark.parametrize(
    ("name", "break_it", "what"),
    [
        ("yolo", lambda folder: (folder / "classes.txt").unlink(), "rows"),
        ("voc", lambda folder: (folder / "a.xml").write_text("<annotation>"), "objects"),
    ],
)
def test_what_a_repair_cannot_do_for_a_format_is_said(
    name: str, break_it: Callable[[Path], object], what: str, mal: Mal, tmp_path: Path
) -> None:
    folder = {"yolo": write_yolo, "voc": write_voc}[name](tmp_path / "own")
    break_it(folder)
    status, _, err, _ = fixed(mal, tmp_path, name, folder)
    assert status == 2
    assert (
        f"in data={name}, fix=true leaves out wrong {what} and puts boxes right, but not this: "
        "correct it by hand." in err
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: [entry.update(id=entry["id"] + 5000) for entry in c["annotations"]],
         "no annotation has the id of a box in {train} and a mask. Is it the right file?"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, None, 4, 5, 6]]),
         "annotation 1000 has a polygon with null for a coordinate, which must be a finite number. "
         "Correct or drop the mask."),
        (lambda c: c["annotations"][0].update(image_id=20),
         "annotation 1000 is on image 20, but on image 10 of {train}. Is it the right file?"),
    ],
)  # fmt: skip
def test_a_guide_is_checked_with_the_boxes_and_told_once(
    change: Callable[[dict[str, Any]], object],
    said: str,
    train: CocoFiles,
    tmp_path: Path,
    mal: Mal,
) -> None:
    content = train.content()
    change(content)
    guide = tmp_path / "guide.json"
    guide.write_text(json.dumps(content))
    files = [f"data.train.images={train.images}", f"data.train.annotations={train.annotations}"]
    chosen = [*files, f"mal.guide={guide}", "mal.self_training.rounds=1"]
    for verb in ("check", "train"):
        status, _, err = mal(verb, *chosen, f"workdir={tmp_path / 'work'}")
        assert status == 2
        assert err.count(said.format(train=train.annotations)) == 1
        assert f"{guide}: 1 problem" in err
        assert "fix=true" not in err  # which repairs the splits, not a guide


def test_a_sound_guide_passes_the_check(train: CocoFiles, mal: Mal) -> None:
    files = [f"data.train.images={train.images}", f"data.train.annotations={train.annotations}"]
    guide = f"mal.guide={train.annotations}"
    assert mal("check", *files, guide, "mal.self_training.rounds=1")[0] == 0


def test_findings_replace_neither_an_input_nor_a_photo(
    mal: Mal, train: CocoFiles, val: CocoFiles
) -> None:
    photo = next(path for path in train.images.rglob("*") if path.is_file())
    words = {train.annotations: "is the input", photo: "is there already and is no JSON file"}
    for target, expected in words.items():
        before = target.read_bytes()
        status, _, told = mal("check", *given(train, val), f"output={target}")
        assert status == 2
        assert f"output={target} {expected}" in told
        assert target.read_bytes() == before
    findings = train.images.parent / "findings.json"
    for _ in range(2):  # the same command again replaces its own
        assert mal("check", *given(train, val), f"output={findings}")[0] == 0
    assert json.loads(findings.read_text())["fine"] is True


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        (lambda c: c["images"][0].update(file_name="/data/upload/1/" + "1a2b3c4d-0.png"), "0.png"),
        (lambda c: c["images"][0].update(file_name="..\\train\\0.png"), "0.png"),
        (lambda c: c["annotations"][0].update(bbox={"x": 4, "y": 5, "w": 20, "h": 16}), "[4, 5"),
        (lambda c: c["annotations"][0].update(bbox="[4, 5, 20, 16]"), "[4, 5, 20, 16]"),
        (lambda c: c["annotations"][0].update(segmentation=[[[4, 5], [9, 5], [9, 9]]]), "mask"),
        (
            lambda c: c["annotations"][0].update(
                segmentation=[{"x": 4, "y": 5}, {"x": 9, "y": 5}, {"x": 9, "y": 9}]
            ),
            "[[4, 5, 9, 5, 9, 9]]",
        ),
    ],
)
def test_what_has_one_meaning_is_refused_with_the_way_to_put_it_right(
    change, meant, mal_in_folder, tmp_path
):
    files = write_coco(tmp_path / "data")
    content = files.content()
    for number, entry in enumerate(content["images"]):
        entry["file_name"] = f"{number}.png"
    change(content)
    files.rewrite(content)
    given = [f"data.train.images={files.images / 'train'}"]
    given.append(f"data.train.annotations={files.annotations}")
    status, _, err = mal_in_folder("check", *given)
    assert status == 2
    assert err.splitlines()[-1] == (
        "fix=true output=DIR writes copies in which all that has one meaning is put right."
    )
    status, out, _ = mal_in_folder("check", *given, "fix=true", "output=fixed")
    assert status == 0
    assert "1 corrected" in out
    assert meant in out
    mended = json.loads((tmp_path / "fixed" / "train.json").read_text())
    assert [len(mended[key]) for key in ("images", "annotations")] == [3, 6]


@pytest.mark.parametrize(("frame", "size"), [("auto", [48, 64]), ("stored", [64, 48])])
def test_an_image_without_a_size_gets_that_of_the_frame_its_boxes_are_in(
    frame: str, size: list[int], mal: Mal, train: CocoFiles, tmp_path: Path
) -> None:
    content = train.content()
    photo = train.images / content["images"][0]["file_name"]
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(photo) as picture:
        picture.save(photo, exif=turned)
    for key in ("width", "height"):
        del content["images"][0][key]
    for entry in content["annotations"][:3]:
        entry.update(bbox=[4, 5, 20, 16], segmentation=None)
    train.rewrite(content)
    status, out, err = mal(
        "check",
        *(one for one in given(train, train) if ".train." in one),
        f"data.orientation={frame}",
        "fix=true",
        f"output={tmp_path / 'fixed'}",
    )
    assert status == 0, out + err
    repaired = json.loads((tmp_path / "fixed" / "train.json").read_text())["images"][0]
    assert [repaired["width"], repaired["height"]] == size
