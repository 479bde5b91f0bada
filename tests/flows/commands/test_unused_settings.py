"""Settings that a verb has no use for."""

import pytest

from flows.commands.cli import HELP, main
from flows.commands.unused_settings import heeded, refuse_unused, work_of
from flows.settings.commands import CHECKED
from mal_core.errors import ConfigError

OVERRIDING = sorted(set(HELP) - {"cache", "verify"})


@pytest.mark.parametrize("verb", ["score", "calibrate", "export-labels", "review"])
@pytest.mark.parametrize("override", ["mal=paper", "mal.refinement.steps=3", "labeler=grabcut"])
def test_settings_of_labeling_are_refused_by_who_draws_nothing(verb, override, capsys):
    assert main([verb, "labels=a.json", override, "output=b.json"]) == 2
    own = "; a labeler in checkpoint=FILE brings its own settings" if verb == "score" else ""
    told = f"{override}: `mal {verb}` asks nothing of {override.partition('=')[0]}{own}"
    assert capsys.readouterr().err == f"mal: {told}. Leave it out.\n"


@pytest.mark.parametrize("verb", sorted({*OVERRIDING} - {*CHECKED}))
def test_a_policy_for_licences_is_not_taken_by_who_looks_at_none(verb, capsys):
    assert main([verb, "license_policy=commercial"]) == 2
    assert f"`mal {verb}` looks at no licence" in capsys.readouterr().err
    refuse_unused(["license_policy=any"], verb)


@pytest.mark.parametrize("verb", ["review import", "evaluate labels="])
def test_neither_is_it_by_a_part_of_a_verb_that_looks_at_none(verb, capsys):
    given = verb.split() if verb.startswith("review") else [*verb.split()[:1], "labels=a.json"]
    assert main([*given, "license_policy=commercial"]) == 2
    assert f"`mal {verb}` looks at no licence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train output=a.pth", "output=a.pth: `mal train` does nothing with it. `mal label`,"),
        ("sweep output=a.json seed=0,1", "output=a.json: `mal sweep` does nothing with it."),
        ("run labels=a.json", "labels=a.json: `mal run` does nothing with it. `mal evaluate`,"),
        ("label fix=true", "fix=true: `mal label` does nothing with it. `mal check` does. Leave"),
        ("check images=photos", "images=photos: `mal check` does nothing with it."),
        (
            "review import worst=3",
            "worst=3: `mal review import` does nothing with it. `mal review`",
        ),
        ("bake-off share=0.1", "share=0.1: `mal bake-off` does nothing with it."),
        ("score +format=yolo", "+format=yolo: `mal score` does nothing with it."),
        (
            "estimate sample=3",
            "sample=3: `mal estimate` does nothing with it. `mal bake-off` does.",
        ),
    ],
)
def test_a_setting_of_another_verb_is_refused_by_name(command, told, capsys):
    assert main(command.split()) == 2
    assert capsys.readouterr().err.startswith(f"mal: {told}")


@pytest.mark.parametrize("setting", ["mal.tighten=true", "mal=paper", "encoder.name=vit"])
def test_settings_of_our_network_are_refused_where_another_labeler_draws(setting, capsys):
    assert main(["label", "labeler=grabcut", setting]) == 2
    told = f"{setting}: it is of our own network, and labeler=grabcut draws without. Leave it out."
    assert capsys.readouterr().err == f"mal: {told}\n"
    assert main(["sweep", "experiment=demo", "labeler=grabcut,box", setting]) == 2
    assert capsys.readouterr().err == f"mal: {told}\n"


def test_verbs_that_heed_a_setting_are_verbs():
    named = {verb for users in heeded().values() for verb in users}
    assert named - {*HELP} == {"review import", "evaluate labels="}


def test_what_asks_for_nothing_may_be_said_anywhere():
    for override in ("output=null", "fix=false", "labelers=[]", "license_policy=any"):
        refuse_unused([override], "train")
    with pytest.raises(ConfigError, match=r"^output=a: `mal train` does nothing with it"):
        refuse_unused(["fix=false", "output=a"], "train")


def test_parts_of_verbs_that_are_work_of_their_own():
    assert work_of("review", ["import", "output=a"]) == "review import"
    assert work_of("evaluate", ["human=a"]) == "evaluate labels="
    assert work_of("evaluate", ["seed=1"]) == "evaluate"
    assert work_of("label", ["labels=a"]) == "label"
