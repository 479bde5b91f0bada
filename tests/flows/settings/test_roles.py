"""Every setting says at its field what it decides, and whether it names files."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Annotated

import pytest

from flows.settings import composing, run_config
from flows.stages.retention import shown_settings
from mal_core import config
from mal_core.config import Config, MalConfig
from mal_core.config.roles import (
    EFFECTS,
    PATHS,
    Labeling,
    Role,
    Setting,
    Training,
    all_settings,
    deciding,
    keys_with,
    settings_of,
)

RECORDS = sorted(
    (
        one
        for module in (config, run_config)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Config) and one is not Config
    ),
    key=lambda one: one.__name__,
)
DRAWN = ("experiment=smoke",)


def problems_of(record: type) -> list[str]:
    """What is wrong with the roles of a record's fields."""
    return [
        f"{record.__name__}.{one.key}: {problem}"
        for one in settings_of(record)
        for problem in _problems(one)
    ]


def _problems(one: Setting) -> list[str]:
    effects, paths = one.roles & EFFECTS, one.roles & PATHS
    found = [] if len(effects) == 1 else [f"wanted one effect, it has {len(effects)}"]
    takes = typing.get_args(one.kind) if isinstance(one.kind, types.UnionType) else (one.kind,)
    if Path in takes and len(paths) != 1:
        found.append(f"wanted one role of a path, it has {len(paths)}")
    if Role.NAMED in one.roles and not paths:
        found.append("only a path can be shown by its name")
    return found


@pytest.mark.parametrize("record", RECORDS)
def test_every_setting_has_the_roles_it_needs(record: type) -> None:
    assert dataclasses.fields(record)
    assert problems_of(record) == []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Careless(Config):
    """What the test above is there for."""

    forgotten: int
    torn: Annotated[int, Role.TRAINING, Role.LABELING]
    place: Training[Path | None]
    fine: Annotated[Path, Role.TRAINING, Role.FILE]


def test_a_setting_without_its_roles_is_found() -> None:
    assert problems_of(Careless) == [
        "Careless.forgotten: wanted one effect, it has 0",
        "Careless.torn: wanted one effect, it has 2",
        "Careless.place: wanted one role of a path, it has 0",
    ]


def test_an_inner_record_decides_what_the_field_with_it_decides() -> None:
    for one in settings_of(MalConfig):
        if one.record is not None:
            inner = {inner.roles & EFFECTS for inner in settings_of(one.record)}
            assert inner == {one.roles & EFFECTS}, one.key


def test_paths_of_all_depths_are_known() -> None:
    known = composing.path_keys()
    assert {"data.val.images", "encoder.weights", "second_ruler", "segmenter.config"} <= set(known)
    assert "data.train" not in known
    assert set(known) <= set(composing.known_keys())


def test_a_key_has_what_decides_and_digests_in_place_of_files() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Choice(Config):
        rate: Training[float]
        cut: Labeling[float]
        weights: Annotated[Path, Role.TRAINING, Role.FILE]

    one = Choice(rate=0.1, cut=0.5, weights=Path("a.pth"))
    assert deciding(one, Role.TRAINING) == {"rate": 0.1}
    assert keys_with(Choice, Role.LABELING, Role.FILE) == ("cut", "weights")


def test_a_report_shows_no_place_of_this_machine(tmp_path: Path) -> None:
    weights = tmp_path / "vit.safetensors"
    weights.write_bytes(b"")
    found = composing.compose([*DRAWN, f"workdir={tmp_path}", f"encoder.weights={weights}"])
    shown = shown_settings(found)
    assert shown["encoder"]["weights"] == weights.name
    assert str(tmp_path) not in str(shown)
    assert not [text for text in _texts(shown) if Path(text).is_absolute()]
    operation = {
        one.key.rpartition(".")[2] for one in all_settings(MalConfig) if Role.OPERATION in one.roles
    }
    assert operation
    assert not operation & set(shown["mal"])


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
