"""The training loop: resume, determinism, refusals, and that it learns masks from boxes."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._inductor import config as inductor_config

from mal_core.config import CrfConfig, EncoderConfig
from mal_core.data.crops import TrainBatches
from mal_core.errors import ConfigError, TrainingError
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.models.labeler import build_labeler
from mal_core.training.loop import LabelerTrainer, train_labeler
from mal_core.types import PseudoLabel
from tests.mal_core.drawn import TINY_ENCODER, cut_views, draw_ellipses, tiny_mal
from tests.mal_core.worker_runs import train_job, wait_for_step

NO_DROP_PATH = dataclasses.replace(TINY_ENCODER, drop_path=0.0)


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Student tensors of a checkpoint."""
    return dict(torch.load(checkpoint, weights_only=True)["student"])


def equal_weights(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the very same numbers."""
    first, second = weights_of(a), weights_of(b)
    return all(torch.equal(first[name], second[name]) for name in first | second)


def losses_of(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of every line of a run's curves."""
    lines = [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    runs = {
        name: train_labeler(
            dataset, TINY_ENCODER, tiny_mal(), seed=seed, output_dir=tmp_path / name
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    assert equal_weights(runs["a"], runs["b"])
    assert not equal_weights(runs["a"], runs["c"])


def test_data_workers_do_not_change_the_result(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    a, b = (
        train_labeler(
            dataset, TINY_ENCODER, tiny_mal(num_workers=n), seed=0, output_dir=tmp_path / str(n)
        )
        for n in (0, 2)
    )
    assert equal_weights(a, b)


def test_an_interrupted_run_continues_on_the_same_trajectory(tmp_path, monkeypatch):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    whole = train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "whole")
    step = LabelerTrainer.train_step

    def killed_at_six(self, *batches):
        if self.step == 6:
            raise KeyboardInterrupt
        return step(self, *batches)

    with monkeypatch.context() as patch:
        patch.setattr(LabelerTrainer, "train_step", killed_at_six)
        with pytest.raises(KeyboardInterrupt):
            train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "parts")
    assert (tmp_path / "parts" / "state.pth").exists()
    parts = train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "parts")
    assert equal_weights(whole, parts)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")


LONG = {"max_steps": 150, "crop_size": 32, "head_convs": 1}
"""Steps enough that a signal arrives before the last one; how large they are is no matter."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folder of a run that nothing ended."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    dataset, _ = draw_ellipses(folder / "images", 4)
    config = tiny_mal(**LONG, checkpoint_every=1000)
    train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=folder / "whole")
    return folder


@pytest.mark.parametrize(
    ("ending", "status", "checkpoint_every"), [(signal.SIGTERM, 143, 1000), (signal.SIGKILL, -9, 7)]
)
@pytest.mark.slow
def test_a_killed_run_continues_and_equals_the_uninterrupted_run(
    tmp_path, uninterrupted, ending, status, checkpoint_every
):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    config = tiny_mal(**LONG, checkpoint_every=checkpoint_every)
    job = train_job(tmp_path, dataset, config)
    child = subprocess.Popen(
        [sys.executable, "-m", "mal_core.jobs.worker", "train", str(job)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MAL_PROGRESS": "events"},
    )
    wait_for_step(tmp_path / "parts" / "scalars.jsonl", 20)
    child.send_signal(ending)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == status, output
    assert (tmp_path / "parts" / "state.pth").exists()
    parts = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "parts")
    assert equal_weights(uninterrupted / "whole" / "checkpoint.pth", parts)
    assert losses_of(tmp_path / "parts") == losses_of(uninterrupted / "whole")


def test_a_diverging_loss_stops_with_the_step_and_what_to_lower(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    config = tiny_mal(learning_rate=1e30, max_steps=60)
    with pytest.raises(TrainingError, match=r"at step \d+.*mal\.learning_rate"):
        train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")


def test_no_box_in_the_trained_area_range_is_refused(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 2)
    config = tiny_mal(min_box_area=1e9)
    with pytest.raises(ConfigError, match="min_box_area"):
        train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")


def first_steps(
    tmp_path, count: int = 3, encoder: EncoderConfig = NO_DROP_PATH, **changes: object
) -> tuple[list[dict], torch.Tensor]:
    """Values of the first steps, and all trained weights in one row."""
    dataset, _ = draw_ellipses(tmp_path / "images", 6)
    config = tiny_mal(**changes)
    torch.manual_seed(0)
    labeler, _ = build_labeler(encoder, config)
    trainer = LabelerTrainer(labeler, config, seed=0)
    batches = TrainBatches(dataset, config, seed=0)
    per_step = config.accumulate_steps
    values = [
        trainer.train_step(*(batches[step * per_step + i] for i in range(per_step)))
        for step in range(count)
    ]
    return values, torch.nn.utils.parameters_to_vector(trainer.trained).detach()


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    small = {"batch_size": 2, "accumulate_steps": 2, "scale_learning_rate": False}
    # Weights after steps of Adam say less: it makes steps of full size from rounding errors.
    parts, summed = first_gradient(tmp_path, **small)
    whole, gradient = first_gradient(tmp_path, batch_size=4)
    assert gradient.abs().max() > 1e-2
    torch.testing.assert_close(summed, gradient, atol=1e-6, rtol=0)
    assert parts == pytest.approx(whole, abs=1e-6)


def first_gradient(tmp_path, **changes: object) -> tuple[dict[str, float], torch.Tensor]:
    """Values of a step at full loss weights, and its gradient in one row."""
    dataset, _ = draw_ellipses(tmp_path / "images", 6)
    config = tiny_mal(mil_warmup=0.0, crf_warmup=0.0, **changes)
    torch.manual_seed(0)
    labeler, _ = build_labeler(NO_DROP_PATH, config)
    trainer = LabelerTrainer(labeler, config, seed=0)
    batches = TrainBatches(dataset, config, seed=0)
    values = trainer.train_step(*(batches[i] for i in range(config.accumulate_steps)))
    return values, torch.cat([p.grad.flatten() for p in trainer.trained])


def test_heads_learn_at_their_own_rate(tmp_path):
    def moved(rate: float) -> tuple[float, float]:
        dataset, _ = draw_ellipses(tmp_path / "images", 6)
        config = tiny_mal(head_rate=rate, weight_decay=0.0)
        torch.manual_seed(0)
        labeler, _ = build_labeler(NO_DROP_PATH, config)
        before = {n: p.detach().clone() for n, p in labeler.student.named_parameters()}
        LabelerTrainer(labeler, config, seed=0).train_step(TrainBatches(dataset, config, 0)[0])
        after = dict(labeler.student.named_parameters())
        steps = {n: float((after[n].detach() - before[n]).abs().max()) for n in before}
        return steps["encoder.vit.norm.weight"], steps["pixel_head.convs.0.weight"]

    slow, fast = moved(1.0), moved(5.0)
    assert fast[0] == pytest.approx(slow[0], rel=1e-3)
    assert fast[1] == pytest.approx(5 * slow[1], rel=1e-3)


def test_activation_checkpointing_changes_memory_and_nothing_else(tmp_path):
    plain, weights = first_steps(tmp_path)
    saved, same = first_steps(tmp_path, activation_checkpointing=True)
    assert [v["loss"] for v in saved] == pytest.approx([v["loss"] for v in plain], abs=1e-6)
    torch.testing.assert_close(same, weights, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_networks_learn_the_same(tmp_path):
    one_block = dataclasses.replace(NO_DROP_PATH, options={**NO_DROP_PATH.options, "depth": 1})
    plain, weights = first_steps(tmp_path, count=2, encoder=one_block)
    # Its helpers would import torch once more each; what they find out is no matter of ours.
    # Loops without vector instructions take g++ two fifths of the time.
    alone = {"compile_threads": 1, "cpp.vec_isa_ok": True, "cpp.simdlen": 0}
    with inductor_config.patch(alone):
        compiled, same = first_steps(tmp_path, count=2, encoder=one_block, compile=True)
    assert [v["loss"] for v in compiled] == pytest.approx([v["loss"] for v in plain], abs=1e-3)
    torch.testing.assert_close(same, weights, atol=5e-3, rtol=0)


def test_bfloat16_learns_about_the_same(tmp_path):
    plain, _ = first_steps(tmp_path)
    short, _ = first_steps(tmp_path, precision="bf16")
    assert [v["loss"] for v in short] == pytest.approx([v["loss"] for v in plain], rel=0.05)
    assert short != plain


def test_float16_learns_about_the_same_on_a_cpu_too(tmp_path):
    plain, _ = first_steps(tmp_path)
    short, _ = first_steps(tmp_path, precision="fp16")
    assert [v["loss"] for v in short] == pytest.approx([v["loss"] for v in plain], rel=0.05)
    assert short != plain


def test_a_network_thrown_off_by_its_rate_is_stopped_although_its_loss_is_finite(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    config = tiny_mal(learning_rate=1.0, max_steps=120)
    with pytest.raises(TrainingError, match=r"at step \d+: .*50 steps.*mal\.learning_rate"):
        train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "scalars.jsonl").read_text().splitlines()
    ]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_curves_tell_rate_gradient_gap_and_pace(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "run")
    last = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 12
    assert last["learning_rate"] > 0
    assert last["gradient_norm"] > 0
    assert 0 < last["teacher_gap"] < 1
    assert 0 < last["seconds_per_step"] < 60


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    def no_number(*_: object) -> torch.Tensor:
        return torch.tensor(float("inf"))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", no_number)
    with pytest.raises(TrainingError, match=r"step 0: the norm of the gradient is inf"):
        first_steps(tmp_path)


def test_compat_official_shows_the_student_view_to_the_crf(tmp_path):
    ours, _ = first_steps(tmp_path, count=2, crf_warmup=0.0)
    theirs, _ = first_steps(tmp_path, count=2, crf_warmup=0.0, crf=CrfConfig(clean_view=False))
    compat, _ = first_steps(tmp_path, count=1, crf_warmup=0.0, compat_official=True)
    assert theirs[0]["loss_crf"] != ours[0]["loss_crf"]
    assert compat[0]["loss_crf"] != ours[0]["loss_crf"]


@pytest.mark.slow
def test_masks_learned_from_boxes_beat_filled_boxes(tmp_path):
    """Spec S20."""
    dataset, gt_masks = draw_ellipses(tmp_path / "images", 16)
    config = tiny_mal(max_steps=300, batch_size=8, head_channels=32, checkpoint_every=1000)
    from mal_core.models.checkpoints import load_labeler

    checkpoint = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")
    labeler, _ = load_labeler(checkpoint)
    ious, filled = [], []
    boxes_of = {box.image_id: [box] for box in dataset.boxes}
    views = [
        view
        for record in dataset.images
        for view in cut_views(record, boxes_of[record.image_id], dataset.image_root, config)
    ]
    for outcome in MaskWriter(labeler, config).label(views):
        ious.append(iou(outcome, gt_masks[outcome.annotation_id]))
    for box in dataset.boxes:
        filled.append(gt_masks[box.annotation_id].sum() / box.area)
    assert np.mean(ious) > np.mean(filled) + 0.05


def iou(outcome, gt_mask) -> float:
    """Mask IoU of one outcome; 0 for a skipped box."""
    from pycocotools import mask as coco_mask

    if not isinstance(outcome, PseudoLabel):
        return 0.0
    pseudo_mask = coco_mask.decode(outcome.rle)
    return float((pseudo_mask & gt_mask).sum() / (pseudo_mask | gt_mask).sum())
