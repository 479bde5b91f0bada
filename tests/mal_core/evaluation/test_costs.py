"""Hours of devices and of people."""

import pytest

from mal_core.evaluation.costs import Cost, CostFile, StageCost
from mal_core.processes.records import from_json


def a_cost() -> Cost:
    return Cost(
        stages=(
            StageCost(stage="train-mal", hours=23.0, devices=8, device="V100"),
            StageCost(stage="labels", hours=0.5, devices=1, device="V100"),
            StageCost(stage="solov2", hours=0.25, devices=1, device="CPU"),
        ),
        masks=1000,
        seconds_per_mask=79.2,
    )


def test_hours_count_every_device_and_kinds_are_kept_apart():
    assert a_cost().device_hours() == {"V100": 184.5, "CPU": 0.25}


def test_masks_drawn_by_hand_take_the_hours_that_coco_reports():
    assert a_cost().hours_saved == pytest.approx(22)
    assert a_cost().line() == (
        "cost: 184.5 h of V100, 15.0 min of CPU; 1000 masks drawn by hand at 79.2 s each: 22.0 h"
    )


def test_the_file_reads_back():
    assert from_json(CostFile, a_cost().to_json(), "cost").cost() == a_cost()
