"""Names annotation files of other tools by what they hold, where they are given as another."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mal_core.data.images.walking import entries_below, is_hidden

KEYS_OF = (
    (("_via_img_metadata",), "a VIA project", "export COCO from it"),
    (("project", "file", "metadata", "view"), "a VIA 3 project", "convert it to COCO"),
    (("shapes", "imagePath"), "LabelMe JSON", "convert the files to COCO"),
    (("videos", "annotations"), "YouTube-VIS JSON", "use data=ytvis"),
    (("images", "annotations", "categories"), "COCO JSON", "use data=coco"),
    (("categories", "items"), "Datumaro JSON", "export COCO"),
    (("type", "features"), "GeoJSON", "convert it to COCO, in pixels"),
    (("size", "objects", "tags"), "a Supervisely annotation", "export COCO from the project"),
    (("classes", "tags", "projectType"), "Supervisely's meta.json", "export COCO from the project"),
    (("item", "annotations"), "Darwin (V7) JSON", "export COCO from the dataset"),
    (("dataset", "image", "annotations"), "Darwin (V7) JSON", "export COCO from the dataset"),
    (("metadata", "instances"), "SuperAnnotate JSON", "export COCO from the project"),
    (("label_classes", "images"), "Hasty JSON", "export COCO from the project"),
    (("samples",), "a FiftyOne dataset", "export it as COCODetectionDataset"),
    (("classes", "labels"), "FiftyOne JSON", "export the dataset as COCODetectionDataset"),
    (("frames", "groups"), "BDD100K or Scalabel JSON", "convert it to COCO"),
    (("name", "frames", "attributes"), "BDD100K JSON", "convert the files to COCO"),
    (("task_id", "response"), "Scale JSON", "convert it to COCO"),
    (("predictions", "image"), "a prediction of Roboflow", "convert it to COCO"),
    (("imgHeight", "imgWidth", "objects"), "Cityscapes JSON", "convert the files to COCO"),
    (("data_row", "projects"), "Labelbox JSON", "convert it to COCO"),
    (("source-ref",), "a manifest of SageMaker", "convert it to COCO"),
    (("metainfo", "data_list"), "mmdetection's own list of images", "convert it to COCO"),
    (("name", "annotation"), "a Supervisely annotation", "export COCO from the project"),
    (("image", "objects"), "JSON of Hugging Face's datasets", "convert it to COCO"),
    (("cells", "nbformat"), "a notebook", "give the annotation file"),
    (
        ("labels", "mapping", "version"),
        "Mapillary's list of classes",
        "convert its instances to COCO",
    ),
)
ENTRIES = (
    ("segments_info", "annotations are panoptic ones (segments_info)",
     "give the file of instances, which has one annotation per object"),
    ("caption", "annotations are captions", "give the file of instances, such as instances_*.json"),
    ("keypoints", "annotations have key points and no bbox",
     "give the file of instances, or add boxes"),
    ("segmentation", "annotations have a mask and no bbox",
     "`mal check fix=true output=DIR` writes the boxes around the masks"),
    ("coco_url", "images have a coco_url and no file_name, as LVIS has", "use data=lvis"),
)  # fmt: skip
"""Keys of entries of COCO's relatives, what has them, and what to do; the first one counts."""
LISTS = (
    (("task_id", "response"), "Scale JSON"),
    (("name", "labels"), "BDD100K or Scalabel JSON"),
    (("filename", "ann"), "mmdetection's own list of images"),
    (("source-ref",), "a manifest of SageMaker"),
    (("token", "category_token"), "nuImages JSON"),
    (("data_hash", "data_units"), "Encord JSON"),
    (("externalId", "labels"), "Kili JSON"),
    (("image", "objects"), "JSON of Hugging Face's datasets"),
)
"""Keys of the objects of a list, and whose list it is."""
FILES_ASKED = 10_000
FOLDERS = (
    (".xml", "for those of Pascal VOC use data=voc"),
    (".txt", "for rows of YOLO use data=yolo or data=yolo_obb, for DOTA's data=dota"),
    (".json", "give one COCO file; what has a JSON file per image is to be exported as COCO"),
)
"""Suffixes of annotation files, and what to do with a folder of them."""
ROOTS = {
    "annotations": ("CVAT XML", "export it as COCO 1.0 or Pascal VOC"),
    "dataset": ("dlib's XML", "convert it to COCO"),
    "html": ("a web page", "download the file itself"),
    "PcGts": ("PAGE XML", "convert it to COCO"),
    "kml": ("KML", "convert it to COCO, in pixels"),
}
STARTS = (
    (b"version https://git-lfs", "a pointer of git LFS", "run `git lfs pull` where it lies"),
    (b"<!doctype html", "a web page", "download the file itself; a login may be needed"),
    (b"<html", "a web page", "download the file itself; a login may be needed"),
    (b"<", "XML", "use data=voc for Pascal VOC, or export COCO"),
    (b"pk\x03\x04", "a zip archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"bzh", "bzip2", "unpack it"),
    (b"\xfd7zxz", "xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unpack it"),
    (b"par1", "a Parquet file", "convert it to COCO"),
    (b"sqlite format 3", "an SQLite database", "export COCO from it"),
    (b"\x89png", "an image", "give the annotation file"),
    (b"\xff\xd8\xff", "an image", "give the annotation file"),
    (b"%pdf", "a PDF document", "give the annotation file"),
    (b"/annex/objects/", "a pointer of git-annex", "run `git annex get` where it lies"),
    (b"outs:", "a pointer of DVC", "run `dvc pull` where it lies"),
    (b"//", "JSON with comments", "take them out"),
    (b"/*", "JSON with comments", "take them out"),
    (b"{'", "Python's text of an object", "write it with json.dump"),
    (b"[{'", "Python's text of a list", "write it with json.dump"),
    (b"path:", "YAML, as of YOLO", "use data=yolo with the folder of its labels"),
    (b"names:", "YAML, as of YOLO", "use data=yolo with the folder of its labels"),
    (b"train:", "YAML, as of YOLO", "use data=yolo with the folder of its labels"),
    (b"\x80\x04", "a pickle of Python", "write it as JSON"),
    (b"\x80\x05", "a pickle of Python", "write it as JSON"),
    (b"matlab 5.0", "a file of MATLAB", "convert it to COCO"),
    (b"\x89hdf\r\n", "an HDF5 file", "convert it to COCO"),
    (b"arrow1", "a file of Apache Arrow", "convert it to COCO"),
    (b"rar!\x1a\x07", "a RAR archive", "unpack it"),
)
"""How files begin that are no JSON, in lower case."""
PYTHON_WORDS = {"None": "null", "True": "true", "False": "false", "'": '"'}
TAR_PLACE = 257
CSV_SEPARATORS = (",", ";", "\t")
DOTA_HEADERS = ("imagesource:", "gsd:")
DOTA_WORDS, KITTI_WORDS, CORNERS, FEWEST_WORDS = (9, 10), (15, 16), 8, 5


def foreign_json(content: object) -> str | None:
    """What a JSON value is, and what to do with it; None where it is nothing that is known."""
    if isinstance(content, list):
        first = content[0] if content else None
        return _foreign_list(first) if isinstance(first, dict) else None
    if isinstance(content, dict):
        for keys, name, advice in KEYS_OF:
            if all(key in content for key in keys):
                return f"this is {name}; {advice}"
        for key, part in content.items():
            if isinstance(part, dict) and {"images", "annotations"} <= part.keys():
                return (
                    f"this has a COCO file as its member {key!r}; write that to a file of its own"
                )
        regions = next(iter(content.values()), None)
        if isinstance(regions, dict) and {"filename", "regions"} <= regions.keys():
            return "this is VIA JSON; export COCO from the project"
    return None


class Relatives:
    """Entries that lack what COCO's instances have and have what a relative of theirs has."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def takes(self, entry: object, lacking: str, label: str) -> bool:
        """Whether an entry is of a relative; counted, if it is.

        Args:
            entry: It.
            lacking: The key that it would have otherwise.
            label: How messages call it.
        """
        if not isinstance(entry, dict) or lacking in entry:
            return False
        kind = next((key for key, *_ in ENTRIES if entry.get(key)), None)
        if kind is None:
            return False
        self._first.setdefault(kind, label)
        self._counts[kind] += 1
        return True

    def problems(self) -> Iterator[str]:
        """One sentence of each kind."""
        for key, what, advice in ENTRIES:
            if key in self._first:
                yield f"{self._counts[key]} {what}, the first is {self._first[key]}: {advice}."


def foreign_text(text: str | bytes) -> str | None:
    """What a file that is no JSON is, by its beginning, and what to do with it."""
    start = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    begun = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for sign, name, advice in STARTS:
        if begun.startswith(sign):
            return f"this is {name}; {advice}"
    if start[TAR_PLACE:].startswith(b"ustar"):
        return "this is a tar archive; unpack it"
    lines = start.decode(errors="replace").splitlines()
    if begun[:1] == b"{" and len(lines) > 1 and _is_object(lines[0]) and _is_object(lines[1]):
        return "this is JSON Lines (one object per line); convert it to one COCO file"
    return _foreign_table(lines) or _foreign_rows(lines)


def _foreign_rows(lines: Sequence[str]) -> str | None:
    """What text of a row per object is, in place of JSON."""
    first = next((line for line in lines if line.strip()), "")
    words = first.split()
    if first.lower().startswith(DOTA_HEADERS) or _is_dota(words):
        return "this is DOTA text; use data=dota with the folder of such files"
    if _is_kitti(words):
        return "this is KITTI text; convert it to COCO or YOLO"
    if len(words) >= FEWEST_WORDS and all(map(is_number, words)):
        return "this is rows of numbers, as YOLO has; use data=yolo with the folder of such files"
    return None


def json_obstacle(text: str, place: int, where: str, found: str) -> str:
    """Why a text that begins as JSON cannot be parsed.

    Args:
        text: All of it, or some of its entries.
        place: Where the parser stopped.
        where: How the sentence begins.
        found: What the parser says.
    """
    if not text.strip():
        return "is empty, which is no JSON text. Is it the right file?"
    rest = text[place:].lstrip()
    if text[:place].rstrip().endswith(",") and rest[:1] in ("]", "}"):
        return f"{where}a comma before {rest[0]!r}. Take it out."
    if rest.startswith(("//", "/*", "#")):
        return f"{where}a comment, which JSON does not have. Take it out."
    word = next((word for word in PYTHON_WORDS if rest.startswith(word)), None)
    if word is not None:
        return f"{where}{word} is Python's, JSON has {PYTHON_WORDS[word]}. Write with json.dump."
    return f"{where}{found}. Is the file complete?"


def _is_object(line: str) -> bool:
    return line.lstrip().startswith("{") and line.rstrip().endswith("}")


def _foreign_table(lines: Sequence[str]) -> str | None:
    first = lines[0] if lines else ""
    if "region_shape_attributes" in first:
        return "this is VIA's CSV; export COCO from the project"
    columns = {separator: first.count(separator) for separator in CSV_SEPARATORS}
    separator = max(columns, key=lambda one: columns[one])
    regular = len(lines) > 1 and lines[1].count(separator) >= columns[separator]
    if columns[separator] >= 2 and regular and first.lstrip()[:1] not in ("{", "["):
        return "this is a table (CSV); convert it to COCO"
    return None


def _foreign_list(first: Mapping[str, Any]) -> str | None:
    if ("data" in first and ("annotations" in first or "completions" in first)) or (
        "image" in first and "annotation_id" in first and "annotator" in first
    ):
        return "this is Label Studio JSON; export COCO from it"
    if "image_id" in first and ("bbox" in first or "segmentation" in first):
        return (
            "this is a list of COCO results, which has neither images nor ids of annotations; "
            "give the COCO file (`mal label` takes the list, too, as boxes=FILE)"
        )
    if {"images", "annotations", "categories"} <= first.keys():
        return "this is a list with a COCO file in it; take the object out of the list"
    for keys, what in LISTS:
        if first.keys() >= set(keys):
            return f"this is {what}; convert it to COCO"
    if ("image" in first and "annotations" in first) or "imagefilename" in first:
        return "this is CreateML JSON; convert it to COCO"
    if not {"data_row", "External ID", "DataRow ID"}.isdisjoint(first):
        return "this is Labelbox JSON; convert it to COCO"
    return None


def folder_advice(folder: Path, wanted: str) -> str:
    """What a folder holds that is given for other annotations, and what to do with it.

    Args:
        folder: The folder.
        wanted: Suffix of the files that would be right, of which it has none.
    """
    names = (name for name, is_file in islice(entries_below(folder), FILES_ASKED) if is_file)
    counts = Counter(Path(name).suffix.lower() for name in names if not is_hidden(name))
    for suffix, advice in FOLDERS:
        if suffix != wanted and counts[suffix]:
            return f"it has {counts[suffix]} {suffix} files: {advice}"
    return ""


def no_file(path: Path) -> str:
    """What is wrong with a path that is there and no file."""
    if not path.is_dir():
        return "cannot be read: it is no regular file. Give a file."
    advice = folder_advice(path, "")
    wanted = f"a file is wanted; {advice}" if advice else "a file is wanted"
    return f"cannot be read: it is a folder, and {wanted}."


def foreign_xml(root: str) -> str:
    """What XML with another root than VOC's is, and what to do with it."""
    name, advice = ROOTS.get(root, ("", "give files of Pascal VOC"))
    return f"this is {name}; {advice}" if name else advice


def foreign_row(line: str) -> str | None:
    """What a line of text is that is none of YOLO's, and what to do with it."""
    words = line.split()
    if line.lower().startswith(DOTA_HEADERS) or _is_dota(words):
        return "this is DOTA text (eight corners, class, difficulty); use data=dota"
    if _is_kitti(words):
        return "this is KITTI text; convert it to COCO or YOLO"
    if "," in line and all(is_number(word) for word in line.strip(" ,").split(",")):
        return "numbers are separated by commas, as in MOT and VisDrone; YOLO has blanks"
    if "," in line and all(is_number(word.replace(",", ".")) for word in words):
        return f"{words[-1]!r} has a decimal comma; write numbers with a point"
    if line.lstrip()[:1] in ("{", "["):
        return "this is JSON; use data=coco"
    if line.lower().startswith("version https://git-lfs"):
        return foreign_text(line)
    if line.lstrip()[:1] == "<":
        return "this is XML; use data=voc"
    return None


def _is_kitti(words: list[str]) -> bool:
    some = len(words) in KITTI_WORDS and not is_number(words[0])
    return some and all(map(is_number, words[1:]))


def _is_dota(words: list[str]) -> bool:
    return (
        len(words) in DOTA_WORDS
        and all(map(is_number, words[:CORNERS]))
        and not is_number(words[CORNERS])
    )


def is_number(word: str) -> bool:
    """Whether a word is a number as data files write them, NaN and infinity included."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word and word.isascii()  # which Python takes, and nobody else
