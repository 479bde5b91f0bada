"""Labels that a command has written again have a manifest: licences and digests go on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands import cli
from flows.store.manifest import manifest_of, sealed
from mal_core.data.inspection.licences import LicensedPart, card_of, read_licence
from mal_core.processes.files import sha256_file, write_json
from mal_core.processes.records import to_json
from tests.builders import CocoFiles, write_coco
from tests.mal_core.evaluation.test_calibration import write_pair

Mal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mal:
    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main([*arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def data(tmp_path: Path, licence: str) -> CocoFiles:
    files = write_coco(tmp_path / "data")
    content = files.content()
    for image in content["images"]:
        image["license"] = 4
    files.rewrite({**content, "licenses": [{"id": 4, "name": licence}]})
    return files


def rewritten(mal: Mal, files: CocoFiles, made: Path) -> dict[str, Path]:
    """The labels of a run, written again by three commands, one after the other."""
    given = (f"data.train.images={files.images}", f"data.train.annotations={files.annotations}")
    labels, reviewed = made / "labels.json", made / "reviewed.json"
    scored, refined = made / "scored.json", made / "refined.json"
    assert mal("label", *given, "labeler=ellipse", f"output={labels}")[0] == 0
    decisions = made / "decisions.json"
    decisions.write_text(files.annotations.read_text())
    photos = f"images={files.images}"
    commands = (
        ("review", "import", f"labels={labels}", f"corrections={decisions}", f"output={reviewed}"),
        ("score", f"labels={reviewed}", photos, f"output={scored}"),
        ("refine", f"labels={scored}", photos, f"output={refined}"),
    )
    for command in commands:
        status, _, err = mal(*command)
        assert status == 0, err
    return {"labels": labels, "review": reviewed, "scores": scored, "refinement": refined}


def test_licences_go_on_and_each_file_is_verified(mal: Mal, tmp_path: Path) -> None:
    files = data(tmp_path, "Attribution-NonCommercial License")
    made = rewritten(mal, files, tmp_path)
    told = {
        kind: json.loads(file.with_name(f"{file.stem}.manifest.json").read_text())
        for kind, file in made.items()
    }
    for kind, file in made.items():
        assert told[kind]["kind"] == kind
        assert told[kind]["licences"] == told["labels"]["licences"]
        assert told[kind]["licences"]["commercial"] == "no"
        assert mal("verify", str(file))[:2] == (0, "everything is as the manifest says\n")
    assert told["review"]["digests"].keys() == {"labels", "corrections"}
    assert told["scores"]["digests"] == {"labels": told["review"]["sha256"]}
    decisions = tmp_path / "decisions.json"
    decisions.write_text(decisions.read_text() + " ")
    status, _, err = mal("verify", str(made["review"]))
    assert status == 1
    assert f"  - corrections: was {told['review']['digests']['corrections'][:16]}, is " in err


@pytest.mark.parametrize(
    ("licence", "permitted"), [("CC0", True), ("Attribution-NonCommercial License", False)]
)
def test_the_policy_judges_rewritten_labels(
    licence: str, permitted: bool, mal: Mal, tmp_path: Path
) -> None:
    files = data(tmp_path, licence)
    refined = rewritten(mal, files, tmp_path)["refinement"]
    files.rewrite({**files.content(), "licenses": [{"id": 4, "name": "CC0"}]})
    asked = (
        "check",
        f"data.train.images={files.images}",
        f"data.train.annotations={files.annotations}",
        "license_policy=commercial",
        f"pseudo_labels={refined}",
    )
    status, _, err = mal(*asked)
    assert (status == 0) == permitted, err
    if not permitted:
        told = "what the given labels were made of: images of data.train"
        assert f"{told} ({files.annotations.name}): '{licence}'" in err
    refined.write_text(refined.read_text() + " ")
    status, _, err = mal(*asked)
    assert status == 2
    assert (
        "given labels (refined.json): 'not stated', stated by nothing (refined.manifest.json of "
        "this file is not beside it)"
    ) in err


def test_labels_without_a_manifest_give_none_on(mal: Mal, tmp_path: Path) -> None:
    files = data(tmp_path, "CC0")
    made = tmp_path / "scored.json"
    given = (f"labels={files.annotations}", f"images={files.images}", f"output={made}")
    assert mal("score", *given)[0] == 0
    assert made.is_file()
    assert not (tmp_path / "scored.manifest.json").exists()


def test_calibrated_labels_carry_on_what_they_were_made_of(mal: Mal, tmp_path: Path) -> None:
    labels, human = write_pair(tmp_path)
    licence = read_licence("CC-BY-4.0")
    part = LicensedPart(part="images of data.train", of="a", licence=licence, stated_by="b")
    card = to_json(card_of([part]))
    beside = {"kind": "labels", "sha256": sha256_file(labels), "licences": card}
    write_json(manifest_of(labels), sealed(beside))
    made = tmp_path / "fitted.json"
    assert mal("calibrate", f"labels={labels}", f"human={human}", f"output={made}")[0] == 0
    told = json.loads(manifest_of(made).read_text())
    assert (told["kind"], told["licences"]) == ("calibration", card)
    assert told["digests"] == {"labels": sha256_file(labels), "human": sha256_file(human)}
    assert mal("verify", str(made))[:2] == (0, "everything is as the manifest says\n")
