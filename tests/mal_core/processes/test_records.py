"""Records there and back, and everything in a file that no record has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest

from mal_core.config import EncoderConfig, MalConfig, RefinementConfig
from mal_core.errors import ConfigError, MalCoreError, RecordError
from mal_core.processes.records import from_json, read_record, to_json, write_record
from mal_core.types import Outcome, PseudoLabel, SkippedBox, SkipReason


class Color(StrEnum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: float
    color: Color = Color.RED


@dataclass(frozen=True, kw_only=True)
class Outer:
    path: Path
    inner: Inner
    pair: tuple[int, bool]
    many: tuple[Inner, ...] = ()
    by_id: Mapping[int, float | None] = field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    anything: Any = None
    outcome: Outcome | None = None


FULL = Outer(
    path=Path("/a/b"),
    inner=Inner(size=0.5),
    pair=(3, True),
    many=(Inner(size=1.0), Inner(size=2.0)),
    by_id={7: None, 8: 0.25},
    kind="b",
    anything={"x": [1, 2]},
    outcome=SkippedBox(annotation_id=1, image_id=2, reason=SkipReason.EMPTY_MASK),
)
LABEL = PseudoLabel(annotation_id=1, rle={"size": [2, 2], "counts": "04"}, mask_area=4, score=0.9)


@pytest.mark.parametrize(
    "record",
    [
        FULL,
        Outer(path=Path(), inner=Inner(size=1.0), pair=(0, False), outcome=LABEL),
        EncoderConfig(name="deit", weights=Path("w.safetensors"), options={"depth": 2}),
        MalConfig(
            crop_size=64, batch_size=1, max_steps=1, learning_rate=0.1, mask_thresholds=(0.1,) * 3
        ),
    ],
)
def test_a_record_survives_its_file(record: object, tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", record)
    assert read_record(type(record), tmp_path / "r.json") == record


def test_what_a_file_of_an_older_version_lacks_has_its_default() -> None:
    value = {"path": "p", "inner": {"size": 1}, "pair": [1, True]}
    assert from_json(Outer, value, "f") == Outer(
        path=Path("p"), inner=Inner(size=1.0), pair=(1, True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1, "other": 2}, "Outer has unknown fields: extra, other"),
        ({"path": None}, "path is None, but must be a path"),
        ({"inner": {}}, "inner lacks the fields: size"),
        ({"inner": {"size": "1"}}, "inner.size is '1', but must be a number"),
        ({"inner": {"size": True}}, "inner.size is True, but must be a number"),
        ({"inner": {"size": 1, "color": "blue"}}, r"inner.color is 'blue', but .*\['red'\]"),
        ({"pair": [1]}, "pair is .*a list of 2"),
        ({"pair": [1.0, True]}, r"pair\[0\] is 1.0, but must be a whole number"),
        ({"pair": [1, 1]}, r"pair\[1\] is 1, but must be true or false"),
        ({"many": [{"size": 1}, 3]}, r"many\[1\] is 3, but must be an object"),
        ({"many": {"size": 1}}, "many is .*must be a list"),
        ({"by_id": {"8": "x"}}, "by_id.8 is 'x', but must be a number"),
        ({"by_id": {"x": 1}}, "by_id.x is 'x', but must be a whole number as its key"),
        ({"kind": "c"}, r"kind is 'c', but must be one of \['a', 'b'\]"),
        ({"outcome": {}}, "outcome fits none of 2 types"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**to_json(FULL), **change}))
    with pytest.raises(RecordError, match=message) as caught:
        read_record(Outer, path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', "\\xff"])
def test_other_files_are_no_records(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"r\.json"):
        read_record(Outer, path)


def test_settings_come_from_nested_mappings_and_records_alike() -> None:
    plain = {"crop_size": 64, "batch_size": 1, "max_steps": 1, "learning_rate": 1}
    refined = {**plain, "refinement": {"enabled": True}}
    with_record = to_json({**plain, "refinement": RefinementConfig(enabled=True)})
    assert from_json(MalConfig, refined, "mal") == from_json(MalConfig, with_record, "mal")
    with pytest.raises(RecordError, match=r"mal: crf has unknown fields: zeda"):
        from_json(MalConfig, {**plain, "crf": {"zeda": 0.1}}, "mal")
    with pytest.raises(ConfigError, match=r"mal\.batch_size=0 is not possible"):
        from_json(MalConfig, {**plain, "batch_size": 0}, "mal")


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(RecordError, MalCoreError)
