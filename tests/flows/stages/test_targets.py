"""Where a command shall write is looked at before it works: an input, a pipe, a file of others."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.settings import composing
from flows.stages import targets
from tests.builders import CocoFiles, write_coco
from tests.mal_core.formats.drawn_formats import draw, write_yolo

Mal = Callable[..., tuple[int, str, str]]
DATA = "data.train.images={images} data.train.annotations={labels}"
COMMANDS = {
    "check": f"check {DATA}",
    "repair": f"check {DATA} fix=true",
    "label": f"label labeler=box {DATA}",
    "run": f"run labeler=box {DATA} data.val.images={{images}} data.val.annotations={{labels}}",
    "evaluate": "evaluate labels={labels} human={labels}",
    "score": "score labels={labels} images={images}",
    "calibrate": "calibrate labels={labels} human={labels}",
    "refine": "refine pseudo_labels={labels} images={images}",
    "bake-off": f"bake-off labelers=[box,ellipse] {DATA}",
    "export": "export workdir=no_checkpoint_is_there",
    "export-labels": "export-labels labels={labels} format=yolo",
    "review": "review labels={labels} images={images}",
    "import": "review import labels={labels} corrections={labels}",
}


@pytest.fixture
def mal(mal_in_folder: Mal) -> Mal:
    return mal_in_folder


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path / "data")


def words(command: str, files: CocoFiles) -> list[str]:
    return COMMANDS[command].format(images=files.images, labels=files.annotations).split()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_replaces_a_pipe_nor_works_for_one(
    command: str, mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    status, out, err = mal(*words(command, files), "output=pipe")
    assert (status, out) == (2, "")
    assert err == (
        f"mal: output={tmp_path / 'pipe'} is a device, a pipe or another stream, and only files "
        "can be written whole. Name a new place on a disk.\n"
    )
    assert (tmp_path / "pipe").is_fifo()
    assert not [*(tmp_path / "store").glob("*/*")]  # nothing was computed


@pytest.mark.parametrize("command", COMMANDS)
def test_the_place_is_looked_at_before_the_input(
    command: str, mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    files.annotations.write_text("{")
    (tmp_path / "file").touch()
    status, out, err = mal(*words(command, files), "output=file/below")
    assert (status, out) == (2, "")
    told = f"mal: output={tmp_path / 'file' / 'below'} lies below {tmp_path / 'file'}, which is a"
    assert err.startswith(told)


FOLDERS = {"repair", "bake-off", "export-labels", "review"}
"""Commands whose `output` is a folder."""


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - FOLDERS - {"export"}))
def test_no_command_replaces_a_file_that_none_has_written(
    command: str, mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    theirs = tmp_path / "human.json"
    shutil.copyfile(files.annotations, theirs)
    files.annotations.write_text("{")  # the place is looked at before the input
    status, out, err = mal(*words(command, files), f"output={theirs}")
    assert (status, out) == (2, "")
    assert err == (
        f"mal: output={theirs} is there already and was not written by `mal`, so nothing replaces "
        "it. Move it away, or choose another place.\n"
    )
    assert theirs.read_text() != "{"


@pytest.mark.parametrize("name", ["mine.skipped.json", "mine.manifest.json"])
def test_labels_replace_no_other_file_beside_them(
    name: str, mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    (tmp_path / name).write_text('{"images": []}')
    status, _, err = mal(*words("label", files), "output=mine.json")
    assert status == 2
    assert err.startswith(f"mal: {tmp_path / name}, which is written with output=")
    assert "was not written by `mal`" in err
    assert (tmp_path / name).read_text() == '{"images": []}'


def test_other_metrics_replace_those_of_the_command_before(
    mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer.json"
    content = json.loads(files.annotations.read_text())
    fewer.write_text(json.dumps({**content, "annotations": content["annotations"][1:]}))
    for labels in (files.annotations, fewer):
        told = ["evaluate", f"labels={labels}", f"human={files.annotations}", "output=m.json"]
        status, _, err = mal(*told)
        assert status == 0, err
        assert json.loads((tmp_path / "m.json").read_text())["labels"] == str(labels)
    (tmp_path / "m.json").write_text("{}")
    status, _, err = mal(*told)
    assert status == 2
    assert "was changed since `mal` wrote it" in err


def test_a_review_looks_at_its_place_before_the_photos_of_the_working_folder(
    mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    config = composing.compose([*words("label", files)[2:], "workdir=w"])
    files.annotations.rename(tmp_path / "labels.json")  # what a look at the photos would miss
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.yaml").write_text(composing.as_yaml(config))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    status, _, err = mal("review", "workdir=w", "labels=labels.json", "output=taken")
    assert (status, "holds notes.txt, which `mal review` has not written" in err) == (2, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_replaces_a_file_that_it_reads(command: str, mal: Mal, files: CocoFiles) -> None:
    before = files.annotations.read_bytes()
    given = words(command, files)
    read = "" if "labels=" in COMMANDS[command] else f"second_ruler={files.annotations}"
    status, _, err = mal(*filter(None, [*given, read]), f"output={files.annotations}")
    assert status == 2
    assert f"output={files.annotations} is the input. Choose another place." in err
    assert files.annotations.read_bytes() == before


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"run", "export", "calibrate"}))
def test_the_same_command_again_succeeds(
    command: str, mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    if command == "import":
        (tmp_path / "d.json").write_text('{"review": 1, "decisions": []}')
    given = [
        "corrections=d.json" if command == "import" and one.startswith("corrections=") else one
        for one in words(command, files)
    ]
    said = [mal(*given, "output=out") for _ in range(2)]
    assert [one[0] for one in said] == [0, 0], said
    if command != "bake-off":  # which says seconds
        assert said[0][1] == said[1][1]


def test_what_is_written_beside_the_output_is_no_input_either(
    mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    boxes = tmp_path / "out.skipped.json"
    shutil.copy(files.annotations, boxes)
    given = CocoFiles(files.images, boxes)
    status, _, err = mal(*words("label", given), "output=out.json")
    assert status == 2
    assert f"{boxes}, which is written with output={tmp_path / 'out.json'}, is the input" in err


def test_a_working_folder_whose_labels_are_read_is_refused(
    mal: Mal, files: CocoFiles, tmp_path: Path
) -> None:
    own = tmp_path / "w" / "labels" / "train.json"
    own.parent.mkdir(parents=True)
    shutil.copy(files.annotations, own)
    status, _, err = mal(*words("label", CocoFiles(files.images, own)), "workdir=w")
    assert status == 2
    assert f"{own} is the input" in err


def test_labels_that_return_as_a_folder_replace_their_own_and_no_other(
    mal: Mal, tmp_path: Path
) -> None:
    images, labels = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    given = (
        f"label data=yolo labeler=box data.train.images={images} data.train.annotations={labels}"
    )
    for _ in range(2):
        assert mal(*given.split(), "output=out")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "a.txt",
        "b.txt",
        "data.yaml",
    ]
    (tmp_path / "out" / "a.txt").write_text("0 0.1 0.1 0.2 0.2 0.1 0.2\n")
    status, _, err = mal(*given.split(), "output=out", "labeler=ellipse")
    assert status == 2
    assert "has a.txt, changed since `mal label data=yolo` wrote that" in err
    assert mal(*given.split(), f"output={labels}")[0] == 2


def test_all_files_of_the_settings_are_sources_and_no_place_to_write(tmp_path: Path) -> None:
    given = {"mal.guide": "g.json", "boxes": "b.json", "labels": "l.json", "human": "h.json"}
    given |= {"second_ruler": "r.json", "checkpoint": "c.pth"}
    for name in given.values():
        (tmp_path / name).write_text("{}")
    written = [f"workdir={tmp_path / 'w'}", f"output={tmp_path / 'o'}", f"store={tmp_path / 's'}"]
    found: set[str] = set()
    for key, name in given.items():
        trained = ["checkpoint=" + str(tmp_path / "c.pth")] if key == "boxes" else []
        config = composing.compose([f"{key}={tmp_path / name}", *trained, *written])
        assert tmp_path / name in targets.sources(config)
        found |= {path.name for path in targets.sources(config)}
    assert not found & {"w", "o", "s"}
