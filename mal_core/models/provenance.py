"""Where an encoder's weights come from and under which licence, for whoever uses what they made."""

from dataclasses import dataclass
from pathlib import Path

from mal_core.config import EncoderConfig
from mal_core.models.weight_packages import package_of
from mal_core.processes.records import read_record, write_record

ORIGIN = "origin.json"
OFFICIAL = "NVIDIA Source Code License-NC (non-commercial)"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderOrigin:
    """An encoder's weights.

    Attributes:
        name: timm's name.
        weights: "random", "hub", or the name of a file.
        licence: As it is stated; None where nobody states one. Random weights have none.
        stated_by: Who states it.
    """

    name: str
    weights: str
    licence: str | None
    stated_by: str


def origin_of(encoder: EncoderConfig) -> EncoderOrigin:
    """The origin of an encoder's weights by its settings.

    Weights from the hub have the licence that timm states for that name. A file says nothing of
    its own, whatever the network is called: `encoder.license` states it.
    """
    if encoder.weights is not None:
        weights = Path(encoder.weights).name
    else:
        weights = "hub" if encoder.pretrained else "random"
    if encoder.license is not None:
        licence: str | None = encoder.license
        source = "encoder.license"
    elif weights == "random":
        licence, source = None, "nothing: random weights"
    elif encoder.weights is not None:
        package = package_of(Path(encoder.weights))
        licence = None if package is None else "Apache-2.0"
        source = "nothing: it is a file" if package is None else f"the package of {package}"
    else:
        import timm  # seconds, which whoever reads an origin need not spend

        known = timm.get_pretrained_cfg(encoder.name)
        licence = None if known is None else known.license
        source = f"timm for {encoder.name}"
    return EncoderOrigin(name=encoder.name, weights=weights, licence=licence, stated_by=source)


def official_origin(name: str) -> EncoderOrigin:
    """Of a checkpoint that the paper's own code wrote."""
    return EncoderOrigin(
        name=name, weights="checkpoint", licence=OFFICIAL, stated_by="the paper's repository"
    )


def write_origin(folder: Path, origin: EncoderOrigin) -> None:
    """Leave it beside what was made with it."""
    write_record(folder / ORIGIN, origin, indent=1)


def read_origin(folder: Path) -> EncoderOrigin | None:
    """What `write_origin` left; None where nothing was."""
    path = folder / ORIGIN
    return read_record(EncoderOrigin, path) if path.is_file() else None
