"""Manifests: what labels and models are made of, checked again; licences; no mask in phase 1."""

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from flows.commands import cli
from flows.settings import composing
from flows.stages import licensing
from flows.store.manifest import manifest_of, sealed
from mal_core.config import EncoderConfig
from mal_core.config.labelers import GuideConfig, LabelerConfig
from mal_core.data.inspection.licences import LicensedPart, card_of, read_licence
from mal_core.errors import LeakError
from mal_core.jobs.phase1 import TrainJob, train_in_child
from mal_core.models.checkpoints import save_labeler
from mal_core.models.labeler import build_labeler
from mal_core.processes.files import sha256_file, write_json
from mal_core.processes.records import to_json
from tests.builders import CocoFiles, write_coco
from tests.flows.conftest import Mal as Command
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal

Mal = Callable[..., tuple[int, str, str]]
TINY = (
    "encoder=random_tiny", "mal=tiny_scenes", "mal.max_steps=1", "mal.batch_size=2",
    "mal.num_workers=0",
)  # fmt: skip
ROUND = ("mal.self_training.rounds=1",)


@pytest.fixture
def mal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mal:
    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main([*arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    files = write_coco(tmp_path, with_crowd=True)
    licences = [{"id": 4, "name": "Attribution-NonCommercial License"}]
    files.rewrite({**files.content(), "licenses": licences})
    return files


def given(files: CocoFiles) -> list[str]:
    return [
        f"data.train.images={files.images}",
        f"data.train.annotations={files.annotations}",
    ]


@pytest.mark.slow
def test_labels_and_labeler_have_a_manifest_that_is_verified(
    files: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    status, _, err = mal("label", *given(files), *TINY, f"workdir={work}")
    assert status == 0, err
    labels = work / "labels" / "train.json"
    manifest = json.loads((work / "labels" / "train.manifest.json").read_text())
    assert manifest["licences"]["commercial"] == "no"
    assert manifest["licences"]["strictest"]["name"] == "Attribution-NonCommercial License"
    read = manifest["phase_1_read"]
    assert read.keys() == {"training", "labeling"}
    assert all(one["clean"] and one["num_images"] == 3 for one in read.values())
    assert {one["name"] for one in read["labeling"]["files"]} == {"boxes.json", "checkpoint.pth"}
    # The crowd has its mask, which no child has seen.
    crowds = [
        [one for one in content["annotations"] if one["iscrowd"]]
        for content in (json.loads(labels.read_text()), files.content())
    ]
    assert crowds[0] == crowds[1]
    assert crowds[0][0]["segmentation"]

    for file in (labels, work / "mal" / "checkpoint.pth"):
        assert mal("verify", str(file))[:2] == (0, "everything is as the manifest says\n")
    content = files.content()
    content["annotations"][0]["bbox"][0] += 1
    files.rewrite(content)
    labels.write_text(labels.read_text() + " ")
    status, _, err = mal("verify", str(labels))
    assert status == 1
    assert "2 differences" in err
    assert "train.json: was" in err
    assert "train.annotations: was" in err


@pytest.mark.slow
def test_a_named_guide_comes_to_the_network_of_the_two_commands_and_manifests_name_both(
    files: CocoFiles, fresh_mal: Command, mal: Mal, tmp_path: Path
) -> None:
    guided = (*given(files), *TINY, *ROUND)
    named = ("train", *guided, "mal.guide=ellipse")
    fresh_mal.end_at("label boxes: 0/", signal.SIGKILL, *named)
    assert "generate-pseudo-labels by ellipse: continuing" in fresh_mal.run(*named)
    guide = tmp_path / "guide.json"
    assert mal("label", *given(files), "labeler=ellipse", f"output={guide}")[0] == 0
    by_file = (*guided, f"mal.guide={guide}")
    status, out, err = mal("train", *by_file, f"workdir={tmp_path / 'two'}")
    assert status == 0, err
    assert "masks for 6 of 6 boxes" in out + err
    one, two = (folder / "mal" for folder in (fresh_mal.workdir, tmp_path / "two"))
    assert (one / "checkpoint.pth").read_bytes() == (two / "checkpoint.pth").read_bytes()

    manifest = json.loads((one / "checkpoint.manifest.json").read_text())
    read = manifest["phase_1_read"]
    assert [file["role"] for file in read["training"]["files"]] == ["boxes", "guide"]
    assert not [file for file in read["guide"]["files"] if file["holds_masks"]]
    stored = fresh_mal.root / "store" / read["guide"]["stage"] / "train.json"
    assert stored.read_bytes() == (fresh_mal.workdir / "guide" / "train.json").read_bytes()
    expect_guide_of_a_file(mal, two / "checkpoint.pth", guide)
    files.rewrite({**files.content(), "licenses": []})
    policy = ("license_policy=commercial", "data.license=own")
    assert mal("check", *guided, "mal.guide=ellipse", *policy)[0] == 0
    assert "guide (guide.json): 'not stated'" in mal("check", *by_file, *policy)[2]


def expect_guide_of_a_file(mal: Mal, checkpoint: Path, guide: Path) -> None:
    """The manifest of a checkpoint names the file that its training saw masks in."""
    manifest = json.loads(checkpoint.with_name("checkpoint.manifest.json").read_text())
    read = manifest["phase_1_read"]["training"]
    assert read["clean"]
    assert [one["name"] for one in read["files"] if one["holds_masks"]] == ["guide.json"]
    assert [one["role"] for one in read["files"] if one["holds_masks"]] == ["guide"]
    assert mal("verify", str(checkpoint))[:2] == (0, "everything is as the manifest says\n")
    guide.write_text(guide.read_text().replace("{", "{ ", 1))
    assert "mal.guide: was" in mal("verify", str(checkpoint))[2]


def test_a_file_without_a_manifest_cannot_be_verified(mal: Mal, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    status, _, err = mal("verify", str(labels))
    assert status == 2
    assert err.endswith(f"{labels}: no such file\n")
    labels.write_text("{}")
    status, _, err = mal("verify", str(labels))
    assert status == 2
    assert "labels.manifest.json: no such file. `mal train`" in err


def test_a_replaced_photo_is_told_as_one_of_all(files: CocoFiles, mal: Mal, tmp_path: Path) -> None:
    output = tmp_path / "labels.json"
    assert mal("label", *given(files), "labeler=box", f"output={output}")[0] == 0
    then = json.loads(manifest_of(output).read_text())["digests"]["train.images"]
    photo = next(files.images.rglob("1.png"))
    photo.write_bytes(photo.read_bytes() + b"x")
    status, _, err = mal("verify", str(output))
    assert status == 1
    (told,) = [line for line in err.splitlines() if "train.images" in line]
    assert told.startswith(f"  - train.images: was {then[:16]}, is ")
    assert told.endswith(" (a photo or more; the digest is of all, so which ones is not known)")


def test_the_policy_refuses_images_and_encoders_by_name(files: CocoFiles, mal: Mal) -> None:
    policy = "license_policy=commercial"
    status, _, err = mal("check", *given(files), policy, "encoder=vit_base_mae")
    assert status == 2
    assert "'cc-by-nc-4.0', stated by timm" in err
    assert "3 images of data.train" in err
    files.rewrite({**files.content(), "licenses": []})
    unstated = (*given(files), policy, "encoder=deit_tiny")
    assert "'not stated'" in mal("check", *unstated)[2]
    assert mal("check", *unstated, "data.license=own")[0] == 0
    assert mal("check", *given(files), "encoder=vit_base_mae")[0] == 0


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A network with random weights, whose file says nothing of the images it has seen."""
    labeler, report = build_labeler(TINY_ENCODER, tiny_mal())
    path = tmp_path / "checkpoint.pth"
    save_labeler(
        path,
        labeler,
        encoder=dataclasses.asdict(TINY_ENCODER),
        mal=dataclasses.asdict(tiny_mal()),
        load_report=str(report),
    )
    return path


def card_for(checkpoint: Path, licence: str) -> None:
    """A manifest as `mal train` leaves it."""
    part = LicensedPart(
        part=licensing.IMAGES, of="a.json", licence=read_licence(licence), stated_by="a test"
    )
    told = {"sha256": sha256_file(checkpoint), "licences": to_json(card_of([part]))}
    write_json(manifest_of(checkpoint), sealed(told))


def test_a_checkpoint_of_unknown_origin_is_not_taken_for_commercial_use(
    files: CocoFiles, mal: Mal, checkpoint: Path
) -> None:
    files.rewrite({**files.content(), "licenses": []})
    asked = (*given(files), f"checkpoint={checkpoint}", "data.license=own")
    policy = "license_policy=commercial"
    status, _, err = mal("check", *asked, policy)
    assert status == 2
    assert "checkpoint (checkpoint.pth): 'not stated'" in err
    assert "checkpoint.manifest.json of this file is not beside it" in err
    assert mal("check", *asked)[0] == 0

    card_for(checkpoint, "own")
    assert mal("check", *asked, policy)[0] == 0
    card_for(checkpoint, "cc-by-nc-4.0")
    err = mal("check", *asked, policy)[2]
    assert "what the checkpoint was made of: images of data.train (a.json): 'cc-by-nc-4.0'" in err
    checkpoint.write_bytes(checkpoint.read_bytes() + b" ")
    assert "checkpoint (checkpoint.pth): 'not stated'" in mal("check", *asked, policy)[2]


def test_a_file_of_weights_has_no_licence_by_the_name_of_its_network(
    files: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    weights = tmp_path / "deit_tiny.safetensors"
    weights.write_bytes(b"any")
    files.rewrite({**files.content(), "licenses": []})
    asked = (
        *given(files), "data.license=own", "license_policy=commercial", "encoder=deit_tiny",
        f"encoder.weights={weights}", "encoder.pretrained=false",
    )  # fmt: skip
    assert (
        "deit_tiny.safetensors): 'not stated', stated by nothing: it is" in mal("check", *asked)[2]
    )
    assert mal("check", *asked, "encoder.license=apache-2.0")[0] == 0


def test_weights_of_other_labelers_take_part_and_an_encoder_that_draws_nothing_does_not(
    tmp_path: Path,
) -> None:
    config = composing.compose([f"store={tmp_path}", "encoder=vit_base_mae"])
    for weights, licence in (
        ("facebook/sam2.1-hiera-tiny", "Apache-2.0"),
        ("/a/dir", "not stated"),
    ):
        drawer = LabelerConfig(name="sam2", weights=weights)
        (part,) = licensing.label_parts(dataclasses.replace(config, labeler=drawer))
        assert (part.part, part.licence.name) == (licensing.DRAWER, licence)
        guide = GuideConfig(name="sam2", weights=weights)
        (part,) = licensing.label_parts(dataclasses.replace(config, guide=guide))
        assert (part.part, part.licence.name) == (licensing.GUIDE_WEIGHTS, licence)
    guided = dataclasses.replace(config, guide=GuideConfig(name="grabcut"))
    assert list(licensing.label_parts(guided)) == []
    grabcut = dataclasses.replace(config, labeler=LabelerConfig(name="grabcut"))
    assert list(licensing.label_parts(grabcut)) == []
    assert licensing.origin_before(grabcut) is None


def test_weights_of_a_guide_are_refused_as_a_guides_before_it_draws(
    files: CocoFiles, mal: Mal, tmp_path: Path
) -> None:
    weights = tmp_path / "tiny"
    weights.mkdir()
    (weights / "config.json").write_text('{"model_type": "sam2"}')
    save_file({"x": np.zeros(1, np.float32)}, weights / "model.safetensors")
    files.rewrite({**files.content(), "licenses": []})
    policy = ("license_policy=commercial", "data.license=own", f"workdir={tmp_path / 'work'}")
    guided = ("mal.guide=sam2", f"guide.weights={weights}")
    status, _, err = mal("train", *given(files), *TINY, *ROUND, *guided, *policy)
    assert status == 2
    assert f"guide weights ({weights}): 'not stated'" in err
    assert "Choose another labeler for mal.guide" in err


def test_training_on_a_file_with_masks_is_caught(files: CocoFiles, tmp_path: Path) -> None:
    encoder: EncoderConfig = TINY_ENCODER
    job = TrainJob(
        images=files.images,
        boxes=files.annotations,
        strict=False,
        encoder=encoder,
        mal=tiny_mal(),
        seed=0,
        output_dir=tmp_path / "out",
    )
    with pytest.raises(LeakError, match="holds masks"):
        train_in_child(job)
    assert not (tmp_path / "out" / "checkpoint.pth").exists()


@pytest.mark.parametrize(
    ("weights", "licence"),
    [
        ("hub", "Apache-2.0 (OpenMMLab) or BSD-3-Clause (torchvision)"),
        ("convnext_atto.d2_in1k", "apache-2.0"),
        ("/some/file.pth", "not stated"),
    ],
)
def test_weights_of_segmenters_have_the_licence_of_whoever_publishes_them(
    weights: str, licence: str, tmp_path: Path
) -> None:
    config = composing.compose([f"store={tmp_path}"])
    recipe = dataclasses.replace(config.segmenters[0], weights=weights)
    (part,) = licensing.segmenter_parts(dataclasses.replace(config, segmenters=(recipe,)))
    assert part.licence.name == licence


SOUND = {
    "kind": "labels", "file": "train.json", "sha256": "0", "settings": {}, "digests": {},
    "versions": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ('{"files": {"x.json": NaN}}', 1, "the manifest itself was altered"),
        ("[]", 1, "the manifest itself was altered"),
        ("[" * 100_000, 2, "train.manifest.json is no manifest (maximum recursion depth"),
        ("\0", 2, "train.manifest.json is no manifest (Expecting value"),
        (
            json.dumps(sealed({"files": 5})),
            2,
            "is no manifest of a published file: see kind, file, sha256, settings, digests, "
            "versions in it.",
        ),
        (
            json.dumps(sealed({**SOUND, "kind": "other"})),
            2,
            "is no manifest of a published file: see kind in it.",
        ),
        (
            json.dumps(sealed({**SOUND, "file": "../../etc/passwd"})),
            2,
            "is no manifest of a published file: see file in it.",
        ),
    ],
)
def test_what_is_no_manifest_is_told(
    text: str, status: int, said: str, mal: Mal, tmp_path: Path
) -> None:
    (tmp_path / "train.json").write_text("{}")
    (tmp_path / "train.manifest.json").write_text(text)
    seen, _, err = mal("verify", str(tmp_path / "train.json"))
    assert (seen, said in err) == (status, True), err
