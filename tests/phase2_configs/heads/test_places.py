"""Windows and slopes of masks around places of their own."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from phase2_configs.heads.places import GAIN, centers, place_features, place_kernels

SHAPE, STRIDE, UNIT = (24, 40), 4, 20.0


def logits(said: Tensor, x: float, y: float) -> Tensor:
    """The map of one mask, shape (h, w)."""
    kernel = place_kernels(said, torch.tensor(x), torch.tensor(y), UNIT)
    return torch.einsum("c,chw->hw", kernel, place_features(SHAPE, STRIDE, said))


def test_logits_are_slope_window_and_height_relative_to_the_place() -> None:
    said = torch.tensor([0.3, -0.2, 0.1, 0.4])
    found = logits(said, 61.0, 33.0)
    rows, columns = torch.meshgrid(
        (centers(SHAPE[0], 96, said) - 33) / UNIT,
        (centers(SHAPE[1], 160, said) - 61) / UNIT,
        indexing="ij",
    )
    a_x, a_y, s, b = GAIN * said
    wanted = a_x * columns + a_y * rows - softplus(s) * (columns**2 + rows**2) + b
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_mask_moves_with_its_place() -> None:
    said = torch.tensor([0.2, 0.1, 0.5, 0.0])
    here, there = logits(said, 42.0, 30.0), logits(said, 42.0 + 5 * STRIDE, 30.0 + 2 * STRIDE)
    assert torch.allclose(here[:-2, :-5], there[2:, 5:], atol=1e-4)
    assert not torch.allclose(here, there, atol=0.1)


def test_without_a_word_from_the_head_the_window_falls_from_its_place() -> None:
    found = logits(torch.zeros(4), 42.0, 30.0)
    assert divmod(int(found.argmax()), SHAPE[1]) == (7, 10)
    assert (found[7, 10:].diff() < 0).all()
    assert (found[7:, 10].diff() < 0).all()
