"""Grids of settings: which runs they are, and a real one."""

import json
from pathlib import Path

import pytest

from flows.settings.sweep import combinations, summary_rows
from mal_core.errors import ConfigError


def test_every_combination_has_its_settings_and_a_folder_of_its_own(tmp_path: Path) -> None:
    found = combinations(
        ["experiment=demo", "seed=0,1", "mal.crf.zeta=0.1,0.2", f"workdir={tmp_path / 'a b'}"]
    )
    names = ["seed=0,zeta=0.1", "seed=0,zeta=0.2", "seed=1,zeta=0.1", "seed=1,zeta=0.2"]
    assert [one.name for one in found] == names
    assert found[1].workdir == tmp_path / "a b" / "seed=0,zeta=0.2"
    assert {"seed=0", "mal.crf.zeta=0.2", "experiment=demo"} <= set(found[1].overrides)


def test_lists_and_paths_with_commas_are_single_values(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    found = combinations(
        ["experiment=demo", "segmenter_seeds=[0,1]", "seed=range(0,3)", f"workdir={folder}"]
    )
    assert [one.name for one in found] == ["seed=0", "seed=1", "seed=2"]
    assert all("segmenter_seeds=[0,1]" in one.overrides for one in found)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=demo"], "no setting has several values"),
        (["experiment=demo", "seed=range(0,300)"], "300 runs, at most 200"),
        (["experiment=demo", "seed=0,x"], "seed"),
        (["experiment=demo", "sead=0,1"], "Did you mean 'seed'"),
    ],
)
def test_grids_that_cannot_run_are_refused_before_anything_does(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        combinations(overrides)


def test_a_run_that_has_not_finished_is_listed_as_such(tmp_path: Path) -> None:
    found = combinations(["experiment=demo", "seed=0,1", f"workdir={tmp_path}"])
    assert [row["retention"] for row in summary_rows(found)] == ["n/a", "n/a"]


@pytest.mark.slow
def test_a_real_sweep_shares_stages_and_survives_a_run_that_fails(fresh_mal, tiny) -> None:
    """A learning rate that ends in no number fails; the labels are made once for both."""
    grid = "segmenter.learning_rate=0.001,1e+30"
    process = fresh_mal.start("sweep", *tiny, "human_arm=none", grid)
    output = process.communicate()[0]
    assert process.returncode == 1, output
    assert "1 of 2 runs failed: learning_rate=1e+30" in output
    assert output.count("train-mal: running") == 1
    good = fresh_mal.workdir / "learning_rate=0.001"
    assert json.loads((good / "retention.json").read_text())["segmenters"]
    assert "learning_rate=0.001  solov2_r18" in output
