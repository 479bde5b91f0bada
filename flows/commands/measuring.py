"""How fast this machine does each stage: the real work, begun and ended after a minute.

Nothing is modeled: children are started as a run starts them, told to end once the time is
up, and what their progress says meanwhile is the rate.
"""

import contextlib
import dataclasses
import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from flows.settings.run_config import RunConfig
from flows.stages import inputs, phase1, phase2
from flows.stages.run import Run
from flows.stages.trainings import Training, trainings
from flows.store.local import Store
from flows.store.manifest import read_manifest
from flows.store.stage_names import CHECK, GUIDE, LABEL, SEGMENT, TRAIN
from mal_core.config.labelers import LabelerConfig
from mal_core.data.coco import parse_coco
from mal_core.errors import WorkerError
from mal_core.evaluation.costs import Estimate
from mal_core.processes import progress
from mal_core.processes.children import end_children
from mal_core.processes.files import write_json

logger = logging.getLogger(__name__)

SHORT = 1
"""Steps of a training that is only there for what comes after it."""


class Watch:
    """Hears of the progress of children, and ends them once the time is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.begun = seconds, time.monotonic()
        self.heard: dict[str, list[tuple[float, int, int]]] = {}
        self._timer: Timer | None = None
        self._wanted, self._overdue, self._ended = "", False, False

    @contextlib.contextmanager
    def over(self, title: str) -> Iterator[None]:
        """Watch work whose progress has a title that ends so; its end by us is no error."""
        self._wanted = title
        progress.listeners.append(self._hear)
        try:
            yield
        except WorkerError:
            if not self._ended:
                raise  # it failed by itself
        finally:
            progress.listeners.remove(self._hear)
            if self._timer is not None:
                self._timer.cancel()

    def _hear(self, title: str, done: int, total: int, _line: str) -> None:
        self.heard.setdefault(title, []).append((time.monotonic(), done, total))
        if self._wanted not in title:
            return
        if self._timer is None:
            self._timer = Timer(self.seconds, self._end)
            self._timer.daemon = True
            self._timer.start()
        elif self._overdue:
            self._end()

    def _end(self) -> None:
        """End the children, once there is anything to measure."""
        self._overdue = not any(reports[-1][1] > reports[0][1] for reports in self._of_wanted())
        if not self._overdue:
            self._ended = True
            end_children()

    def start_up(self) -> float:
        """Seconds until the work itself began."""
        return next((wanted[0][0] for wanted in self._of_wanted()), time.monotonic()) - self.begun

    def rate(self) -> tuple[float, int]:
        """Units per second, and how many there are; the first report is not counted."""
        for reports in self._of_wanted():
            (first, begun, total), (last, done, _) = reports[0], reports[-1]
            if len(reports) > 2:  # the first unit pays for memory and caches
                first, begun, _ = reports[1]
            if done > begun:
                return (done - begun) / max(last - first, 1e-3), total
            return done / max(last - first, 1e-3), total
        return 0.0, 0

    def _of_wanted(self) -> Iterator[list[tuple[float, int, int]]]:
        for title, reports in self.heard.items():
            if self._wanted in title:
                yield reports


def measure(run: Run, *, seconds: float, scored: bool) -> Iterator[Estimate]:
    """Measure each stage of a run that is not in the store yet, and say what is.

    Args:
        run: The run; its own store gets the check of the input and nothing else.
        seconds: To measure each stage for, after its start-up.
        scored: Segmenters are trained too.

    Raises:
        MalCoreError: The input is wrong, or a stage fails.
    """
    checked = inputs.check(run, need_val=scored)
    yield _from_store(CHECK, read_manifest(checked.path).seconds)
    run.store.root.mkdir(parents=True, exist_ok=True)
    # Beside the store: a disk of the same kind, with links to nothing that could be harmed.
    with tempfile.TemporaryDirectory(dir=run.store.root, prefix=".estimate-") as folder:
        work = _Measured(run, Path(folder), seconds)
        if run.config.guide is not None:
            yield work.guiding()
        if run.config.trains_labeler:
            yield work.training()
        if run.config.pseudo_labels is None:
            yield work.labeling()
        if scored:
            yield from work.segmenters()


def _from_store(stage: str, seconds: float) -> Estimate:
    return Estimate(
        stage=stage, hours=seconds / 3600, rate=0.0, units=0, disk_bytes=0, memory_bytes=_memory(),
        how="from the store",
    )  # fmt: skip


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Measured:
    """The stages of a run, each begun in a store of its own."""

    def __init__(self, run: Run, folder: Path, seconds: float) -> None:
        self._run, self._folder, self._seconds = run, folder, seconds
        self._count = 0

    def _begun(self, change: Callable[[RunConfig], RunConfig] | None = None) -> Run:
        """The run with a store of its own; its images need not be decoded again."""
        self._count += 1
        config = self._run.config
        data = dataclasses.replace(config.data, decode_images=False)
        config = dataclasses.replace(config, data=data)
        root = self._folder / str(self._count)
        return Run(change(config) if change else config, store=Store(root))

    def _watched(
        self, stage: str, title: str, run: Run, work: Callable[[], Any], through: str = ""
    ) -> Estimate:
        """Begin a stage and end it; what it takes by its rate."""
        watch = Watch(self._seconds)
        with watch.over(title):
            work()
        rate, units = watch.rate()
        total = watch.start_up() + (units / rate if rate else 0.0)
        return Estimate(
            stage=stage,
            hours=total / 3600,
            rate=rate,
            units=units,
            disk_bytes=_size(run.store.root / (through or stage.split(",")[0])),
            memory_bytes=_memory(),
        )

    def guiding(self) -> Estimate:
        """Masks by the labeler that `mal.guide` names."""
        run = self._begun(lambda config: dataclasses.replace(config, label_shards=1))
        inputs.check(run, need_val=False)
        phase1.boxes(run)
        work = partial(phase1.guide_labels, run)
        return self._side_by_side(self._watched(GUIDE, "label boxes", run, work, LABEL))

    def _side_by_side(self, alone: Estimate) -> Estimate:
        """What labeling in one process takes, in as many as the run has."""
        return dataclasses.replace(
            alone, hours=alone.hours / self._run.config.labelers_side_by_side
        )

    def training(self) -> Estimate:
        """Phase 1; what is learned takes as long with a guide's masks as without."""
        run = self._begun(lambda config: dataclasses.replace(config, guide=None))
        inputs.check(run, need_val=False)
        phase1.boxes(run)
        return self._watched(TRAIN, "train MAL", run, lambda: phase1.train_mal(run))

    def labeling(self) -> Estimate:
        """Labels of a network of one step: as slow as those of a good one."""

        def short(config: RunConfig) -> RunConfig:
            mal = dataclasses.replace(config.mal, max_steps=SHORT)
            return dataclasses.replace(config, mal=mal, guide=None, label_shards=1)

        run = self._begun(short)
        if run.config.trains_labeler:
            phase1.train_mal(run)
        work = partial(phase1.generate_pseudo_labels, run)
        return self._side_by_side(self._watched(LABEL, "label boxes", run, work))

    def segmenters(self) -> Iterator[Estimate]:
        """Phase 2: steps of each recipe, and its predictions, on filled boxes."""
        boxes = self._folder / "boxes.json"
        write_json(boxes, _filled_boxes(inputs.inputs(self._run).train.annotations))
        every = list(trainings(self._run))
        for recipe in self._run.config.segmenters:
            count = sum(training.recipe.name == recipe.name for training in every)
            training = next(training for training in every if training.recipe.name == recipe.name)
            training = dataclasses.replace(training, arm="pseudo")
            yield self._segmenter(training, boxes, count)

    def _segmenter(self, training: Training, boxes: Path, count: int) -> Estimate:
        name = training.recipe.name

        def filled(config: RunConfig) -> RunConfig:
            mal = dataclasses.replace(config.mal, guide=None)
            return dataclasses.replace(
                config,
                mal=mal,
                labeler=LabelerConfig(),
                pseudo_labels=boxes,
                checkpoint=None,
                boxes=None,
                guide=None,
            )

        run = self._begun(filled)
        title = f"{SEGMENT}, {name}"
        steps = self._watched(
            title, f"train {name}", run, lambda: phase2.train_segmenter(run, training)
        )
        shutil.rmtree(run.store.root / SEGMENT, ignore_errors=True)
        short = dataclasses.replace(training.recipe, max_steps=SHORT)
        once = dataclasses.replace(training, recipe=short)
        images = self._watched(
            title, f"predict {name}", run, lambda: phase2.train_segmenter(run, once)
        )
        # The second measurement has a start-up and a step of its own: its images alone count.
        predicting = images.units / images.rate / 3600 if images.rate else 0.0
        return dataclasses.replace(
            steps,
            stage=f"{title}, {count} trainings",
            hours=(steps.hours + predicting) * count,
            disk_bytes=(steps.disk_bytes + images.disk_bytes) * count,
            memory_bytes=images.memory_bytes,
        )


def _filled_boxes(annotations: Path) -> dict[str, Any]:
    """A labeled file whose masks are the boxes."""
    content = parse_coco(annotations)
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            entry["area"] = w * h
    return content
