"""Exit status and messages of `mal`: what a user sees, and never a traceback."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.commands.cli import main

Content = dict[str, Any]


@pytest.fixture
def mal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `mal` in this process: exit status, stdout, stderr."""
    from flows.commands.cli import main

    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, f"workdir={tmp_path / 'work'}"])
        return status, *capsys.readouterr()

    return run


def broken(drawn: Path, folder: Path, change: Callable[[Content], None]) -> list[str]:
    """Overrides for a copy of the training file after `change`."""
    content = json.loads((drawn / "train" / "annotations.json").read_text())
    change(content)
    path = folder / "broken.json"
    path.write_text(json.dumps(content))
    return given(drawn, train=path)


def given(drawn: Path, train: Path | None = None, images: Path | None = None) -> list[str]:
    return [
        f"data.train.images={images or drawn / 'train' / 'images'}",
        f"data.train.annotations={train or drawn / 'train' / 'annotations.json'}",
        f"data.val.images={drawn / 'val' / 'images'}",
        f"data.val.annotations={drawn / 'val' / 'annotations.json'}",
    ]


def set_box(*box: float) -> Callable[[Content], None]:
    return lambda content: content["annotations"][1].update(bbox=list(box))


def rename_image(content: Content) -> None:
    content["images"][0]["file_name"] = "absent.png"


def change_size(content: Content) -> None:
    content["images"][0]["width"] = 95


def repeat_id(content: Content) -> None:
    content["annotations"][1]["id"] = content["annotations"][0]["id"]


def unknown_category(content: Content) -> None:
    content["annotations"][1]["category_id"] = 999


def drop_everything(content: Content) -> None:
    content["annotations"].clear()
    content["images"].clear()


WRONG_CONTENT = {
    "image file missing": (rename_image, "absent.png"),
    "other image size": (change_size, "95"),
    "box outside": (set_box(200, 200, 20, 20), "2"),
    "box largely outside": (set_box(80, 10, 60, 20), "2"),
    "NaN": (set_box(float("nan"), 1, 5, 5), "2"),
    "infinite": (set_box(1, 1, float("inf"), 5), "2"),
    "negative size": (set_box(1, 1, -5, 5), "2"),
    "duplicate id": (repeat_id, "1"),
    "unknown category": (unknown_category, "999"),
    "empty": (drop_everything, ""),
}


@pytest.mark.parametrize("verb", ["run", "train"])
@pytest.mark.parametrize("name", WRONG_CONTENT)
def test_wrong_content_is_refused_with_file_and_id(
    name: str, verb: str, drawn: Path, tmp_path: Path, mal: Callable[..., tuple[int, str, str]]
) -> None:
    change, named = WRONG_CONTENT[name]
    status, out, err = mal(verb, *broken(drawn, tmp_path, change))
    assert status == 2
    assert "broken.json" in err
    assert named in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "work" / "mal").exists()


def test_all_problems_of_a_file_are_reported_together(
    drawn: Path, tmp_path: Path, mal: Callable[..., tuple[int, str, str]]
) -> None:
    def change(content: Content) -> None:
        rename_image(content)
        set_box(1, 1, -5, 5)(content)
        content["annotations"][2]["category_id"] = 999

    _, _, err = mal("check", *broken(drawn, tmp_path, change))
    assert all(named in err for named in ("absent.png", "-5", "999"))


@pytest.mark.parametrize(
    ("text", "named"), [(None, "absent.json"), ("{broken", "absent.json"), ("[]", "absent.json")]
)
def test_unreadable_annotation_file_is_refused(
    text: str | None,
    named: str,
    drawn: Path,
    tmp_path: Path,
    mal: Callable[..., tuple[int, str, str]],
) -> None:
    path = tmp_path / "absent.json"
    if text is not None:
        path.write_text(text)
    status, _, err = mal("run", *given(drawn, train=path))
    assert status == 2
    assert named in err
    assert "Traceback" not in err


def test_truncated_image_is_refused(
    drawn: Path, tmp_path: Path, mal: Callable[..., tuple[int, str, str]]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for source in (drawn / "train" / "images").iterdir():
        (images / source.name).write_bytes(source.read_bytes())
    victim = sorted(images.iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:200])
    status, _, err = mal("check", *given(drawn, images=images))
    assert status == 2
    assert victim.name in err


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("mal.max_stepz=3", "mal.max_steps"),
        ("encoder.name=deit_tinny_patch16_224", "deit_tiny_patch16_224"),
        ("segmenters=[solov3]", "solov2_r18"),
        ("mal.max_steps=-1", "mal.max_steps=-1"),
        ("encoder.weights=nowhere.safetensors", "nowhere.safetensors"),
    ],
)
def test_wrong_setting_is_refused_with_what_would_be_right(
    override: str, named: str, drawn: Path, mal: Callable[..., tuple[int, str, str]]
) -> None:
    status, _, err = mal("run", *given(drawn), override)
    assert status == 2
    assert named in err
    assert "Traceback" not in err


def test_missing_split_is_named(mal: Callable[..., tuple[int, str, str]]) -> None:
    status, _, err = mal("train")
    assert status == 2
    assert "data.train.images" in err


def test_label_with_a_file_that_is_no_checkpoint_is_refused(
    drawn: Path, tmp_path: Path, mal: Callable[..., tuple[int, str, str]]
) -> None:
    fake = tmp_path / "fake.pth"
    fake.write_bytes(b"no checkpoint")
    status, _, err = mal(
        "label", f"checkpoint={fake}", *given(drawn)[:2], f"output={tmp_path / 'out.json'}"
    )
    assert status == 2
    assert "fake.pth" in err
    assert "Traceback" not in err


def test_check_accepts_good_input_and_the_second_time_reads_no_image(
    drawn: Path,
    mal: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mal("check", *given(drawn))[0] == 0
    monkeypatch.setattr(
        "mal_core.data.inspection.check.check_data", lambda *_, **__: pytest.fail("checked again")
    )
    status, out, _ = mal("check", *given(drawn))
    assert (status, out.strip()) == (0, "the input is fine")


def mal_command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.commands.cli", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("arguments", [("check", "--json"), ("check", "data=no")])
def test_a_reader_who_leaves_ends_the_command_quietly(
    arguments: tuple[str, ...], both: bool, drawn: Path, tmp_path: Path
) -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head -1` has done by then
    words = [sys.executable, "-m", "flows.commands.cli", *arguments]
    words += given(drawn)
    environment = {**os.environ, "MAL_STORE": str(tmp_path / "store")}
    with os.fdopen(write, "wb") as stdout, (tmp_path / "err").open("wb") as stderr:
        errors = stdout if both else stderr
        ran = subprocess.run(words, stdout=stdout, stderr=errors, env=environment, check=False)
    said = (tmp_path / "err").read_text()
    refused = "data=no" in arguments and not both  # nothing was said to the reader who has left
    assert ran.returncode == (2 if refused else 141), said
    assert "Traceback" not in said
    assert "Broken" not in said


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from flows.commands import cli; cli.build_parser(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "prefect", "hydra", "pydantic", "numpy"} & set(loaded.stdout.split())


def test_help_is_quick() -> None:
    def seconds() -> float:
        started = time.monotonic()
        assert mal_command("--help").returncode == 0
        return time.monotonic() - started

    assert min(seconds() for _ in range(3)) < 0.5


def test_unreachable_server_is_one_message(drawn: Path, tmp_path: Path) -> None:
    ran = mal_command(
        "run",
        *given(drawn),
        f"workdir={tmp_path / 'work'}",
        MAL_STORE=str(tmp_path / "store"),
        PREFECT_API_URL="http://127.0.0.1:9/api",
        PREFECT_HOME=str(tmp_path / "prefect"),
    )
    assert ran.returncode == 1
    assert "http://127.0.0.1:9/api does not answer" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_label_never_overwrites_its_input_nor_a_folder(mal, drawn: Path, tmp_path: Path) -> None:
    overrides = broken(drawn, tmp_path, lambda _: None)
    source = tmp_path / "broken.json"
    before = source.read_bytes()
    status, _, message = mal("label", *overrides, "encoder=random_tiny", f"output={source}")
    assert status == 2
    assert "is the input" in message
    assert source.read_bytes() == before
    status, _, message = mal("label", *overrides, "encoder=random_tiny", f"output={tmp_path}")
    assert status == 2
    assert "is a folder" in message


def test_report_of_a_folder_without_one_is_refused(mal) -> None:
    status, _, message = mal("report")
    assert status == 2
    assert "holds no retention.json" in message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--data.train.images=photos", "data.train.images=photos"),
        ("--seed=1", "seed=1"),
        ("--mal.max_steps", "mal.max_steps"),
    ],
)
def test_settings_with_dashes_are_told_how_they_are_written(given, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["check", given])
    assert ended.value.code == 2
    told = f"mal: error: {given}: settings are KEY=VALUE, without dashes: {meant}"
    assert told in capsys.readouterr().err
