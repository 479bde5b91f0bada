"""Settings that a verb has no use for."""

import pytest

from flows.commands.cli import main


@pytest.mark.parametrize("verb", ["score", "calibrate"])
@pytest.mark.parametrize("override", ["mal=paper", "mal.refinement.steps=3", "labeler=grabcut"])
def test_settings_of_labeling_are_refused_by_who_only_scores(verb, override, capsys):
    assert main([verb, "labels=a.json", override, "output=b.json"]) == 2
    assert (
        f"{override}: `mal {verb}` asks nothing of {override.partition('=')[0]}; a labeler in "
        "checkpoint=FILE brings its own settings. Leave it out." in capsys.readouterr().err
    )


@pytest.mark.parametrize("verb", ["score", "calibrate", "refine"])
def test_a_policy_for_licences_is_not_taken_by_who_looks_at_none(verb, capsys):
    assert main([verb, "labels=a.json", "license_policy=commercial", "output=b.json"]) == 2
    assert f"`mal {verb}` looks at no licence" in capsys.readouterr().err
