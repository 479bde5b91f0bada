"""The images of a split as ordinary files under their own names, for both phases alike."""

import logging
from collections.abc import Sequence
from pathlib import Path

from flows.settings.run_config import DataSource, Inputs
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import IMAGES
from mal_core.config import SplitConfig
from mal_core.errors import DatasetError
from mal_core.processes.files import sha256_json
from mal_core.processes.records import read_record, write_record
from mal_core.types import ImageRecord

logger = logging.getLogger(__name__)

PLAN, PIXELS = "plan.json", "pixels"
Notes = tuple[str, ...]


def plain_inputs(run: Run, given: Inputs, *, sizes_stated: bool, val_sizes_stated: bool) -> Inputs:
    """Both splits with ordinary images, and notes on what that took."""
    train, notes = plain_images(run, given.train, sizes_stated=sizes_stated)
    notes = given.train_notes + notes
    if given.val is None:
        return Inputs(train=train, val=None, train_notes=notes)
    val, val_notes = plain_images(run, given.val, sizes_stated=val_sizes_stated)
    val_notes = given.val_notes + val_notes
    return Inputs(train=train, val=val, train_notes=notes, val_notes=val_notes)


def plain_images(
    run: Run,
    split: SplitConfig,
    listed: Sequence[ImageRecord] | None = None,
    *,
    sizes_stated: bool = True,
) -> tuple[SplitConfig, Notes]:
    """A split whose images both phases can read as they are, and notes for the user.

    It is the split itself where every image is an ordinary one already. Otherwise its folder is
    a view in the store: links to the user's files, and written anew what was turned or scaled.
    Files that cannot be read at all are left to the check of the input.

    Args:
        run: The run.
        split: Images and a COCO file.
        listed: The images of that file, where they are known already.
        sizes_stated: The sizes are the annotation file's, not read from the pixels.
    """
    try:
        listed = run.view(split.annotations).images if listed is None else listed
    except DatasetError:
        return split, ()
    stored = _planned(run, split.images, listed, sizes_stated=sizes_stated)
    from mal_core.data.images.plan import ImagePlan, show_plan

    plan = read_record(ImagePlan, stored.path / PLAN)
    if not plan.changes:
        return split, plan.notes
    view = stored.path / f"view-{sha256_json(str(split.images))[:12]}"
    show_plan(view, split.images, plan, listed, stored.path / PIXELS)
    return SplitConfig(images=view, annotations=split.annotations), plan.notes


def photos_of(run: Run, images: Path, labels: Path) -> Path:
    """The folder of a labeled file's photos as `mal label` saw them; notes go to the log.

    Args:
        run: The run.
        images: The user's folder.
        labels: COCO file, whose names and sizes decide.
    """
    split, notes = plain_images(run, SplitConfig(images=images, annotations=labels))
    for note in notes:
        logger.info("images: %s", note)
    return split.images


def _planned(
    run: Run, images: Path, listed: Sequence[ImageRecord], *, sizes_stated: bool
) -> Stored:
    source, digest = run.config.data, run.images_digest(images, listed)

    def work(folder: Path) -> None:
        from mal_core.data.images.plan import plan_images, write_all_pixels

        plan = plan_images(
            images,
            listed,
            orientation=source.orientation,
            max_pixels=source.max_image_pixels,
            sizes_stated=sizes_stated,
        )
        write_all_pixels(images, plan, folder / PIXELS)
        write_record(folder / PLAN, plan)

    sizes = [[image.file_name, *image.size] for image in listed]
    inputs = {"listed": sha256_json(sizes), "images": digest.sha256}
    if digest.missing:
        inputs["folder"] = _listing(images)
    key = StageKey(
        stage=IMAGES,
        config={**_settings(source), "sizes_stated": sizes_stated},
        inputs=inputs,
        code=code_version(
            ["mal_core.data.images.plan"], packages=["numpy", "opencv-python-headless", "pillow"]
        ),
    )
    return run.get(key, work)


def _settings(source: DataSource) -> dict[str, object]:
    return {"orientation": source.orientation, "max_image_pixels": source.max_image_pixels}


def _listing(folder: Path) -> str:
    """Digest of the names below a folder and of its own path: they decide what a name means."""
    from mal_core.data.images.walking import entries_below

    names = sorted(name for name, _ in entries_below(folder))
    return sha256_json(
        [str(folder), [name.encode(errors="surrogateescape").hex() for name in names]]
    )
