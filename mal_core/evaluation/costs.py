"""What a run cost, and what it saved: device hours against hours of drawing masks."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        for one in self.stages:
            total[one.device] = total.get(one.device, 0.0) + one.hours * one.devices
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
        return {
            "stages": [dataclasses.asdict(one) for one in self.stages],
            "annotation": {
                "masks": self.masks,
                "seconds_per_mask": self.seconds_per_mask,
                "hours_saved": self.hours_saved,
            },
        }


def cost_from_json(content: Mapping[str, Any]) -> Cost:
    """Inverse of `Cost.to_json`."""
    annotation = content["annotation"]
    return Cost(
        stages=tuple(StageCost(**one) for one in content["stages"]),
        masks=annotation["masks"],
        seconds_per_mask=annotation["seconds_per_mask"],
    )


def _hours(hours: float) -> str:
    """A duration for people: minutes below one hour."""
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:.1f} h"
