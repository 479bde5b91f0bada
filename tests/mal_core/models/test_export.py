"""The ONNX file says what the network says, and labels the same masks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from mal_core.config import EncoderConfig, RefinementConfig, SelfTrainingConfig
from mal_core.errors import CheckpointError
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.views import Seen, draw_mask, to_label
from mal_core.models.checkpoints import load_labeler, save_labeler
from mal_core.models.export import export_onnx
from mal_core.models.labeler import build_labeler
from mal_core.types import PseudoLabel
from tests.mal_core.drawn import TINY_ENCODER, cut_views, draw_ellipses, tiny_mal

PARITY = Path(__file__).parents[4] / "shared" / "parity"
BOXES = np.array(  # one of every size, and both borders between them
    [[0, 0, 20, 20], [5, 5, 37, 37], [0, 0, 50, 50], [0, 0, 96, 96], [3, 0, 300, 200]], np.float32
)
CROPS = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)

# An export takes seconds for each layer, and a second one of a kind proves nothing.
ENCODER = dataclasses.replace(TINY_ENCODER, options={**TINY_ENCODER.options, "depth": 1})


# Attends inside of windows, with relative positions.
SAM = EncoderConfig(
    name="samvit_base_patch16",
    pretrained=False,
    options={"embed_dim": 24, "depth": 1, "num_heads": 2, "neck_chans": 16, "window_size": 3},
)


def write_checkpoint(path: Path, encoder: EncoderConfig = ENCODER, **changes: object) -> Path:
    config = tiny_mal(head_convs=1, **changes)
    labeler, report = build_labeler(encoder, config)
    with torch.no_grad():  # masks of some size, and a teacher that differs
        for network, factor in ((labeler.student, 3.0), (labeler.teacher, 2.0)):
            for part in (network.instance_head, network.pixel_head):
                for weight in part.parameters():
                    weight.mul_(factor)
    save_labeler(
        path,
        labeler,
        encoder=dataclasses.asdict(encoder),
        mal=dataclasses.asdict(config),
        load_report=str(report),
    )
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "changes",
    [
        {"scale_adjustment": False, "label_network": "teacher"},
        {"scale_adjustment": True, "label_network": "both", "label_crop_size": 96},
        {"scale_adjustment": True, "compat_official": True},
        {"scale_adjustment": False, "compat_official": True},
        {"scale_adjustment": False, "encoder": SAM},
        {"scale_adjustment": True, "self_training": SelfTrainingConfig(rounds=1)},
    ],
    ids=str,
)
def test_logits_agree(changes, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth", **changes)
    labeler, config = load_labeler(checkpoint)
    metadata = export_onnx(checkpoint, tmp_path / "labeler.onnx", config)
    side = config.label_crop_size or config.crop_size
    assert metadata["crop_size"] == str(side)
    crops = np.random.default_rng(1).integers(0, 255, (5, side, side, 3), dtype=np.uint8)
    feed = {"crops": crops, "boxes_xyxy": BOXES}
    if labeler.student.outline_head is not None:
        feed["box_masks"] = np.ones((5, side // 4, side // 4), np.float32)
    ours = MaskWriter(labeler, config).logits(*map(torch.from_numpy, feed.values()))
    theirs = session(tmp_path / "labeler.onnx").run(None, feed)[0]
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and what it is exported to; an export takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)  # whichever test comes first
    checkpoint = write_checkpoint(folder / "checkpoint.pth", scale_adjustment=True)
    _, config = load_labeler(checkpoint)
    export_onnx(checkpoint, folder / "labeler.onnx", config)
    return folder


def test_a_batch_may_have_any_size_and_the_file_says_what_it_wants(exported):
    network = session(exported / "labeler.onnx")
    whole = network.run(None, {"crops": CROPS, "boxes_xyxy": BOXES})[0]
    for row in range(len(CROPS)):
        one = {"crops": CROPS[row : row + 1], "boxes_xyxy": BOXES[row : row + 1]}
        np.testing.assert_allclose(network.run(None, one)[0][0], whole[row], atol=1e-4)
    facts = network.get_modelmeta().custom_metadata_map
    assert facts == {
        "crop_size": "64",
        "test_expansion": "0.6",
        "mask_threshold": "0.5",
        "label_network": "student",
    }


@pytest.mark.parametrize("refined", [False, True])
def test_it_labels_the_same_masks(refined, exported, tmp_path):
    refinement = RefinementConfig(enabled=refined)
    config = tiny_mal(
        head_convs=1, scale_adjustment=True, extra_expansions=(0.3,), refinement=refinement
    )
    labeler, _ = load_labeler(exported / "checkpoint.pth")
    network, writer = session(exported / "labeler.onnx"), MaskWriter(labeler, config)
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    for record in dataset.images:
        boxes = [box for box in dataset.boxes if box.image_id == record.image_id]
        (item,) = cut_views(record, boxes, dataset.image_root, config)
        feed = {
            "crops": np.stack([view.crop for view in item.views]),
            "boxes_xyxy": np.array([item.annotation.box_xyxy] * 2, np.float32),
        }
        logits = network.run(None, feed)[0]
        (drawn,) = writer.draw([item])
        ours = to_label(drawn, writer.quality)
        seen = [Seen(logits=one) for one in logits]
        theirs = to_label(draw_mask(item, seen, config), writer.quality)
        assert isinstance(ours, PseudoLabel)
        assert isinstance(theirs, PseudoLabel)
        assert theirs.rle == ours.rle
        assert theirs.components["doubt"] == pytest.approx(ours.components["doubt"], abs=1e-3)


def test_a_checkpoint_of_the_reference_implementation_is_exported_too(tmp_path):
    files = sorted(PARITY.glob("**/*.ckpt")) + sorted(PARITY.glob("**/*checkpoint*.pth"))
    if not files:
        pytest.skip("the recordings of the reference implementation are not here")
    labeler, config = load_labeler(files[0])
    export_onnx(files[0], tmp_path / "labeler.onnx", config)
    side = config.crop_size
    crops = np.random.default_rng(1).integers(0, 255, (5, side, side, 3), dtype=np.uint8)
    ours = MaskWriter(labeler, config).logits(torch.from_numpy(crops), torch.from_numpy(BOXES))
    theirs = session(tmp_path / "labeler.onnx").run(None, {"crops": crops, "boxes_xyxy": BOXES})[0]
    np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-3)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.pth").write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="no readable file of weights"):
        export_onnx(tmp_path / "a.pth", tmp_path / "a.onnx", tiny_mal())
    assert not (tmp_path / "a.onnx").exists()
