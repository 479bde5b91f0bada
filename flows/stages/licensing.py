"""The licences of what a run reads, and the refusal of what its policy does not permit."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.settings.run_config import Inputs, RunConfig
from flows.store.manifest import is_intact, manifest_of
from mal_core.config import EncoderConfig
from mal_core.config.labelers import FOUNDATIONS, MemberConfig
from mal_core.data.inspection.licences import (
    LicenceCard,
    LicensedPart,
    image_licences,
    read_licence,
    require_commercial,
)
from mal_core.models.provenance import EncoderOrigin, origin_of
from mal_core.models.weight_packages import package_of
from mal_core.processes.files import sha256_file
from mal_core.processes.records import from_json

IMAGES, VAL_IMAGES, ENCODER = "images of data.train", "images of data.val", "encoder weights"
LABELS, GUIDE, WEIGHTS = "given labels", "guide", "segmenter weights"
CHECKPOINT, DRAWER, GUIDE_WEIGHTS = "checkpoint", "labeler weights", "guide weights"
OF_CHECKPOINT = "what the checkpoint was made of: "
OF_LABELS = "what the given labels were made of: "
ADVICE = {
    ENCODER: "Choose another encoder, or state the licence by encoder.license=NAME.",
    IMAGES: "Leave those images out, or state the licence of unstated ones by data.license=NAME "
    "(own, CC0, CC-BY-4.0, ...).",
    VAL_IMAGES: "Leave them out, or state the licence of unstated ones by data.license=NAME.",
    LABELS: "Make labels of your own, or lay the manifest that their command left back beside "
    "them, or leave license_policy out where you may use them.",
    GUIDE: "Leave mal.guide out, or license_policy where you may use its masks.",
    GUIDE_WEIGHTS: "Choose another labeler for mal.guide, or leave license_policy out where you "
    "may use them.",
    CHECKPOINT: "Lay the manifest that `mal train` left back beside it, or train one with your own "
    "images, or leave license_policy out where you may use it.",
    **{
        f"{OF_CHECKPOINT}{part}": "Train another, or leave license_policy out where you may use it."
        for part in (IMAGES, LABELS, GUIDE, GUIDE_WEIGHTS)
    },
    **{
        f"{OF_LABELS}{part}": "Make others, or leave license_policy out where you may use them."
        for part in (IMAGES, ENCODER, LABELS, GUIDE, GUIDE_WEIGHTS, CHECKPOINT, DRAWER)
    },
    DRAWER: "Choose another labeler, or leave license_policy out where you may use them.",
    WEIGHTS: "Leave segmenter.weights out, or license_policy where you may use the file.",
}
HUB = "Apache-2.0 (OpenMMLab) or BSD-3-Clause (torchvision)"
FOUNDATIONS_ON_HUB = {"facebook/sam-vit-": "Apache-2.0", "facebook/sam2": "Apache-2.0"}
"""How names of models begin -> the licence on their pages."""


def image_parts(config: RunConfig, found: Inputs, *, val: bool) -> Iterator[LicensedPart]:
    """Licences of the images of a run; scenes that the project draws are its own."""
    splits = [(IMAGES, found.train)]
    if val and found.val is not None:
        splits.append((VAL_IMAGES, found.val))
    for title, split in splits:
        if config.data.source == "scenes":
            yield _part(title, "drawn scenes", "Apache-2.0", "this project")
        else:
            yield from image_licences(split.annotations, title, stated=config.data.license)


def encoder_part(origin: EncoderOrigin | None) -> LicensedPart | None:
    """Licence of the encoder's weights; None where there are none."""
    if origin is None or (origin.weights == "random" and origin.licence is None):
        return None
    return _part(ENCODER, f"{origin.name}, {origin.weights}", origin.licence, origin.stated_by)


def origin_before(config: RunConfig) -> EncoderOrigin | None:
    """The origin of the encoder's weights, before anything is made with them."""
    if config.pseudo_labels is not None or not any(one.is_trained for one in _drawers(config)):
        return None
    if config.checkpoint is None:
        return origin_of(config.encoder)
    from mal_core.models.checkpoints import checkpoint_origin  # torch

    return checkpoint_origin(config.checkpoint)


def _drawers(config: RunConfig) -> tuple[MemberConfig, ...]:
    """Whoever draws: of a bake-off several, of an ensemble its members."""
    chosen = config.labelers or (config.labeler,)
    return tuple(one for each in chosen for one in getattr(each, "drawn_by", (each,)))


def label_parts(config: RunConfig) -> Iterator[LicensedPart]:
    """Licences of what labels are made with besides images and encoder."""
    if config.pseudo_labels is not None:
        yield from _given_parts(config.pseudo_labels)
        return
    drawers = _drawers(config)
    yield from _weights_parts(DRAWER, drawers)
    if not any(one.is_trained for one in drawers):
        return
    if config.checkpoint is not None:
        yield from _checkpoint_parts(config.checkpoint)
    elif config.guide is not None:
        yield from _weights_parts(GUIDE_WEIGHTS, config.guide.drawn_by)
    elif config.mal.guide is not None:
        yield _part(GUIDE, config.mal.guide.name, None, "nothing")


def _given_parts(labels: Path) -> Iterator[LicensedPart]:
    """What their manifest says that they were made of."""
    made_of = parts_beside(labels)
    if made_of is None:
        stated_by = f"nothing ({manifest_of(labels).name} of this file is not beside it)"
        yield _part(LABELS, labels.name, None, stated_by)
    for part in made_of or ():
        title = part.part if part.part.startswith(OF_LABELS) else f"{OF_LABELS}{part.part}"
        yield dataclasses.replace(part, part=title)


def _weights_parts(title: str, drawers: Sequence[MemberConfig]) -> Iterator[LicensedPart]:
    """Licences of the weights of those that draw with weights which somebody else has trained."""
    for weights in sorted({str(one.weights) for one in drawers if one.name in FOUNDATIONS}):
        known = next(
            (FOUNDATIONS_ON_HUB[one] for one in FOUNDATIONS_ON_HUB if weights.startswith(one)), None
        )
        yield _part(title, weights, known, "nothing" if known is None else "their page on the hub")


def _checkpoint_parts(checkpoint: Path) -> Iterator[LicensedPart]:
    """What its manifest says of what it was trained on; its encoder it names itself."""
    made_of = parts_beside(checkpoint)
    if made_of is None:
        stated_by = f"nothing ({manifest_of(checkpoint).name} of this file is not beside it)"
        yield _part(CHECKPOINT, checkpoint.name, None, stated_by)
        return
    for part in made_of:
        if part.part != ENCODER:
            yield dataclasses.replace(part, part=f"{OF_CHECKPOINT}{part.part}")


def parts_of_checkpoint(checkpoint: Path) -> list[LicensedPart]:
    """Licences of a checkpoint that something is made with, its encoder's included."""
    from mal_core.models.checkpoints import checkpoint_origin  # torch

    encoder = encoder_part(checkpoint_origin(checkpoint))
    return [*([] if encoder is None else [encoder]), *_checkpoint_parts(checkpoint)]


def parts_beside(file: Path) -> tuple[LicensedPart, ...] | None:
    """What the manifest beside a file says that it is made of; None where none is of this file."""
    told = _manifest(file)
    return None if told is None else from_json(LicenceCard, told["licences"], "licences").parts


def _manifest(file: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(manifest_of(file).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or not is_intact(told) or "licences" not in told:
        return None
    return told if told.get("sha256") == sha256_file(file) else None


def segmenter_parts(config: RunConfig) -> Iterator[LicensedPart]:
    """Licences of segmenters' weights."""
    for weights in sorted({one.weights for one in config.segmenters if one.weights is not None}):
        yield _part(WEIGHTS, Path(weights).name, *_licence_of(weights))


def _licence_of(weights: str) -> tuple[str | None, str]:
    """Licence of a segmenter's weights, and who states it."""
    if weights == "hub":
        return HUB, "their publishers"
    if not Path(weights).is_absolute():
        origin = origin_of(EncoderConfig(name=weights, pretrained=True))
        return origin.licence, origin.stated_by
    package = package_of(Path(weights))
    return (None, "nothing") if package is None else ("Apache-2.0", f"the package of {package}")


def _part(title: str, of: str, licence: str | None, stated_by: str) -> LicensedPart:
    return LicensedPart(part=title, of=of, licence=read_licence(licence), stated_by=stated_by)


def require_permitted(config: RunConfig, found: Inputs, *, val: bool) -> None:
    """Refuse what `license_policy` does not permit, before anything is done with it.

    Args:
        config: The settings.
        found: The splits in normal form.
        val: Validation images take part.

    Raises:
        ConfigError: Names each part that may not be used, and its licence.
    """
    if config.license_policy == "any":
        return
    encoder = encoder_part(origin_before(config))
    parts = [
        *([] if encoder is None else [encoder]),
        *image_parts(config, found, val=val),
        *label_parts(config),
        *segmenter_parts(config),
    ]
    require_commercial(parts, ADVICE)
