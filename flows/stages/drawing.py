"""Who draws the masks of a run, and what of that decides the labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.settings.run_config import RunConfig
from flows.stages.run import Run
from flows.store.code_version import code_version
from mal_core.artifacts import sha256_json
from mal_core.config.labelers import FOUNDATIONS, LabelerConfig
from mal_core.config.roles import Role, deciding
from mal_core.labelers.weights import find_weights, require_package, weight_files

TORCH = ("torch", "torchvision", "timm")
SHARED_CODE = ("mal_core.labeling.journal", "mal_core.data.coco", "mal_core.data.pseudo_labels")
LONE_CODE = (
    "mal_core.jobs.worker",
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
        ConfigError: The message says what to install or to give.
        CheckpointError: The weights are not complete.
    """
    if config.labeler.name in FOUNDATIONS and config.pseudo_labels is None:
        require_package(config.labeler.name)
        find_weights(config.labeler)


def find_drawer(run: Run, checkpoint: Callable[[Run], tuple[Path, str]]) -> Chosen:
    """Who draws in a run.

    Args:
        run: The run.
        checkpoint: Gives our own network and its digest; trains it where need be.

    Raises:
        ConfigError, CheckpointError: As `check_labeler`.
    """
    labeler = run.config.labeler
    if labeler.is_trained:
        path, digest = checkpoint(run)
        return Chosen(
            checkpoint=path,
            labeler=labeler,
            settings=deciding(run.config.mal, Role.LABELING),
            inputs={"checkpoint": digest},
            code=_code("mal_core.labeling.work", "mal_core.models.checkpoints", packages=TORCH),
        )
    settings = deciding(labeler, Role.LABELING)
    if labeler.name not in FOUNDATIONS:
        return Chosen(
            checkpoint=None,
            labeler=labeler,
            settings={"labeler": settings},
            inputs={},
            code=_code(_MODULES[labeler.name], packages=("numpy", "opencv-python-headless")),
        )
    folder = find_weights(labeler)
    content = {path.name: str(run.store.digests.digest(path)) for path in weight_files(folder)}
    return Chosen(
        checkpoint=None,
        labeler=LabelerConfig(**{**settings, "weights": str(folder)}),
        settings={"labeler": {**settings, "weights": None}},
        inputs={"weights": sha256_json(content)},
        code=_code("mal_core.labelers.foundations", packages=("torch", "transformers")),
    )


_MODULES = {
    "box": "mal_core.labelers.shapes",
    "ellipse": "mal_core.labelers.shapes",
    "grabcut": "mal_core.labelers.grabcut",
}


def _code(*modules: str, packages: tuple[str, ...]) -> str:
    return code_version(
        [*modules, *SHARED_CODE], alone=LONE_CODE, packages=(*packages, "pycocotools")
    )
