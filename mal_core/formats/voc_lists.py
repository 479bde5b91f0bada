"""Which XML files a folder of VOC has, or a list of names in ImageSets."""

import os
from pathlib import Path

from mal_core.data.foreign import folder_advice
from mal_core.data.images.names import SUFFIXES
from mal_core.data.images.walking import files_below
from mal_core.data.text import TextError, read_text

GIVE = "Give the folder `Annotations`, or a list in ImageSets."
LEVELS = 2
"""Folders that a list lies below the one with `Annotations`, at most."""


def xml_files(annotations: Path, problems: list[str]) -> tuple[Path, list[Path]]:
    """The folder `Annotations`, and the files in it that are to be read."""
    if annotations.is_dir():
        files = files_below(annotations, ".xml")
        if not files:
            advice = folder_advice(annotations, ".xml")
            problems.append(f"no XML files{f'; {advice}' if advice else ''}. {GIVE}")
        return annotations, files
    if annotations.suffix.lower() == ".xml":
        return annotations.parent, [annotations]
    try:
        lines = read_text(annotations).splitlines()
    except FileNotFoundError:
        problems.append(f"does not exist. {GIVE}")
        return annotations, []
    except TextError as error:
        problems.append(str(error))
        return annotations, []
    first = next((line.strip() for line in lines if line.strip()), "")
    if first[:1] in ("{", "["):
        problems.append(f"is JSON, no list of names. {GIVE}")
        return annotations, []
    folder = _folder_of(annotations)
    if folder is None:
        problems.append(f"is a list, and no folder `Annotations` lies beside it or above. {GIVE}")
        return annotations, []
    names = [_listed_name(folder, line.strip()) for line in lines if line.strip()]
    wrong = [name for name in names if name.startswith("/") or ".." in Path(name).parts]
    problems += [f"{name!r} leaves the folder `Annotations`." for name in wrong]
    kept = dict.fromkeys(name for name in names if name not in wrong)
    return folder, [_xml_file(folder, name) for name in kept]


def _folder_of(listed: Path) -> Path | None:
    """The folder `Annotations` of a list: VOC has it two folders up, others beside the list."""
    above = [*listed.absolute().parents][: LEVELS + 1]
    return next((one / "Annotations" for one in above if (one / "Annotations").is_dir()), None)


def _listed_name(folder: Path, line: str) -> str:
    """The name in a line of a list: all of it, or what a class's 1, 0 or -1 follows."""
    before, last = line.rsplit(None, 1) if len(line.split()) > 1 else (line, "")
    if last.lower().endswith(".xml"):  # a photo and its file in one line, as PaddlePaddle has them
        return last[: -len(".xml")].rpartition(f"{folder.name}/")[2]
    for name in (line, before, line.split()[0]):
        if os.path.isfile(_xml_file(folder, name)):  # noqa: PTH113 - no error for any name
            return name
    return before if last in ("1", "0", "-1") else line


def _xml_file(folder: Path, name: str) -> Path:
    """The XML file of a name in a list, which may be that of the image."""
    path = folder / f"{name}.xml"
    is_image = Path(name).suffix.lower() in SUFFIXES and not path.exists()
    return folder / f"{Path(name).with_suffix('')}.xml" if is_image else path
