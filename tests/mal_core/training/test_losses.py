"""MIL and mean field: properties of spec section 15, and recordings of the reference."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mal_core.training.losses import dice_loss, mean_field, mil_loss

PARITY = Path(__file__).parents[4] / "shared" / "parity"
SIDE = 128


def centred_box(height: int = 60, width: int = 80, side: int = SIDE) -> torch.Tensor:
    """A filled box, shape (1, side, side)."""
    box = torch.zeros(1, side, side)
    top, left = (side - height) // 2, (side - width) // 2
    box[:, top : top + height, left : left + width] = 1
    return box


def recording(name: str) -> dict[str, np.ndarray]:
    """Arrays of one parity file, or a skip."""
    path = PARITY / name
    if not path.exists():
        pytest.skip(f"recording {name} is not here")
    with np.load(path) as data:
        return dict(data)


def test_a_filled_box_and_a_one_pixel_cross_have_the_same_mil_loss():
    """Spec S1."""
    box = centred_box()
    cross = torch.zeros_like(box)
    cross[:, 64, 24:104] = 1
    cross[:, 34:94, 64] = 1
    expected = 1 - 2 * 60 / (120.002) + 1 - 2 * 80 / (160.002)
    assert mil_loss(box, box).item() == pytest.approx(expected, abs=1e-6)
    assert mil_loss(cross, box).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("inside", "outside", "expected"), [(0.0, 0.0, 2.0), (0.5, 0.0, 0.400), (1.0, 1.0, 0.593)]
)
def test_constant_predictions_have_the_known_mil_loss(inside, outside, expected):
    """Spec S2."""
    box = centred_box()
    loss = mil_loss(box * inside + (1 - box) * outside, box)
    assert loss.item() == pytest.approx(expected, abs=1e-3)


def test_without_negative_bags_everything_foreground_is_perfect():
    """Spec S2."""
    box = torch.ones(1, SIDE, SIDE)
    assert mil_loss(box, box).item() < 2e-5


def test_losses_equal_the_recorded_ones():
    data = {name: torch.from_numpy(value) for name, value in recording("losses.npz").items()}
    prob = data["prob"]
    torch.testing.assert_close(mil_loss(prob, data["box"]), data["mil_box"], atol=1e-6, rtol=0)
    soft = mil_loss(prob, data["soft_box"])
    torch.testing.assert_close(soft, data["mil_soft_box"], atol=1e-6, rtol=0)
    torch.testing.assert_close(dice_loss(prob, data["box"]), data["dice"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("with_box", [True, False])
def test_mean_field_equals_the_recorded_one_but_for_ties(case, with_box):
    data = recording("mean_field.npz")
    kernel, zeta, iterations, low, high = data[f"case{case}_params"]
    out = mean_field(
        torch.from_numpy(data[f"case{case}_image"]),
        torch.from_numpy(data[f"case{case}_prob"]),
        torch.from_numpy(data[f"case{case}_box"]) if with_box else None,
        kernel_size=int(kernel),
        zeta=float(zeta),
        iterations=int(iterations),
        low=float(low),
        high=float(high),
    )
    wanted = data[f"case{case}_{'boxed' if with_box else 'free'}_out"]
    assert (out.numpy() != wanted).mean() <= 2e-4


def test_mean_field_never_fires_outside_the_box_and_is_binary():
    """Spec S3."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 40, 40, generator=generator) * 0.05
    box = centred_box(20, 10, 40).repeat(2, 1, 1)
    out = mean_field(image, torch.rand(2, 40, 40, generator=generator), box)
    assert out[box == 0].sum() == 0
    assert set(out.unique().tolist()) <= {0.0, 1.0}


def test_mean_field_finds_a_two_coloured_object_from_a_noisy_seed():
    """Spec S4."""
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    gt_mask = ((rows - 32) ** 2 + (columns - 30) ** 2 < 15**2).float()[None]
    image = gt_mask[:, None].repeat(1, 3, 1, 1) * 2
    noise = torch.rand(1, 64, 64, generator=generator) * 0.3
    seed = torch.where(gt_mask > 0, 0.55 + noise, 0.45 - noise)
    out = mean_field(image, seed, centred_box(40, 40, 64))
    assert torch.equal(out, gt_mask)


def test_mean_field_without_colour_affinity_only_thresholds():
    """Spec S5."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(1, 3, 32, 32, generator=generator) * 100
    seed = torch.rand(1, 32, 32, generator=generator)
    assert torch.equal(mean_field(image, seed, None), (seed > 0.5).float())


@pytest.mark.parametrize(("seed", "share"), [(0.4, 0.0), (0.5, 0.0), (0.6, 0.925)])
def test_a_flat_image_follows_its_constant_seed_with_one_pixel_of_erosion(seed, share):
    """Spec S6."""
    box = centred_box(55, 65)
    out = mean_field(torch.zeros(1, 3, SIDE, SIDE), box * seed, box)
    assert (out.sum() / box.sum()).item() == pytest.approx(share, abs=0.01)


def test_mean_field_carries_no_gradient():
    """Spec S3."""
    prob = torch.rand(1, 16, 16, requires_grad=True)
    assert not mean_field(torch.zeros(1, 3, 16, 16), prob, None).requires_grad
