"""`mal review` and `mal review import` from the user's end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.settings import composing
from tests.builders import CocoFiles
from tests.mal_core.review.reviewed import MASKS, by_id, write_labels

Mal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mal(mal_in_folder: Mal) -> Mal:
    return mal_in_folder


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_labels(tmp_path / "data")


def test_a_review_goes_out_and_comes_back(mal, files, tmp_path):
    labels, images = f"labels={files.annotations}", f"images={files.images}"
    status, out, _ = mal("review", labels, images, "worst=4", "output=q")
    assert status == 0
    assert out.splitlines()[0].startswith(f"4 of {MASKS} masks to review, expected IoU 0.10 to ")
    written = {path.name for path in (tmp_path / "q").glob("[!.]*")}
    assert written == {"review.html", "queue.json", "label_studio", "cvat"}
    # Again: the folder is our own.
    assert mal("review", labels, images, "worst=4", "output=q")[:2] == (0, out)
    remembered = (tmp_path / "store" / "reviews.jsonl").read_text()
    assert json.loads(remembered) == {"folder": str(tmp_path / "q")}
    listed = json.loads((tmp_path / "q" / "queue.json").read_text())["queue"]
    ids = [one["annotation_id"] for one in listed]
    choices = [{"annotation_id": key, "decision": "reject"} for key in ids[:1]]
    (tmp_path / "d.json").write_text(json.dumps({"review": 1, "decisions": choices}))
    given = (labels, "corrections=d.json", "output=c.json")
    status, out, _ = mal("review", "import", *given)
    assert status == 0
    assert "1 masks rejected: their boxes stay, without a mask" in out
    record = json.loads((tmp_path / "c.changes.json").read_text())
    assert record["rejected"] == ids[:1]
    assert by_id(tmp_path / "c.json")[ids[0]]["review"] == "rejected"
    status, out, _ = mal("review", labels, images, "corrections=d.json", "share=1", "output=q1")
    assert out.splitlines()[0].startswith(f"{MASKS - 1} of {MASKS} masks to review")
    # What is decided is not asked again.
    status, out, _ = mal("review", "labels=c.json", images, "share=1", "output=q2")
    assert out.splitlines()[0].startswith(f"{MASKS - 1} of {MASKS - 1} masks to review")


def test_labels_of_a_working_folder_find_their_photos(mal, files, tmp_path):
    boxes = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    work = tmp_path / "w"
    (work / "labels").mkdir(parents=True)
    (work / "labels" / "train.json").write_text(files.annotations.read_text())
    config = composing.compose([*boxes, f"workdir={work}"])
    (work / "config.yaml").write_text(composing.as_yaml(config))
    status, out, _ = mal("review", "workdir=w", "share=0.5")
    assert status == 0
    assert out.splitlines()[-1] == str(work / "review")
    assert (work / "review" / "review.html").is_file()
    decisions = work / "review" / "decisions.json"
    decisions.write_text('{"review": 1, "decisions": []}')
    status, _, err = mal("review", "workdir=w", "share=1")
    assert status == 0
    assert f"note: decisions.json in {work / 'review'} was not written by `mal review`" in err
    assert decisions.is_file()
    queue = json.loads((work / "review" / "queue.json").read_text())["queue"]
    assert len(queue) == MASKS


def test_masks_without_scores_are_scored_first(mal, files, tmp_path):
    content = files.content()
    for entry in content["annotations"]:
        for key in ("score", "score_interval", "score_components"):
            entry.pop(key, None)
    files.rewrite(content)
    given = (f"labels={files.annotations}", f"images={files.images}", "output=q")
    status, _, _ = mal("review", *given)
    assert status == 0
    queue = json.loads((tmp_path / "q" / "queue.json").read_text())["queue"]
    assert len(queue) == MASKS
    assert len({one["score"] for one in queue}) > 1
    assert files.content() == content


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("review output=x", "train.json: no such file. Give labels=FILE"),
        ("review labels={labels} output=x", "Give images=DIR"),
        ("review labels={labels} images=nowhere output=x", "no such folder"),
        ("review labels={labels} images={images}", "Give output=DIR"),
        ("review labels={labels} images={labels} output=x", "no such folder"),
        ("review labels={labels} images={empty} output=x", "images is in"),
        ("review labels={labels} images={images} output=x worst=0", "worst=0 is not possible"),
        ("review labels={labels} images={images} output=x share=5", "share=5.0 is not possible"),
        ("review labels={labels} images={images} output=x share=0.1 worst=3", "give one of the"),
        (
            "review labels={labels} images={images} output={empty}/..",
            "has not written",
        ),
        ("review import labels={labels} output=x.json", "needs labels=FILE corrections=FILE"),
        ("review import labels={labels} corrections=no.json output=x.json", "no such file"),
        ("review import labels={labels} corrections={labels} output={labels}", "is the input"),
        ("review import labels={labels} corrections={labels} output=x.xml", "Name it x.json"),
        ("review export labels={labels}", "is no KEY=VALUE"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(given, said, mal, files, tmp_path):
    (tmp_path / "empty").mkdir()
    places = {"labels": files.annotations, "images": files.images, "empty": tmp_path / "empty"}
    status, out, err = mal(*given.format(**places).split())
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "x").exists()


def test_wrong_corrections_end_with_status_2_and_name_file_and_id(mal, files, tmp_path):
    content = {"review": 1, "decisions": [{"annotation_id": 99999, "decision": "reject"}]}
    (tmp_path / "d.json").write_text(json.dumps(content))
    given = (f"labels={files.annotations}", "corrections=d.json", "output=c.json")
    status, _, err = mal("review", "import", *given)
    assert status == 2
    assert "d.json: 1 problem" in err
    assert "annotation 99999 is not in the labels" in err
