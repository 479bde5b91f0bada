"""A manifest beside each label file and model: what it is made of, by digest, and its licences."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flows.settings import composing
from flows.stages import inputs, licensing, phase1
from flows.stages.run import Run
from flows.store.code_version import code_version, installed_version
from flows.store.local import Stored
from flows.store.manifest import is_intact, manifest_of, read_manifest, sealed
from mal_core.data.inspection.licences import LicenceCard, LicensedPart, card_of
from mal_core.errors import ArtifactError, ConfigError, DatasetError
from mal_core.jobs.reads import ReadCertificate, read_certificate
from mal_core.models.provenance import EncoderOrigin, read_origin
from mal_core.processes.files import sha256_file, write_json
from mal_core.processes.records import to_json

Kind = Literal["labels", "labeler", "segmenter", "scores", "calibration", "refinement", "review"]
CODE: dict[Kind, tuple[str, ...]] = {
    "labels": ("mal_core.labeling.work", "mal_core.labeling.mask_writer"),
    "labeler": ("mal_core.training.loop",),
    "segmenter": ("mal_core.jobs.segmenter",),
    "scores": ("mal_core.labelers.scoring",),
    "calibration": ("mal_core.evaluation.calibration",),
    "refinement": ("mal_core.labelers.refined_file",),
    "review": ("mal_core.review.corrections",),
}
"""The last four are labels that a command has written again."""
REWRITTEN = ("scores", "calibration", "refinement", "review")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pycocotools", "opencv-python-headless")
MMDET = ("onedl-mmcv", "onedl-mmengine", "onedl-mmdetection")
IMAGES = ".images"
WHICH = " (a photo or more; the digest is of all, so which ones is not known)"
FIELDS = {
    "kind": str,
    "file": str,
    "sha256": str,
    "settings": dict,
    "digests": dict,
    "versions": dict,
}
"""Of a manifest beside a published file, those that are compared."""
Json = dict[str, Any]


def write_card(
    run: Run, stored: Stored, file: Path, kind: Kind, *, seeds: Sequence[int]
) -> LicenceCard:
    """Write the manifest of a published file beside it.

    Args:
        run: The run that made it.
        stored: The stage's output that it is a copy of.
        file: What the user finds.
        kind: What it is.
        seeds: Of all that was random.
    """
    card = card_of(_parts(run, kind))
    of_store = read_manifest(stored.path)
    readers = _readers(run, stored, kind)
    content = {
        "kind": kind,
        "file": file.name,
        "sha256": sha256_file(file),
        "stage": {
            "stage": of_store.stage,
            "key": of_store.key,
            "config": of_store.config,
            "inputs": of_store.inputs,
            "code": of_store.code,
        },
        "digests": digests(run, kind),
        "seeds": list(seeds),
        "versions": versions(kind),
        "licences": to_json(card),
        "phase_1_read": {
            name: {**to_json(one), "clean": one.clean, "stage": _place(readers[name])}
            for name, one in _certificates(readers).items()
        },
        "settings": composing.plain(run.config),
    }
    target = manifest_of(file)
    new = sealed(content)
    if not target.is_file() or _read(target) != new:
        write_json(target, new, indent=1)
    return card


def write_rewritten(run: Run, labels: Path, output: Path, kind: Kind) -> None:
    """Write the manifest of labels that a command has made of others, where those have one.

    It carries their licences on. Human corrections and scores add none, a checkpoint its own.

    Args:
        run: Of the command.
        labels: The file it read.
        output: The file it wrote.
        kind: Which command, one of `REWRITTEN`.
    """
    parts, checkpoint = licensing.parts_beside(labels), run.config.checkpoint
    target = manifest_of(output)
    if parts is None:
        target.unlink(missing_ok=True)  # of a file that was there before
        return
    added = [] if checkpoint is None else licensing.parts_of_checkpoint(checkpoint)
    content = {
        "kind": kind,
        "file": output.name,
        "sha256": sha256_file(output),
        "digests": digests(run, kind),
        "versions": versions(kind),
        "licences": to_json(card_of(dict.fromkeys([*parts, *added]))),
        "settings": composing.plain(run.config),
    }
    write_json(target, sealed(content), indent=1)


def _rewritten_digests(run: Run) -> Json:
    config = run.config
    labels = config.labels
    if labels is None and config.pseudo_labels is None:
        labels = config.workdir / "labels" / "train.json"
    files = {
        "labels": labels,
        "pseudo_labels": config.pseudo_labels,
        "corrections": config.corrections,
        "human": config.human,
        "checkpoint": config.checkpoint,
    }
    return {name: run.store.digests.digest(path) for name, path in files.items() if path}


def reads(run: Run, stored: Stored, kind: Kind) -> dict[str, ReadCertificate]:
    """What phase 1 has read for an output: for a guide, in training, in labeling."""
    return _certificates(_readers(run, stored, kind))


def _certificates(readers: Mapping[str, Stored]) -> dict[str, ReadCertificate]:
    certificates = {name: read_certificate(one.path) for name, one in readers.items()}
    return {name: one for name, one in certificates.items() if one is not None}


def _readers(run: Run, stored: Stored, kind: Kind) -> dict[str, Stored]:
    config = run.config
    found: dict[str, Stored] = {}
    if config.guide is not None:
        found["guide"] = phase1.guide_labels(run)
    if config.trains_labeler:
        found["training"] = phase1.train_mal(run)
    if kind != "labeler" and config.pseudo_labels is None:
        found["labeling"] = stored if kind == "labels" else phase1.generate_pseudo_labels(run)
    return found


def _place(stored: Stored) -> str:
    """An output as `mal cache ls` lists it, with its whole key."""
    return f"{stored.stage}/{stored.path.name}"


def label_card(run: Run) -> LicenceCard:
    """The licences of what the labels of a run are made of."""
    return card_of(_parts(run, "labels"))


def _parts(run: Run, kind: Kind) -> list[LicensedPart]:
    config, found = run.config, inputs.inputs(run)
    encoder = licensing.encoder_part(_origin(run))
    segmenters = licensing.segmenter_parts(config) if kind == "segmenter" else ()
    return [
        *([] if encoder is None else [encoder]),
        *licensing.image_parts(config, found, val=False),
        *licensing.label_parts(config),
        *segmenters,
    ]


def _origin(run: Run) -> EncoderOrigin | None:
    """What phase 1 has left of its encoder's origin."""
    if run.config.pseudo_labels is not None:
        return None
    made = phase1.train_mal if run.config.trains_labeler else phase1.generate_pseudo_labels
    return read_origin(made(run).path)


def digests(run: Run, kind: Kind) -> Json:
    """Digests of all files that decide a file of this kind; None for one that cannot be read."""
    if kind in REWRITTEN:
        return _rewritten_digests(run)
    config, found, of = run.config, inputs.inputs(run), run.store.digests.digest
    splits = {"train": found.train}
    if kind == "segmenter" and found.val is not None:
        splits["val"] = found.val
    known: Json = inputs.digest_inputs(run, splits)
    files = {
        "encoder.weights": config.encoder.weights if config.trains_labeler else None,
        "mal.guide": config.mal.guide,
        "checkpoint": config.checkpoint,
        "pseudo_labels": config.pseudo_labels,
        "boxes": config.boxes,
    }
    known |= {name: of(path) for name, path in files.items() if path is not None}
    if kind == "segmenter":
        for recipe in config.segmenters:
            if recipe.weights is not None and Path(recipe.weights).is_absolute():
                known[f"segmenter.weights, {recipe.name}"] = of(Path(recipe.weights))
    return known


def versions(kind: Kind) -> Json:
    """The code and the packages at work."""
    names = (*PACKAGES, *(MMDET if kind == "segmenter" else ()))
    found = {name: installed_version(name) for name in ("mal-pipeline", *names)}
    return {"code": code_version(CODE[kind]), "python": platform.python_version(), **found}


def _read(path: Path, of: Path | None = None) -> Json:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        message = f"{path}: no such file. `mal train`, `label` and `segment` leave one."
        if of is not None and not of.exists():
            message = f"{of}: no such file"
        raise ConfigError(message) from error
    except (ValueError, RecursionError, OSError) as error:
        message = f"{path} is no manifest ({error})."
        raise ConfigError(message) from error
    return found if isinstance(found, dict) else {}


def _require_complete(path: Path, told: Json) -> None:
    """Refuse what is sealed as a manifest is, and is none of a published file."""
    wrong = [key for key, kind in FIELDS.items() if not isinstance(told.get(key), kind)]
    if not wrong and (told["kind"] not in CODE or Path(told["file"]).name != told["file"]):
        wrong = ["kind" if told["kind"] not in CODE else "file"]
    if wrong:
        message = f"{path} is no manifest of a published file: see {', '.join(wrong)} in it."
        raise ConfigError(message)


def differences(file: Path) -> list[str]:
    """What a file, its inputs and the code are, where that is not what its manifest says.

    Args:
        file: A labeled file, a checkpoint, or the manifest of one.

    Raises:
        ConfigError: There is no file or manifest, or its settings are those of another version.
    """
    path = manifest_of(file)
    told = _read(path, of=file)
    if not is_intact(told):
        return [f"{path.name}: the manifest itself was altered"]
    _require_complete(path, told)
    found = []
    made = path.with_name(str(told["file"]))
    seen = sha256_file(made) if made.is_file() else None
    if seen != told["sha256"]:
        found.append(_line(made.name, told["sha256"], seen))
    run = Run(composing.from_plain(told["settings"]))
    try:
        now = digests(run, told["kind"])
    except (DatasetError, ArtifactError) as error:
        return [*found, f"the data cannot be read any more: {error}"]
    for name in sorted(told["digests"].keys() | now.keys()):
        then, today = told["digests"].get(name), now.get(name)
        if then != today:
            photos = WHICH if name.endswith(IMAGES) and None not in (then, today) else ""
            found.append(f"{_line(name, then, today)}{photos}")
    here = versions(told["kind"])
    for name, then in told["versions"].items():
        if here.get(name) != then:
            found.append(_line(name, then, here.get(name)))
    return found


def _line(name: str, then: Any, today: Any) -> str:
    shown = [str(one)[:16] if one is not None else "absent" for one in (then, today)]
    return f"{name}: was {shown[0]}, is {shown[1]}"
