"""Settings and recipes say what differs, and nothing twice."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.settings import composing
from mal_core.config import MalConfig

ROOT = Path(__file__).resolve().parents[2]
MAL = ROOT / "conf" / "mal"
RECIPES = ROOT / "phase2_configs"
CHOICES = sorted(path.stem for path in MAL.glob("*.yaml"))


def stated(choice: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((MAL / f"{choice}.yaml").read_text())
    return content


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        found |= inner
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_states_only_what_differs_from_what_it_inherits(choice: str) -> None:
    own = stated(choice)
    bases = [name for name in own.pop("defaults", []) if name != "_self_"]
    inherited = {key: value for base in bases for key, value in flat(stated(base)).items()}
    assert [key for key, value in flat(own).items() if inherited.get(key, own) == value] == []


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_to_every_setting(choice: str) -> None:
    composed = composing.compose_raw([f"mal={choice}"])["mal"]
    assert set(composed) == {field.name for field in dataclasses.fields(MalConfig)}
    values = flat(composed)
    for key, value in flat(stated(choice) | {"defaults": {}}).items():
        is_number = isinstance(value, str) and value[0].isdigit()  # YAML takes 1e-4 for a text
        assert values[key] == (float(value) if is_number else value)


def test_where_data_lies_is_written_once_for_each_layout() -> None:
    named = [path for path in RECIPES.rglob("*.py") if "$MAL_TRAIN_ANNOTATIONS" in path.read_text()]
    assert sorted(path.name for path in named) == ["coco_places.py", "lvis_places.py"]
