"""The licences of what a run reads, and the refusal of what its policy does not permit."""

from collections.abc import Iterator
from pathlib import Path

from flows.settings.run_config import Inputs, RunConfig
from mal_core.config import EncoderConfig
from mal_core.data.inspection.licences import (
    LicensedPart,
    image_licences,
    read_licence,
    require_commercial,
)
from mal_core.models.provenance import EncoderOrigin, origin_of
from mal_core.models.weight_packages import PACKAGES, packaged_weights

IMAGES, VAL_IMAGES, ENCODER = "training images", "validation images", "encoder weights"
LABELS, GUIDE, WEIGHTS = "given labels", "guide", "segmenter weights"
MASKS = (LABELS, GUIDE)
"""Parts that go into labels and labelers."""
ADVICE = {
    ENCODER: "Choose another encoder, or state the licence by encoder.license=NAME.",
    IMAGES: "Leave those images out, or state the licence of unstated ones by data.license=NAME.",
    VAL_IMAGES: "Leave them out, or state the licence of unstated ones by data.license=NAME.",
    LABELS: "Make labels of your own, or leave license_policy out where you may use them.",
    GUIDE: "Leave mal.guide out, or license_policy where you may use its masks.",
    WEIGHTS: "Leave segmenter.weights out, or license_policy where you may use the file.",
}
HUB = "Apache-2.0 (OpenMMLab) or BSD-3-Clause (torchvision)"


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


def _origin(config: RunConfig) -> EncoderOrigin | None:
    """The origin of the encoder's weights, before anything is made with them."""
    if config.pseudo_labels is not None:
        return None
    if config.checkpoint is None:
        return origin_of(config.encoder)
    from mal_core.models.checkpoints import checkpoint_origin  # torch

    return checkpoint_origin(config.checkpoint)


def other_parts(config: RunConfig) -> Iterator[LicensedPart]:
    """Licences of masks from elsewhere and of segmenters' weights."""
    if config.pseudo_labels is not None:
        yield _part(LABELS, config.pseudo_labels.name, None, "nothing")
    if config.mal.guide is not None:
        yield _part(GUIDE, config.mal.guide.name, None, "nothing")
    for weights in sorted({one.weights for one in config.segmenters if one.weights is not None}):
        yield _part(WEIGHTS, Path(weights).name, *_licence_of(weights))


def _licence_of(weights: str) -> tuple[str | None, str]:
    """Licence of a segmenter's weights, and who states it."""
    if weights == "hub":
        return HUB, "their publishers"
    if not Path(weights).is_absolute():
        origin = origin_of(EncoderConfig(name=weights, pretrained=True))
        return origin.licence, origin.stated_by
    packaged = {packaged_weights(name): name for name in PACKAGES}
    if Path(weights) in packaged:
        return "Apache-2.0", f"the package of {packaged[Path(weights)]}"
    return None, "nothing"


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
    encoder = encoder_part(_origin(config))
    parts = [
        *([] if encoder is None else [encoder]),
        *image_parts(config, found, val=val),
        *other_parts(config),
    ]
    require_commercial(parts, ADVICE)
