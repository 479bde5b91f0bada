"""A guide by name: which labeler that is, with which settings, and what is refused."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from flows.settings import composing
from flows.settings.sweep import combinations
from flows.stages.retention import shown_settings
from mal_core.config.labelers import UNTRAINED
from mal_core.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", UNTRAINED)
def test_a_labelers_name_is_that_labeler_with_its_own_defaults(name: str) -> None:
    guide = composing.compose([f"mal.guide={name}"]).guide
    assert guide == composing.compose([f"mal.guide={name}", f"guide.name={name}"]).guide
    own = composing.compose([f"labeler={name}"]).labeler
    assert vars(guide) == vars(own)


def test_settings_of_a_guide_are_its_own_and_survive_a_manifest(folder: Path) -> None:
    weights = folder / "large"
    weights.mkdir()
    config = composing.compose(["mal.guide=sam2", "guide.weights=large", "guide.cut_to_box=false"])
    assert config.guide is not None
    assert (config.guide.weights, config.guide.cut_to_box) == (str(weights), False)
    assert (config.mal.guide, config.labeler.name) == (None, "mal")
    assert composing.from_plain(composing.plain(config)) == config


def test_settings_that_are_shown_say_the_guide_as_it_was_given_and_come_to_the_same_run(
    folder: Path,
) -> None:
    config = composing.compose(["mal.guide=ensemble", "guide.members=[grabcut,ellipse]"])
    written = folder / "config.yaml"
    written.write_text(composing.as_yaml(config))
    assert composing.read_yaml(written) == config
    shown = OmegaConf.to_container(OmegaConf.load(written))
    assert shown["mal"]["guide"] == "ensemble"
    guide = json.dumps(shown["guide"]).replace('"', "")
    assert composing.compose([f"mal.guide={shown['mal']['guide']}", f"guide={guide}"]) == config
    assert shown_settings(config)["mal"]["guide"] == "ensemble"


def test_a_name_goes_before_a_file_of_that_name_which_is_reached_by_its_path(folder: Path) -> None:
    (folder / "box").write_text("{}")
    named, file = composing.compose(["mal.guide=box"]), composing.compose(["mal.guide=./box"])
    assert (named.guided_by, named.mal.guide) == ("box", None)
    assert (file.guided_by, file.guide) == (folder / "box", None)


def test_an_ensemble_guides_unless_our_network_is_in_it() -> None:
    members = "guide.members=[grabcut,ellipse]"
    guide = composing.compose(["mal.guide=ensemble", members]).guide
    assert guide is not None
    assert [one.name for one in guide.members] == ["grabcut", "ellipse"]
    with pytest.raises(ConfigError, match=r"ensemble, with guide\.members=\[grabcut,ellipse\]"):
        composing.compose(["mal.guide=ensemble"])


def test_guides_can_be_swept() -> None:
    found = combinations(["mal.guide=box,ellipse,null", "workdir=w"])
    assert [one.name for one in found] == ["guide=box", "guide=ellipse", "guide=null"]
    guides = [composing.compose(one.overrides).guided_by for one in found]
    assert guides == ["box", "ellipse", None]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["mal.guide=mal"], "mal.guide=mal: a guide draws without a training on your boxes"),
        (["mal.guide=grabcuts"], "no such file. Wanted a COCO file of masks, or a labeler: box, "),
        (["mal.guide=box", "mal.self_training.rounds=0"], "not possible with mal.guide=box"),
        (["mal.guide=box", "labeler=grabcut"], "mal.guide=box guides the training"),
        (
            ["mal.guide=box", "labelers=[grabcut,ellipse]"],
            r"and labelers=\[grabcut,ellipse\] have none\. Leave one",
        ),
        (["mal.guide=box", "guide.iterations=2"], "guide.iterations=2 is .* with mal.guide=box,"),
        (["mal.guide=box", "guide.weights=a"], "guide.weights=a is not possible with mal.guide"),
        (["mal.guide=box", "guide.name=sam"], "guide.name: `guide` has settings of the labeler"),
        (["mal.guide=box", "guide=sam"], "guide=sam: `guide` has settings of the labeler"),
        (["mal.guide=sam2", "labeler.weights=a"], "the guide are given by guide.weights=a"),
        (["guide.weights=a"], "guide.weights: .* mal.guide is not given"),
        (["mal.guide=sam2", "guide.weights=null"], "mal.guide=sam2 needs guide.weights=..."),
    ],
)  # fmt: skip
def test_what_cannot_guide_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        composing.compose(given)
