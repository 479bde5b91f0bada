"""Checkpoints of the reference implementation: every tensor accounted for, equal outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mal_core.errors import CheckpointError
from mal_core.models.checkpoints import load_labeler
from mal_core.models.official import load_official_checkpoint, resample_positions

PARITY = Path(__file__).parents[4] / "shared" / "parity"
CHECKPOINT = PARITY / "official_small.ckpt"
recorded = pytest.mark.skipif(not PARITY.is_dir(), reason="the recordings are not here")


def write_checkpoint(path: Path, change: object = None) -> Path:
    """A small file in the reference's format, with one change."""
    width, head = 96, 8
    tensors = {
        "backbone.cls_token": torch.zeros(1, 1, width),
        "backbone.pos_embed": torch.zeros(1, 1 + 16, width),
        "backbone.norm.weight": torch.ones(width),
        "backbone.norm.bias": torch.zeros(width),
        "backbone.patch_embed.proj.3.3.weight": torch.zeros(width, width, 1, 1),
        "backbone.patch_embed.proj.3.3.bias": torch.zeros(width),
        "roi_head.mlp1.weight": torch.zeros(head, width),
        "roi_head.mlp1.bias": torch.zeros(head),
        "roi_head.mlp2.weight": torch.zeros(head, head),
        "roi_head.mlp2.bias": torch.zeros(head),
    }
    for stage, (before, after) in enumerate([(3, 12), (12, 24), (24, 48), (48, 96)]):
        stem = f"backbone.patch_embed.proj.{stage}"
        tensors[f"{stem}.0.weight"] = torch.zeros(after, before, 3, 3)
        tensors[f"{stem}.1.weight"] = torch.ones(after)
        tensors[f"{stem}.1.bias"] = torch.zeros(after)
    for index, before in enumerate([width, head, head, head]):
        tensors[f"mask_head.convs.{index}.conv.weight"] = torch.zeros(head, before, 3, 3)
        tensors[f"mask_head.convs.{index}.conv.bias"] = torch.zeros(head)
    block = {"norm1": (width,), "norm2": (width,), "attn.qkv": (288, width)}
    block |= {"attn.proj": (width, width), "mlp.fc1": (384, width), "mlp.fc2": (width, 384)}
    for name, shape in block.items():
        tensors[f"backbone.blocks.0.{name}.weight"] = torch.zeros(shape)
        tensors[f"backbone.blocks.0.{name}.bias"] = torch.zeros(shape[0])
    both = {f"{n}.{key}": value for n in ("student", "teacher") for key, value in tensors.items()}
    if callable(change):
        change(both)
    torch.save({"state_dict": both}, path)
    return path


@recorded
@pytest.mark.parametrize("network", ["student", "teacher"])
def test_the_whole_forward_equals_the_recording(network):
    recording = np.load(PARITY / "forward.npz")
    labeler = load_official_checkpoint(CHECKPOINT)
    image = torch.from_numpy(recording["image"]).float()
    with torch.no_grad():
        logits = getattr(labeler, network)(image, torch.from_numpy(recording["boxes_xyxy"]))
    # Logits reach 110, where float32 resolves 8e-6: in float64 the recording is off by 1.2e-4.
    wanted = recording[f"{network}_logits"]
    np.testing.assert_allclose(logits, wanted, atol=1e-4, rtol=1e-6)


@recorded
def test_the_forward_without_scale_adjustment_equals_the_recording():
    recording = np.load(PARITY / "forward.npz")
    labeler = load_official_checkpoint(CHECKPOINT)
    labeler.student.scale_adjustment = False
    image = torch.from_numpy(recording["image"]).float()
    with torch.no_grad():
        logits = labeler.student(image, torch.from_numpy(recording["boxes_xyxy"]))
    wanted = recording["student_logits_no_scale_adjust"]
    np.testing.assert_allclose(logits, wanted, atol=1e-4, rtol=0)


@recorded
def test_the_first_tokens_equal_the_recording():
    recording = np.load(PARITY / "forward.npz")
    labeler = load_official_checkpoint(CHECKPOINT)
    image = torch.from_numpy(recording["image"]).float()
    with torch.no_grad():
        tokens = labeler.student.encoder.vit.forward_features(image)[:, :5]
    np.testing.assert_allclose(tokens, recording["tokens"], atol=1e-4, rtol=0)


@recorded
def test_one_teacher_update_equals_the_recording():
    recording = np.load(PARITY / "ema.npz")
    labeler = load_official_checkpoint(CHECKPOINT)
    labeler.teacher_momentum = float(recording["momentum"])
    student, teacher = (getattr(labeler, n).pixel_head.convs[0] for n in ("student", "teacher"))
    with torch.no_grad():
        student.weight.copy_(torch.from_numpy(recording["student"]))
        teacher.weight.copy_(torch.from_numpy(recording["teacher_before"]))
    labeler.update_teacher()
    np.testing.assert_allclose(teacher.weight, recording["teacher_after"], atol=1e-7, rtol=0)


@recorded
def test_every_tensor_of_the_file_arrives():
    tensors = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    labeler = load_official_checkpoint(CHECKPOINT)
    ours = [*labeler.student.state_dict().values(), *labeler.teacher.state_dict().values()]
    assert len(ours) == len(tensors)
    assert sum(v.double().sum() for v in ours) == pytest.approx(
        float(sum(v.double().sum() for v in tensors.values()))
    )


@pytest.mark.parametrize(
    ("area", "silent"), [(1023, False), (1024, True), (9216, True), (9217, False)]
)
def test_boxes_on_a_size_boundary_get_the_references_zeros(tmp_path, area, silent):
    def one_everywhere(tensors: dict[str, torch.Tensor]) -> None:
        for key in tensors:
            if key.endswith((".mlp2.bias", ".conv.bias")):
                tensors[key] += 1

    labeler = load_official_checkpoint(write_checkpoint(tmp_path / "a.ckpt", one_everywhere))
    logits = labeler.student(torch.zeros(1, 3, 64, 64), torch.tensor([[0.0, 0, area, 1]]))
    assert bool((logits == 0).all()) is silent


def test_an_unexplained_key_is_named(tmp_path):
    path = write_checkpoint(
        tmp_path / "a.ckpt", lambda t: t.update({"student.roi_head.mlp3.bias": torch.zeros(8)})
    )
    with pytest.raises(CheckpointError, match=r"Unexplained of the student: roi_head\.mlp3\.bias"):
        load_official_checkpoint(path)


def test_an_unexplained_part_is_named(tmp_path):
    path = write_checkpoint(
        tmp_path / "a.ckpt", lambda t: t.update({"critic.weight": torch.zeros(8)})
    )
    with pytest.raises(CheckpointError, match=r"Unexplained: critic\.weight"):
        load_official_checkpoint(path)


def test_a_missing_tensor_is_named(tmp_path):
    path = write_checkpoint(
        tmp_path / "a.ckpt", lambda t: t.pop("teacher.backbone.blocks.0.mlp.fc2.bias")
    )
    with pytest.raises(
        CheckpointError, match=r"Missing of the teacher: .*blocks\.0\.mlp\.fc2\.bias"
    ):
        load_official_checkpoint(path)


def test_a_file_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not the reference's format"):
        load_official_checkpoint(path)


def test_text_is_refused(tmp_path):
    (tmp_path / "a.ckpt").write_text("these are no weights")
    with pytest.raises(CheckpointError, match="no readable file of weights"):
        load_official_checkpoint(tmp_path / "a.ckpt")


def test_labeling_recognises_the_format(tmp_path):
    labeler, config = load_labeler(write_checkpoint(tmp_path / "a.ckpt"))
    assert config.compat_official
    assert (config.head_channels, config.head_convs, config.crop_size) == (8, 4, 512)
    assert labeler.student.encoder.patch_size == 16


def test_positions_keep_their_order_when_resampled():
    ramp = torch.arange(16.0).view(1, 16, 1)
    positions = torch.cat([torch.full((1, 1, 1), -1.0), ramp], dim=1)
    assert resample_positions(positions, 4, 4) is positions
    larger = resample_positions(positions, 8, 8)
    assert larger.shape == (1, 65, 1)
    assert larger[0, 0, 0] == -1
    assert larger[0, 1:, 0].view(8, 8).diff(dim=0).min() > 0
