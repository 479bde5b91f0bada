"""What a run cost, and what it saved: device hours against hours of drawing masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.processes.records import read_record, to_json

ESTIMATE = "estimate.json"
"""In the working folder, where somebody asked what a run will take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """One stage, as it was when its output was computed; start-up and prediction included.

    Attributes:
        hours: Wall clock; of a stage that was continued after a kill, the last attempt.
        devices: How many worked side by side.
        device: What they are, such as "CPU" or a GPU's name.
    """

    stage: str
    hours: float
    devices: int
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """All stages of a run and the masks they made.

    Attributes:
        seconds_per_mask: What a person needs to draw one.
    """

    stages: tuple[StageCost, ...]
    masks: int
    seconds_per_mask: float

    @property
    def hours_saved(self) -> float:
        """Of a person who would have drawn the masks; the boxes were there before."""
        return self.masks * self.seconds_per_mask / 3600

    def device_hours(self) -> dict[str, float]:
        """Hours of each kind of device."""
        total: dict[str, float] = {}
        for stage in self.stages:
            total[stage.device] = total.get(stage.device, 0.0) + stage.hours * stage.devices
        return total

    def line(self) -> str:
        """Both in one line."""
        spent = ", ".join(f"{_hours(h)} of {name}" for name, h in self.device_hours().items())
        return (
            f"cost: {spent or 'nothing'}; {self.masks} masks drawn by hand at "
            f"{self.seconds_per_mask:g} s each: {_hours(self.hours_saved)}"
        )

    def to_json(self) -> dict[str, Any]:
        """This part of retention.json."""
        drawn = Drawn(
            masks=self.masks,
            seconds_per_mask=self.seconds_per_mask,
            hours_saved=self.hours_saved,
        )
        content: dict[str, Any] = to_json(CostFile(stages=self.stages, annotation=drawn))
        return content


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What a person would have spent, as the file says it."""

    masks: int
    seconds_per_mask: float
    hours_saved: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CostFile:
    """A cost as it stands in retention.json."""

    stages: tuple[StageCost, ...]
    annotation: Drawn

    def cost(self) -> Cost:
        """The record; hours saved follow from the rest."""
        drawn = self.annotation
        return Cost(stages=self.stages, masks=drawn.masks, seconds_per_mask=drawn.seconds_per_mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one stage will take.

    Attributes:
        stage: Its title.
        hours: Of all its work, one after the other.
        rate: Units per second: steps, boxes or batches of images.
        units: How many there are in all.
        disk_bytes: That its outputs take.
        memory_bytes: Of the largest process so far.
        how: "measured", or "from the store" where it is done already.
    """

    stage: str
    hours: float
    rate: float
    units: int
    disk_bytes: int
    memory_bytes: int
    how: str = "measured"


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateFile:
    """estimate.json."""

    stages: tuple[Estimate, ...]


def estimate_and_truth(path: Path, costs: Sequence[StageCost]) -> dict[str, str]:
    """What was expected of each stage beside what it took; nothing where nobody estimated.

    Args:
        path: estimate.json of the working folder; it may be absent.
        costs: What the stages took; those of a segmenter begin with its name.
    """
    if not path.is_file():
        return {}
    lines = {}
    for stage in read_record(EstimateFile, path).stages:
        name = stage.stage.removeprefix("train-segmenter, ").split(", ")[0]
        took = [cost.hours for cost in costs if cost.stage.split(", ")[0] == name]
        if took:
            lines[f"time, {name}"] = f"expected {_hours(stage.hours)}, took {_hours(sum(took))}"
    return lines


def _hours(hours: float) -> str:
    """A duration for people: minutes below one hour."""
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:.1f} h"
