"""Settings of our own network where others draw: refused for a run, left out of a grid."""

from pathlib import Path

import pytest

from flows.settings.sweep import combinations
from flows.settings.unheeded import UnheededError, asks_for_nothing
from flows.stages.session import Session
from mal_core.errors import ConfigError

WITHOUT_US = ["labeler=ensemble", "labeler.members=[grabcut,ellipse]"]
WITH_US = ["labeler=ensemble", "labeler.members=[mal,ellipse]"]
DEMO = "experiment=demo"


@pytest.mark.parametrize(
    ("drawer", "name"), [(["labeler=ellipse"], "ellipse"), (WITHOUT_US, "ensemble")]
)
@pytest.mark.parametrize(
    "setting", ["mal.tighten=true", "mal=paper", "encoder.name=deit_tiny_patch16_224"]
)
def test_a_run_refuses_them_wherever_it_is_started(
    drawer: list[str], name: str, setting: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Session().config([DEMO, *drawer, setting])
    assert str(caught.value) == (
        f"{setting}: it is of our own network, and labeler={name} draws without. Leave it out."
    )


@pytest.mark.parametrize("drawer", [["labeler=mal"], WITH_US, []])
def test_a_run_with_our_network_takes_them(drawer: list[str]) -> None:
    assert Session().config([DEMO, *drawer, "mal.tighten=true"]).mal.tighten


def test_what_asks_for_nothing_is_taken() -> None:
    assert asks_for_nothing("mal.guide=null")
    assert Session().config([DEMO, "labeler=box", "mal.tighten=false"]).labeler.name == "box"


def test_a_grid_of_labelers_leaves_them_to_those_that_heed_them(tmp_path: Path) -> None:
    found = combinations(
        [DEMO, "labeler=mal,box", "mal.tighten=true", "seed=0,1", f"workdir={tmp_path}"],
        Session().config,
    )
    heeded = {one.name: "mal.tighten=true" in one.overrides for one in found}
    assert heeded == {
        "labeler=mal,seed=0": True,
        "labeler=mal,seed=1": True,
        "labeler=box,seed=0": False,
        "labeler=box,seed=1": False,
    }


@pytest.mark.parametrize(
    "grid",
    [
        ["labeler=box,ellipse", "mal.tighten=true"],
        ["labeler=grabcut", "mal.crf.zeta=0.1,0.2"],
    ],
)
def test_a_grid_in_which_nobody_heeds_them_is_refused(grid: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnheededError, match="it is of our own network"):
        combinations([DEMO, *grid, f"workdir={tmp_path}"], Session().config)
