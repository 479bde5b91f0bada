"""One way of stepping on the CPU; the graph's equality with it needs a GPU (test_cuda.py)."""

import dataclasses

import torch

from mal_core.training.mean_field import Field, settle_step_by_step


def field_of(state: list[float], log_box: list[float] | None = None) -> Field:
    log_odds = torch.tensor(state)
    return Field(
        log_odds=log_odds,
        updated=torch.empty_like(log_odds),
        neighbours=[(1, torch.full_like(log_odds, 0.5))],
        log_box=None if log_box is None else torch.tensor(log_box),
        bounds=(-2.0, 2.0),
    )


def test_a_step_adds_what_neighbours_say_on_both_sides_and_clamps():
    field = field_of([1.0, 0.0, -1.0, -2.0])
    field.step()
    assert field.updated.tolist() == [1.0, 0.0, -2.0, -2.0]


def test_nothing_is_foreground_outside_the_box():
    settled = settle_step_by_step(field_of([2.0, 2.0, 2.0], [0.0, 0.0, -torch.inf]), 5)
    assert settled[2] == -2.0


def test_a_settled_field_stays_whatever_the_number_of_steps():
    start = field_of([1.0, 0.5, -0.5, -1.5])
    few, many = (
        settle_step_by_step(dataclasses.replace(start, log_odds=start.log_odds.clone()), steps)
        for steps in (20, 500)
    )
    assert torch.equal(few, many)


def test_no_steps_leave_the_field_as_it_is():
    assert settle_step_by_step(field_of([0.5, -0.5]), 0).tolist() == [0.5, -0.5]
