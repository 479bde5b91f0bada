"""The first stages: the input in normal form, drawn or given, and its check before all else."""

import dataclasses
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from flows.settings.run_config import Inputs, data_config
from flows.stages import licensing
from flows.stages.images import plain_inputs
from flows.stages.normal_form import in_users_words, in_utf8, normal_form, states_sizes
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import CHECK, SCENES
from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.errors import ConfigError, DatasetError, raise_together, told_of
from mal_core.processes.files import permission_problem, sha256_json, write_json
from mal_core.processes.records import to_json


def inputs(run: Run) -> Inputs:
    """The splits of a run in normal form; draws the scenes first when it is made of them.

    Raises:
        ConfigError: The configuration names no training split.
        DatasetError: The annotations are not what `data.format` says.
    """
    if run.inputs is None:
        source = run.config.data
        if source.source == "scenes":
            given = drawn(run)
        elif source.train is None:
            message = "Missing mandatory value: data.train.images, data.train.annotations."
            raise ConfigError(message)
        else:
            given = Inputs(train=source.train, val=source.val)
            _require_permission(given)
        run.inputs = normal_form(run, given)
        if source.source == "files":
            run.inputs = plain_inputs(
                run,
                run.inputs,
                sizes_stated=states_sizes(source.train_format),
                val_sizes_stated=states_sizes(source.val_format),
            )
    return run.inputs


def _require_permission(given: Inputs) -> None:
    failures = []
    for split in (given.train, given.val):
        places = () if split is None else (split.annotations, split.images)
        problems = [text for place in places if (text := permission_problem(place)) is not None]
        if problems and split is not None:
            failures.append(DatasetError(split.annotations, problems))
    raise_together(failures)


def val_split(run: Run) -> SplitConfig:
    """The validation split.

    Raises:
        ConfigError: The configuration names none.
    """
    found = inputs(run).val
    if found is None:
        message = "Missing mandatory value: data.val.images, data.val.annotations."
        raise ConfigError(message)
    return found


def drawn(run: Run) -> Inputs:
    """The splits that the project draws itself."""
    settings = dataclasses.asdict(run.config.data)["scenes"]

    def work(folder: Path) -> None:
        from scenes.write import write_splits

        # Drawing takes seconds and cannot be continued: nothing of an old attempt may stay.
        for split in ("train", "val"):
            shutil.rmtree(folder / split, ignore_errors=True)
        write_splits(folder, **settings)

    version = code_version(["scenes.write"], packages=["numpy", "opencv-python-headless"])
    key = StageKey(stage=SCENES, config=settings, inputs={}, code=version)
    folder = run.get(key, work).path
    train, val = (
        SplitConfig(
            images=folder / split / "images", annotations=folder / split / "annotations.json"
        )
        for split in ("train", "val")
    )
    return Inputs(train=train, val=val)


def check(run: Run, *, need_val: bool) -> Stored:
    """Check the whole input; nothing is trained on data that has not passed.

    Leaves check.json: `notes` for the user, `human_masks`, whether every box of the
    training file has a mask, `most_objects`, the objects on the fullest image,
    `object_sizes` of the training file, `all_images_small`, `counts`, a line per split, and
    `oddities`, what is unusual, by kind. Where both splits have passed, one of them has too.

    Raises:
        DatasetError: The input is wrong; carries all problems of a file.
        ConfigError: The configuration names no data, or `license_policy` does not permit it.
    """
    found = inputs(run)
    licensing.require_permitted(run.config, found, val=need_val)
    if need_val:
        _check_second_ruler(run)
        return run.get(_check_key(run, found.train, val_split(run)), partial(_check, run, True))
    if found.val is not None and found.val.annotations.is_file():
        both = _check_key(run, found.train, found.val)
        if run.store.folder(both).exists():
            return run.get(both, partial(_check, run, True))
    return run.get(_check_key(run, found.train, None), partial(_check, run, False))


def check_all(run: Run) -> Stored:
    """Check all that the settings name: the validation split and a guide, where there is one."""
    checked = check(run, need_val=run.config.data.scores)
    check_guide(run)
    return checked


def check_guide(run: Run) -> None:
    """See that the masks of `mal.guide` are those of the training boxes.

    Raises:
        DatasetError: It cannot be read, or its masks are of other boxes or sizes.
    """
    given, train = run.config.mal.guide, inputs(run).train
    if given is None:
        return
    from mal_core.data.matched import match_masks

    plain, own = in_utf8(run, given), run.config.data.train
    named = train.annotations if own is None else own.annotations
    with told_of({plain: given}):
        found = match_masks(
            plain, run.view(train.annotations).dataset(train.images), boxes_of=named
        )
        if found.problems:
            raise DatasetError(plain, found.problems)


def check_scored(run: Run) -> Stored:
    """Check both splits, and that phase 2 takes their images; leaves what `check` does.

    Raises:
        DatasetError: The input is wrong, or phase 2 would leave out all images.
        ConfigError: The configuration names no data.
    """
    checked = check(run, need_val=True)
    require_large_images(run, checked)
    return checked


def _check_second_ruler(run: Run) -> None:
    ruler = run.config.second_ruler
    if ruler is not None and ruler not in _accepted_rulers:
        from mal_core.data.inspection.second_ruler import check_second_ruler

        plain, val = in_utf8(run, ruler), val_split(run).annotations
        with told_of({plain: ruler, val: _own_val(run, val)}):
            check_second_ruler(plain, val)
        _accepted_rulers.add(ruler)


def _own_val(run: Run, normal: Path) -> Path:
    given = run.config.data.val
    return normal if given is None else given.annotations


_accepted_rulers: set[Path] = set()
"""Looked at by this process: stages ask for the check many times."""


def _check(run: Run, need_val: bool, folder: Path) -> None:
    from mal_core.data.inspection.check import check_data

    source = run.config.data
    found = inputs(run)
    data = data_config(source, found)
    try:
        checked = check_data(data, need_val=need_val, decode=source.decode_images, read=run.view)
    except DatasetError as error:
        raise in_users_words(run, found, error) from error
    record = {
        "notes": [*checked.summary(), *_notes(found, need_val)],
        "human_masks": checked.has_train_masks,
        "most_objects": checked.most_objects,
        "counts": checked.counts(),
        "oddities": [dataclasses.asdict(oddity) for oddity in checked.oddities()],
        "object_sizes": to_json(checked.object_sizes),
        "all_images_small": checked.num_small_images == len(checked.train.images),
    }
    write_json(folder / "check.json", record, indent=1)


def _notes(found: Inputs, need_val: bool) -> list[str]:
    notes = [f"training images: {note}" for note in found.train_notes]
    return notes + [f"validation images: {note}" for note in found.val_notes if need_val]


def _check_key(run: Run, train: SplitConfig, val: SplitConfig | None) -> StageKey:
    source = run.config.data
    splits = {"train": train} if val is None else {"train": train, "val": val}
    try:
        digests = digest_inputs(run, splits)
    except DatasetError:
        # Not even a list of images: the check itself describes that best.
        with tempfile.TemporaryDirectory() as folder:
            _check(run, val is not None, Path(folder))
        raise
    return StageKey(
        stage=CHECK,
        config={
            "strict": source.strict,
            "decode_images": source.decode_images,
            "max_image_pixels": source.max_image_pixels,
        },
        inputs={**digests, "notes": sha256_json(_notes(inputs(run), val is not None))},
        code=code_version(
            ["mal_core.data.inspection.check"], packages=["pillow", "opencv-python-headless"]
        ),
    )


def read_check(stored: Stored) -> dict[str, Any]:
    """What the check of the input found."""
    return dict(json.loads((stored.path / "check.json").read_text()))


def require_large_images(run: Run, checked: Stored) -> None:
    """Refuse training images of which the segmenters' recipes would leave all out.

    Raises:
        DatasetError: Every image is too small; phase 1 would train before phase 2 found out.
    """
    from mal_core.data.inspection.check import LEAST_SIDE

    if not read_check(checked)["all_images_small"] or not all(map(_is_ours, run.config.segmenters)):
        return
    found = inputs(run)
    problem = (
        f"all training images have a side under {LEAST_SIDE} px, and mmdet's recipes leave such "
        "images out, so phase 2 has none. Give larger images, or run only `mal train` and "
        "`mal label`."
    )
    error = DatasetError(found.train.annotations, [problem])
    raise in_users_words(run, found, error)


def _is_ours(recipe: SegmenterConfig) -> bool:
    """Whether a recipe filters images as mmdet's own do."""
    own = "phase2_configs" in recipe.config.parts or str(recipe.config).startswith("mmdet::")
    return own and "filter_cfg" not in str(recipe.options)


def digest_inputs(run: Run, splits: dict[str, SplitConfig]) -> dict[str, str]:
    """Digests of the annotations and of the images of each split."""
    found = {}
    for name, split in splits.items():
        digests = run.digests(split)
        found[f"{name}.annotations"] = digests.annotations
        found[f"{name}.images"] = digests.images
    return found
