"""A full disk, a database that cannot be written, a clock that jumps."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mal_core.processes.files import sha256_file

pytestmark = pytest.mark.slow

MEGABYTE = 1 << 20


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    found = Disk(folder)
    if not found.mount(f"size={3 * MEGABYTE}"):
        pytest.skip("file systems cannot be mounted here (needs root)")
    yield found
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_is_said_and_the_run_continues_when_there_is_room(
    disk: Disk, fresh_mal, tiny
) -> None:
    store = f"store={disk.path / 'store'}"
    status, output = fresh_mal.inside("train", *tiny, store)
    assert status == 1, output
    last = output.splitlines()[-1]
    assert "no space is left on this disk" in output
    assert "Traceback" not in output, last
    fresh_mal.wait_until_alone()
    assert disk.mount(f"remount,size={100 * MEGABYTE}")
    output = fresh_mal.run("train", *tiny, store)
    assert "train-mal: continuing an interrupted attempt" in output
    torn = [path for path in disk.path.rglob(".*") if path.is_file()]
    assert torn == []


@pytest.mark.parametrize(
    ("verb", "given", "place"),
    [
        ("evaluate", "labels={labels} human={labels}", "m.json"),
        ("export-labels", "labels={labels} format=yolo", "y"),
        ("review", "labels={labels} images={images}", "r"),
        ("label", "labeler=box {data}", "o.json"),
        ("check", "{data}", "c.json"),
        ("check", "{data} fix=true", "copies"),
    ],
)
def test_a_full_disk_under_an_output_is_named_and_nothing_is_left_on_it(
    verb: str, given: str, place: str, disk: Disk, drawn: Path, fresh_mal
) -> None:
    labels, images = drawn / "train" / "annotations.json", drawn / "train" / "images"
    data = f"data.train.images={images} data.train.annotations={labels}"
    words = given.format(labels=labels, images=images, data=data).split()
    fill = disk.path / "fill"
    with fill.open("wb") as stream, pytest.raises(OSError, match="No space"):
        stream.write(bytes(4 * MEGABYTE))
    status, output = fresh_mal.inside(verb, *words, f"output={disk.path / place}")
    assert status == 1, output
    said = [line for line in output.splitlines() if line.startswith("mal: ")]
    assert len(said) == 1
    assert said[0].endswith(": no space is left on this disk. Free some, or choose another place.")
    assert str(disk.path) in said[0]
    assert [*disk.path.iterdir()] == [fill]


def test_full_disk_in_phase_2_is_said_too(disk: Disk, fresh_mal, tiny) -> None:
    assert disk.mount(f"remount,size={12 * MEGABYTE}")
    # Masks that need no training: what fails is the training after them.
    phase_2 = [text for text in tiny if not text.startswith(("encoder", "mal"))]
    settings = [*phase_2, "labeler=box", "human_arm=none", f"store={disk.path / 'store'}"]
    status, output = fresh_mal.inside("segment", *settings)
    assert status == 1, output
    assert "no space is left on this disk" in output
    assert "Traceback" not in output
    fresh_mal.wait_until_alone()
    assert disk.mount(f"remount,size={600 * MEGABYTE}")
    output = fresh_mal.run("segment", *settings)
    assert "generate-pseudo-labels: cached" in output


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PREFECT_HOME", "{disk}/prefect", "PREFECT_HOME={disk}/prefect cannot be written"),
        (
            "PREFECT_API_DATABASE_CONNECTION_URL",
            "sqlite+aiosqlite:///{disk}/prefect.db",
            "unable to open database file",
        ),
    ],
)
def test_database_that_cannot_be_written_is_said_before_anything_is_trained(
    variable: str, value: str, said: str, disk: Disk, fresh_mal, tiny
) -> None:
    assert disk.mount(f"remount,ro,size={3 * MEGABYTE}")
    fresh_mal.environment[variable] = value.format(disk=disk.path)
    process = fresh_mal.start("run", *tiny)
    output = process.communicate()[0]
    assert process.returncode == 1, output
    assert said.format(disk=disk.path) in output
    assert "train-mal" not in output
    fresh_mal.wait_until_alone()


@pytest.fixture
def clock(tmp_path: Path, fresh_mal) -> Callable[[str], None]:
    """Sets the clock of `mal`, also while it runs: an offset such as +1d."""
    command = shutil.which("faketime")
    if command is None:
        pytest.skip("needs Debian's package faketime")
    library = subprocess.run(
        [command, "-f", "+0s", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    file = tmp_path / "clock"
    file.write_text("+0s")
    fresh_mal.environment |= {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        # A jump of the wall clock leaves the monotonic one alone.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def jump(offset: str) -> None:
        file.write_text(offset)

    return jump


def test_clock_that_jumps_changes_no_result(clock, mal, fresh_mal, tiny) -> None:
    mal.run("label", *tiny)
    undisturbed = sha256_file(mal.workdir / "labels" / "train.json")
    process = fresh_mal.start("label", *tiny, "mal.max_steps=6")
    assert process.stdout is not None
    jumps = iter(["+400d", "-400d", "+1d", "-1h", *["+0s"] * 100])
    lines = []
    for line in process.stdout:
        lines.append(line)
        clock(next(jumps))
    lines.append(process.communicate()[0])
    assert process.returncode == 0, "".join(lines)
    assert not any("ETA -" in line for line in lines)
    assert sha256_file(fresh_mal.workdir / "labels" / "train.json") == undisturbed
    for offset in ("-400d", "+400d"):
        clock(offset)
        assert "running" not in fresh_mal.run("label", *tiny)


def test_changed_image_is_noticed_although_the_clock_hides_it(
    clock, fresh_mal, tiny, files, drawn: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(drawn / "train" / "images", images)
    given = [*tiny, f"data.train.images={images}"]
    clock("+1h")  # so that fresh files look as if they had settled
    fresh_mal.run("check", *given)
    victim = min(images.iterdir())
    before = victim.stat()
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert victim.stat().st_size == before.st_size
    assert "check: running" in fresh_mal.run("check", *given)
