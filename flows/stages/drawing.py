"""Who draws the masks of a run, and what of that decides the labels."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.settings.run_config import RunConfig
from flows.stages.run import Run
from flows.store.code_version import code_version
from mal_core.config.labelers import FOUNDATIONS, LabelerConfig, MemberConfig
from mal_core.config.roles import Role, deciding
from mal_core.errors import ConfigError
from mal_core.labelers.recipes import told_of_member
from mal_core.labelers.weights import find_weights, require_package, weight_files
from mal_core.processes.files import sha256_json

TORCH = ("torch", "torchvision", "timm")
SHARED_CODE = ("mal_core.labeling.journal", "mal_core.data.coco", "mal_core.data.pseudo_labels")
LONE_CODE = (
    "mal_core.jobs.worker",
    "mal_core.jobs.duties",
    "mal_core.jobs.phase1",
    "mal_core.jobs.shards",
    "mal_core.labelers.registry",
)
"""Modules that are part of what labels, but not all that they can start."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The labeler of a run, and its part of the key of the labels.

    Attributes:
        checkpoint: Of our own network, where it draws.
        labeler: Settings; weights lie in a folder of this machine.
        settings, inputs, code: As a stage's key has them.
    """

    checkpoint: Path | None
    labeler: LabelerConfig
    settings: dict[str, Any]
    inputs: dict[str, str]
    code: str


def check_labeler(config: RunConfig) -> None:
    """Refuse a labeler whose package or weights are not there; fetches weights from the hub.

    Raises:
        ConfigError: The message says what to install or to give; or labels are given together
            with a network, which only `mal refine` takes.
        CheckpointError: The weights are not complete.
    """
    if config.pseudo_labels is not None and config.checkpoint is not None:
        message = (
            "pseudo_labels=FILE replaces phase 1: give no checkpoint with it. (`mal refine` takes "
            "both.)"
        )
        raise ConfigError(message)
    if config.pseudo_labels is not None:
        return
    for chosen in filter(None, (config.labeler, config.guide)):
        require_weights(chosen.members, f"{chosen.key}.members")
        if not chosen.members:
            _require_weights(chosen)


def require_weights(members: Iterable[MemberConfig], key: str) -> None:
    """Refuse members that cannot draw for lack of a package or of weights.

    Args:
        members: Several labelers.
        key: The setting that names them.

    Raises:
        ConfigError, CheckpointError: As `check_labeler`, of the first.
    """
    for member in members:
        with told_of_member(key, member.name):
            _require_weights(member)


def _require_weights(drawer: MemberConfig) -> None:
    if drawer.name in FOUNDATIONS:
        require_package(drawer)
        find_weights(drawer)


def find_drawer(run: Run, checkpoint: Callable[[Run], tuple[Path, str]]) -> Chosen:
    """Who draws in a run.

    Args:
        run: The run.
        checkpoint: Gives our own network and its digest; trains it where need be.

    Raises:
        ConfigError, CheckpointError: As `check_labeler`.
    """
    labeler = run.config.labeler
    path, inputs, settings = None, {}, {}
    if labeler.is_trained:
        path, inputs["checkpoint"] = checkpoint(run)
        settings = deciding(run.config.mal, Role.LABELING)
    local, weights = _local(run, labeler)
    if weights:
        inputs["weights"] = sha256_json(weights if labeler.members else weights[0])
    if labeler.name != "mal":
        settings = {**({"mal": settings} if settings else {}), "labeler": _told(labeler)}
    modules = [name for drawer in labeler.drawn_by for name in _MODULES[drawer.name]]
    packages = [name for drawer in labeler.drawn_by for name in _PACKAGES.get(drawer.name, IMAGES)]
    if labeler.members:
        modules.append("mal_core.labelers.ensemble")
    return Chosen(
        checkpoint=path,
        labeler=local,
        settings=settings,
        inputs=inputs,
        code=_code(*dict.fromkeys(modules), packages=tuple(dict.fromkeys(packages))),
    )


def _local(run: Run, labeler: LabelerConfig) -> tuple[LabelerConfig, list[dict[str, str]]]:
    """Settings with the folders of all weights, and the digests of what lies in each."""
    found, contents = [], []
    for drawer in labeler.drawn_by:
        if drawer.name not in FOUNDATIONS:
            found.append(drawer)
            continue
        folder = find_weights(drawer)
        files = weight_files(folder)
        contents.append({path.name: str(run.store.digests.digest(path)) for path in files})
        found.append(dataclasses.replace(drawer, weights=str(folder)))
    if labeler.members:
        return dataclasses.replace(labeler, members=tuple(found)), contents
    return dataclasses.replace(labeler, weights=found[0].weights), contents


def _told(labeler: LabelerConfig) -> dict[str, Any]:
    """What decides the labels; of weights the content does, not the place."""
    members = [{**deciding(member, Role.LABELING), "weights": None} for member in labeler.members]
    return {**deciding(labeler, Role.LABELING), "weights": None, "members": members}


_MODULES = {
    "mal": (
        "mal_core.labeling.mask_writer",
        "mal_core.labeling.work",
        "mal_core.models.checkpoints",
    ),
    "box": ("mal_core.labelers.shapes",),
    "ellipse": ("mal_core.labelers.shapes",),
    "grabcut": ("mal_core.labelers.grabcut",),
    **dict.fromkeys(FOUNDATIONS, ("mal_core.labelers.foundations",)),
}
IMAGES = ("numpy", "opencv-python-headless")
_PACKAGES = {"mal": TORCH, **dict.fromkeys(FOUNDATIONS, ("torch", "transformers"))}


def _code(*modules: str, packages: tuple[str, ...]) -> str:
    return code_version(
        [*modules, *SHARED_CODE], alone=LONE_CODE, packages=(*packages, "pycocotools")
    )
