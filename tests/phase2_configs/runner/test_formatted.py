"""The text of a config is formatted once per content."""

import copy

import pytest
import yapf.yapflib.yapf_api
from mmengine.config import Config

from phase2_configs.runner.formatted import FormattedConfig

CONTENT = {"model": {"type": "SOLOv2", "num_levels": 4}, "steps": [1, 2], "data": {"batch": 2}}


def test_the_text_is_mmengines_own_and_follows_changes() -> None:
    config = FormattedConfig(copy.deepcopy(CONTENT))
    assert config.pretty_text == Config(copy.deepcopy(CONTENT)).pretty_text
    config.model.num_levels = 5
    assert "num_levels=5" in config.pretty_text
    assert "num_levels=5" in copy.deepcopy(config).pretty_text


def test_it_is_formatted_once_however_often_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    real = yapf.yapflib.yapf_api.FormatCode

    def counted(*arguments: object, **options: object) -> object:
        asked.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(yapf.yapflib.yapf_api, "FormatCode", counted)
    config = FormattedConfig({**CONTENT, "seed": 7})
    assert len({config.pretty_text for _ in range(3)} | {copy.deepcopy(config).pretty_text}) == 1
    assert len(asked) == 1
