"""What ends a training before a guide draws for it. The children are real."""

import torch
from safetensors.torch import save_file


def test_weights_of_another_network_are_told_before_a_guide_draws(
    fresh_mal, files, phase_1, tmp_path
):
    weights = tmp_path / "other.safetensors"
    save_file({"layer1.0.conv1.weight": torch.zeros(8, 3, 3, 3)}, weights)
    given = [*files(), *phase_1, "mal.guide=box", "mal.self_training.rounds=1"]
    given += [f"encoder.weights={weights}"]
    status, output = fresh_mal.inside("train", *given)
    assert status == 2, output
    assert f"from {weights} could not be loaded (missing" in output
    assert "Traceback" not in output
    assert "label boxes" not in output
    assert not [*(fresh_mal.root / "store" / "generate-pseudo-labels").glob("*/train.json")]
