"""Labeler checkpoints: both networks with the settings that rebuild them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from mal_core.config import EncoderConfig, MalConfig
from mal_core.errors import CheckpointError
from mal_core.models.labeler import MaskAutoLabeler, build_labeler
from mal_core.models.official import is_official, labeler_from_official, official_config
from mal_core.models.pretrained import shorten
from mal_core.models.provenance import EncoderOrigin, official_origin, origin_of
from mal_core.models.safe_weights import not_finite, read_weights
from mal_core.processes.files import atomic_path, is_file
from mal_core.processes.records import from_json
from mal_core.quality.familiarity import FamiliarCrops

Settings = TypeVar("Settings", EncoderConfig, MalConfig)
FORMAT = 1
FAMILIAR = "familiar"
"""Absent in checkpoints of before drift was told."""
RETRAIN = "Give one that `mal train` of this version wrote, workdir/mal/checkpoint.pth."


def save_labeler(
    path: Path,
    labeler: MaskAutoLabeler,
    *,
    encoder: Mapping[str, Any],
    mal: Mapping[str, Any],
    load_report: str,
) -> None:
    """Write a checkpoint atomically; it holds tensors and plain values only."""
    weights, guide = encoder["weights"], mal["guide"]
    content = {
        "format": FORMAT,
        "encoder": {**encoder, "weights": None if weights is None else str(weights)},
        "mal": {**mal, "guide": None if guide is None else guide.name},
        "load_report": load_report,
        "student": labeler.student.state_dict(),
        "teacher": labeler.teacher.state_dict(),
        FAMILIAR: _packed(labeler.familiar),
    }
    # Through a file of Python's: torch's own hides a full disk behind an internal error.
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)


def load_labeler(path: Path) -> tuple[MaskAutoLabeler, MalConfig]:
    """Rebuild a labeler from its checkpoint, in evaluation mode, without any other file.

    A checkpoint of the reference implementation is recognised by its tensors.

    Raises:
        CheckpointError: The file is absent, no checkpoint of this project, or its
            tensors do not fit; the message names them.
    """
    content = _read(path)
    if is_official(content):
        official = labeler_from_official(content, path)
        return official, official_config(official)
    try:
        settings = {**content["encoder"], "weights": None, "pretrained": False}
        encoder = from_json(EncoderConfig, settings, "encoder")
        mal = from_json(MalConfig, content["mal"], "mal")
        networks = {name: content[name] for name in ("student", "teacher")}
        familiar = _unpacked(content.get(FAMILIAR))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"checkpoint={path}: its settings cannot be read ({error}). {RETRAIN}"
        raise CheckpointError(message) from error
    _require_fit(encoder, mal, networks, path)
    labeler, _ = build_labeler(encoder, mal)
    for name, tensors in networks.items():
        getattr(labeler, name).load_state_dict(tensors)
    labeler.familiar = familiar
    return labeler.eval(), mal


def _require_fit(
    encoder: EncoderConfig, mal: MalConfig, networks: Mapping[str, Any], path: Path
) -> None:
    """Refuse tensors that are not those of the settings, before anything is built of these.

    Raises:
        CheckpointError: It names tensors.
    """
    layers = max([mal.head_convs, *_depths(encoder.options)])
    tensors = sum(len(one) for one in networks.values() if isinstance(one, Mapping))
    if layers > tensors:  # a sketch of a billion layers would take all time
        message = f"{path}: {tensors} tensors are not those of {layers} layers."
        raise CheckpointError(message)
    with torch.device("meta"):  # settings that ask for all memory get none
        sketch, _ = build_labeler(encoder, mal)
    for name, tensors in networks.items():
        wanted = {key: value.shape for key, value in getattr(sketch, name).state_dict().items()}
        given = {
            key: getattr(value, "shape", None)
            for key, value in (tensors.items() if isinstance(tensors, Mapping) else ())
        }
        parts = (
            ("missing", wanted.keys() - given.keys()),
            ("unexplained", given.keys() - wanted.keys()),
            (
                "of another shape",
                {key for key in wanted.keys() & given.keys() if wanted[key] != given[key]},
            ),
        )
        said = "; ".join(f"{what}: {shorten(sorted(keys))}" for what, keys in parts if keys)
        if said:
            message = f"{path}: the {name}'s tensors do not fit its settings: {said}."
            raise CheckpointError(message)
        wrong = not_finite(tensors)
        if wrong is not None:
            message = (
                f"checkpoint={path} holds a NaN or an infinity in {name}.{wrong}: its training "
                "went astray, or the file is damaged. Train it again."
            )
            raise CheckpointError(message)


def _depths(options: Mapping[str, Any]) -> list[int]:
    """How many blocks options of timm's builders ask for, of a stage or of all."""
    stages = options.get("depths")
    found = [options.get("depth"), *(stages if isinstance(stages, list | tuple) else [stages])]
    return [value for value in found if isinstance(value, int)]


def _packed(familiar: FamiliarCrops | None) -> dict[str, Any] | None:
    if familiar is None:
        return None
    return {"points": torch.from_numpy(familiar.points), "limit": familiar.limit}


def _unpacked(content: Mapping[str, Any] | None) -> FamiliarCrops | None:
    if content is None:
        return None
    return FamiliarCrops(points=content["points"].numpy(), limit=float(content["limit"]))


def stored_settings(path: Path) -> MalConfig | None:
    """The settings with which a labeler was trained; None: the reference's own file, without any.

    Raises:
        CheckpointError: As for `load_labeler`.
    """
    content = _read(path)
    return None if is_official(content) else _record(MalConfig, content, "mal", path)


def checkpoint_origin(path: Path) -> EncoderOrigin:
    """Where the encoder of a checkpoint comes from.

    Raises:
        CheckpointError: As for `load_labeler`.
    """
    content = _read(path)
    if is_official(content):
        return official_origin(path.name)
    return origin_of(_record(EncoderConfig, content, "encoder", path))


def _record(kind: type[Settings], content: Mapping[str, Any], key: str, path: Path) -> Settings:
    try:
        return from_json(kind, content[key], key)
    except (KeyError, TypeError, ValueError) as error:
        message = f"checkpoint={path}: its settings cannot be read ({error}). {RETRAIN}"
        raise CheckpointError(message) from error


def _read(path: Path) -> dict[str, Any]:
    if not is_file(path):
        message = f"checkpoint={path}: no such file. Train one with `mal train`."
        raise CheckpointError(message)
    content = read_weights(path, f"checkpoint={path}")
    if is_official(content):
        return dict(content)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"checkpoint={path} was not written by `mal train` of this version."
        raise CheckpointError(message)
    return content
