"""YouTube-VIS: boxes per frame of a video in, masks per frame out."""

import reprlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from mal_core.data.foreign import foreign_json
from mal_core.data.json_lists import read_whole
from mal_core.data.validation import constant_problem, label_of
from mal_core.errors import DatasetError
from mal_core.geometry.mask_forms import is_mask
from mal_core.processes.files import write_json

Json = dict[str, Any]
LISTS = ("videos", "annotations", "categories")
FRAME_KEYS = ("bboxes", "segmentations", "areas")


def ytvis_to_coco(_images: Path, annotations: Path) -> Json:
    """A YouTube-VIS file -> COCO: one image per frame, one annotation per box of a track.

    A frame in which a track has no box (`None`) has no annotation. `track_id` and
    `frame` say where an annotation came from. Human masks are kept where the file has
    them (`segmentations`).

    Raises:
        DatasetError: Carries every problem of the file.
    """
    source, problems = _read(annotations), list[str]()
    content: Json = {"images": [], "annotations": [], "categories": source["categories"]}
    image_of: dict[tuple[int, int], int] = {}
    frames_of: dict[int, int] = {}
    for index, video in enumerate(source["videos"]):
        wrong = list(_video_problems(index, video, frames_of))
        problems += wrong
        if wrong:
            continue
        frames_of[video["id"]] = len(video["file_names"])
        for frame, name in enumerate(video["file_names"]):
            number = len(content["images"]) + 1
            image_of[video["id"], frame] = number
            size = {"width": video["width"], "height": video["height"]}
            origin = f"video {video['id']}, frame {frame}"
            where = {"video_id": video["id"], "frame": frame, "origin": origin}
            content["images"].append({"id": number, "file_name": name, **size, **where})
    seen: set[int] = set()
    for index, track in enumerate(source["annotations"]):
        wrong = list(_track_problems(index, track, frames_of, seen))
        problems += wrong
        if not wrong:
            content["annotations"] += list(_boxes(track, image_of, len(content["annotations"])))
    if problems:
        raise DatasetError(annotations, problems)
    return content


def is_ytvis(path: Path) -> bool:
    """Whether a file has the videos of YouTube-VIS.

    Raises:
        DatasetError: It is no JSON text.
    """
    source = read_whole(path) if path.is_file() else None
    return isinstance(source, dict) and "videos" in source


def _read(annotations: Path) -> Json:
    """The three lists of a file, and whatever else it has.

    Raises:
        DatasetError: It is no file of YouTube-VIS.
    """
    source = read_whole(annotations)
    problems = _structure_problems(source)
    if problems:
        raise DatasetError(annotations, problems)
    return dict(source)


def _structure_problems(source: object) -> list[str]:
    foreign = foreign_json(source)
    if foreign is not None and not (isinstance(source, dict) and "videos" in source):
        return [f"no YouTube-VIS file: {foreign}."]
    give = "Give the file of a split with annotations"
    return [
        f"no YouTube-VIS file: the list {key!r} is missing. {give}."
        for key in LISTS
        if not isinstance(source, dict) or not isinstance(source.get(key), list)
    ]


def _video_problems(index: int, video: object, known: Container[int]) -> Iterator[str]:
    label = label_of("video", index, video)
    if not isinstance(video, dict):
        yield f"{label} is no object. Correct or drop it."
        return
    names = video.get("file_names")
    if not isinstance(names, list) or not names:
        yield f"{label} has no file_names. List its frames."
    elif not all(isinstance(name, str) for name in names):
        yield f"{label} has file_names that are no texts. List its frames."
    for key in ("id", "width", "height"):
        if type(video.get(key)) is not int:
            seen = reprlib.repr(video.get(key))
            yield f"{label} has {key}={seen}, but it must be an integer."
    if type(video.get("id")) is int and video["id"] in known:
        yield f"{label} occurs more than once. Give every video its own id."


def _track_problems(
    index: int, track: object, frames_of: Mapping[int, int], known: set[int]
) -> Iterator[str]:
    label = label_of("annotation", index, track)
    if not isinstance(track, dict):
        yield f"{label} is no object. Correct or drop it."
        return
    yield from _id_problems(label, track.get("id"), known)
    video = track.get("video_id")
    if type(video) is not int or video not in frames_of:
        yield f"{label} has video_id={reprlib.repr(video)}, but no sound video has that id."
        return
    yield from _length_problems(label, track, frames_of[video])
    problem = constant_problem(track)
    if problem is not None:
        yield f"{label} {problem}"


def _id_problems(label: str, track_id: object, known: set[int]) -> Iterator[str]:
    if type(track_id) is not int:
        yield f"{label} has id={reprlib.repr(track_id)}, but it must be an integer."
    elif track_id in known:
        yield f"{label} occurs more than once. Give every track its own id."
    else:
        known.add(track_id)


def _length_problems(label: str, track: Json, wanted: int) -> Iterator[str]:
    boxes = track.get("bboxes")
    if not isinstance(boxes, list):
        yield f"{label} has no bboxes. Add one box or null per frame."
    elif len(boxes) != wanted:
        yield f"{label} has {len(boxes)} bboxes, but its video has {wanted} frames."
    masks = track.get("segmentations")
    if masks is not None and (not isinstance(masks, list) or len(masks) != wanted):
        yield f"{label} has segmentations, but not one per frame ({wanted})."
    elif masks is not None and isinstance(boxes, list):
        pairs = enumerate(zip(boxes, masks, strict=False))
        bare = [frame for frame, (box, mask) in pairs if box is None and is_mask(mask)]
        if bare:
            yield (
                f"{label} has a mask and no box in {len(bare)} of its frames, the first is frame "
                f"{bare[0]} (counted from 0). Write the box around the mask, or null for both."
            )


def _boxes(track: Json, image_of: dict[tuple[int, int], int], count: int) -> Iterator[Json]:
    kept = {key: value for key, value in track.items() if key not in (*FRAME_KEYS, "id")}
    masks = track.get("segmentations") or [None] * len(track["bboxes"])
    for frame, (box, mask) in enumerate(zip(track["bboxes"], masks, strict=True)):
        if box is None:
            continue
        count += 1
        entry = {
            **kept,
            "id": count,
            "image_id": image_of[track["video_id"], frame],
            "iscrowd": track.get("iscrowd", 0),
            "bbox": box,
            "track_id": track["id"],
            "frame": frame,
            "origin": f"annotation {track['id']}, frame {frame}",
        }
        yield entry if mask is None else {**entry, "segmentation": mask}


def write_ytvis_masks(labeled: Json, annotations: Path, _images: Path, target: Path) -> None:
    """The source file with `segmentations` and `areas` per frame, null where there is no mask."""
    source = _read(annotations)
    found = {(entry["track_id"], entry["frame"]): entry for entry in labeled["annotations"]}
    for track in source["annotations"]:
        entries = [found.get((track["id"], frame)) for frame in range(len(track["bboxes"]))]
        track["segmentations"] = [entry and entry.get("segmentation") for entry in entries]
        track["areas"] = [entry and entry.get("area") for entry in entries]
    write_json(target, source)
