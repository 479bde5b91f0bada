"""Files of other tools, and what is no annotation file at all: each is named as what it is."""

import gzip

import pytest

from mal_core.data.coco import parse_coco
from mal_core.data.images.loading import image_problems
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from mal_core.types import ImageRecord
from tests.mal_core.formats.drawn_formats import coco, write_json

YTVIS = FORMATS["ytvis"]


def problems_of(read, *arguments) -> tuple[str, ...]:
    with pytest.raises(DatasetError) as caught:
        read(*arguments)
    return caught.value.problems


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            [{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}],
            "this is Label Studio JSON; export COCO from it.",
        ),
        ({"shapes": [], "imagePath": "a.jpg"}, "this is LabelMe JSON; convert the files to COCO."),
        (
            [{"images": [], "annotations": [], "categories": []}],
            "this is a list with a COCO file in it; take the object out of the list.",
        ),
        (
            {"train": {"images": [], "annotations": []}},
            "this has a COCO file as its member 'train'; write that to a file of its own.",
        ),
        ([{"imagefilename": "a.jpg"}], "this is CreateML JSON; convert it to COCO."),
        ([{"task_id": "1", "response": {}}], "this is Scale JSON; convert it to COCO."),
        ([{"DataRow ID": "1"}], "this is Labelbox JSON; convert it to COCO."),
        (
            [{"filename": "a.jpg", "width": 1, "height": 1, "ann": {"bboxes": []}}],
            "this is mmdetection's own list of images; convert it to COCO.",
        ),
        ({"source-ref": "s3://a"}, "this is a manifest of SageMaker; convert it to COCO."),
        ({"frames": [], "groups": []}, "this is BDD100K or Scalabel JSON; convert it to COCO."),
        ({"_via_img_metadata": {}}, "this is a VIA project; export COCO from it."),
        ([{"image": "a.jpg", "annotations": []}], "this is CreateML JSON; convert it to COCO."),
        (
            [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
            "this is a list of COCO results, which has neither images nor ids of annotations; "
            "give the COCO file (`mal label` takes the list, too, as boxes=FILE).",
        ),
        (
            {"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": []}},
            "this is VIA JSON; export COCO from the project.",
        ),
        (
            {"project": {}, "config": {}, "file": {}, "metadata": {}, "view": {}},
            "this is a VIA 3 project; convert it to COCO.",
        ),
        (
            {"description": "", "tags": [], "size": {}, "objects": []},
            "this is a Supervisely annotation; export COCO from the project.",
        ),
        (
            {"classes": [], "tags": [], "projectType": "images"},
            "this is Supervisely's meta.json; export COCO from the project.",
        ),
        (
            {"version": "2.0", "item": {}, "annotations": []},
            "this is Darwin (V7) JSON; export COCO from the dataset.",
        ),
        (
            {"metadata": {}, "instances": []},
            "this is SuperAnnotate JSON; export COCO from the project.",
        ),
        ({"samples": []}, "this is a FiftyOne dataset; export it as COCODetectionDataset."),
        (
            {"imgHeight": 1, "imgWidth": 1, "objects": []},
            "this is Cityscapes JSON; convert the files to COCO.",
        ),
        (
            {"labels": [], "mapping": "public", "version": "1.2"},
            "this is Mapillary's list of classes; convert its instances to COCO.",
        ),
        ([{"data_row": {}, "projects": {}}], "this is Labelbox JSON; convert it to COCO."),
        (
            [{"image": "/a.jpg", "id": 1, "annotator": 1, "annotation_id": 1}],
            "this is Label Studio JSON; export COCO from it.",
        ),
        (
            {"metainfo": {"classes": ["a"]}, "data_list": []},
            "this is mmdetection's own list of images; convert it to COCO.",
        ),
        (
            {"name": "a.jpg", "annotation": {"size": {}, "objects": []}},
            "this is a Supervisely annotation; export COCO from the project.",
        ),
        (
            {"image_id": 1, "image": "a.jpg", "objects": {"bbox": []}},
            "this is JSON of Hugging Face's datasets; convert it to COCO.",
        ),
        (
            [{"image_id": 1, "image": "a.jpg", "objects": {"bbox": []}}],
            "this is JSON of Hugging Face's datasets; convert it to COCO.",
        ),
        ({"cells": [], "nbformat": 4}, "this is a notebook; give the annotation file."),
        (
            [{"token": "a", "category_token": "b", "mask": None}],
            "this is nuImages JSON; convert it to COCO.",
        ),
        ([{"data_hash": "a", "data_units": {}}], "this is Encord JSON; convert it to COCO."),
        ([{"externalId": "a", "labels": []}], "this is Kili JSON; convert it to COCO."),
    ],
)
def test_json_of_other_tools_is_named(content, said, tmp_path):
    path = write_json(tmp_path / "x.json", content)
    assert problems_of(parse_coco, path) == (f"not a COCO file: {said}",)
    assert problems_of(YTVIS.to_coco, tmp_path, path) == (f"no YouTube-VIS file: {said}",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a pointer of git LFS; run `git lfs pull` where it lies",
        ),
        (b"\n<!DOCTYPE html><p>Sign in", "a web page; download the file itself"),
        (b"<HTML><body>", "a web page; download the file itself"),
        (b"<annotations><version>", "XML; use data=voc for Pascal VOC, or export COCO"),
        (b"/annex/objects/MD5E-s1--0.json", "a pointer of git-annex; run `git annex get`"),
        (b"outs:\n- md5: 0\n", "a pointer of DVC; run `dvc pull` where it lies"),
        (b"// mine\n{}", "JSON with comments; take them out"),
        (b"{'images': []}", "Python's text of an object; write it with json.dump"),
        (b"names:\n  0: cat\n", "YAML, as of YOLO; use data=yolo with the folder of its labels"),
        (b"\x80\x04\x95\x00", "a pickle of Python; write it as JSON"),
        (b"a.json".ljust(257, b"\0") + b"ustar", "a tar archive; unpack it"),
        (b"PK\x03\x04\x14\x00\x00", "a zip archive; unpack it"),
        (b"PAR1\x15\x04", "a Parquet file; convert it to COCO"),
        (b"SQLite format 3\x00", "an SQLite database; export COCO from it"),
        (b"\x89PNG\r\n\x1a\n", "an image; give the annotation file"),
        (b"\xff\xd8\xff\xe0", "an image; give the annotation file"),
        (
            b'filename,size,"region_shape_attributes"\na.jpg,1,"{}"\n',
            "VIA's CSV; export COCO from the project",
        ),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64\0", "a file of MATLAB; convert it to COCO"),
        (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file; convert it to COCO"),
        (b"ARROW1\0\0", "a file of Apache Arrow; convert it to COCO"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive; unpack it"),
        (
            b"Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59",
            "KITTI text; convert it to COCO or YOLO",
        ),
        (
            b"imagesource:GoogleEarth\ngsd:0.1\n",
            "DOTA text; use data=dota with the folder of such files",
        ),
        (
            b"\n0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n",
            "rows of numbers, as YOLO has; use data=yolo with the folder of such files",
        ),
        (b"path,x0,y0,x1,y1,class\na.jpg,1,2,3,4,cat\n", "a table (CSV); convert it to COCO"),
        (
            b'{"source-ref": "s3://a"}\n{"source-ref": "s3://b"}\n',
            "JSON Lines (one object per line); convert it to one COCO file",
        ),
    ],
)
def test_files_that_are_no_json_are_named(content, said, tmp_path):
    path = tmp_path / "x.json"
    for packed in (content, gzip.compress(content)):
        path.write_bytes(packed)
        (problem,) = problems_of(parse_coco, path)
        assert problem.startswith(f"is no JSON: this is {said}")


INSTANCES = "give the file of instances"


def panoptic(entry):
    return {"image_id": entry["image_id"], "file_name": "a.png", "segments_info": [{"id": 1}]}


def caption(entry):
    return {"id": entry["id"], "image_id": entry["image_id"], "caption": "a cat"}


def without_box(entry):
    return {key: value for key, value in entry.items() if key != "bbox"}


def key_points(entry):
    return {**without_box(entry), "keypoints": [1, 2, 2], "num_keypoints": 1}


def bare_mask(entry):
    return {**without_box(entry), "keypoints": [], "segmentation": [[1, 1, 9, 1, 9, 9]]}


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (
            panoptic,
            "annotations are panoptic ones (segments_info), the first is annotation at position 0 "
            f"(counted from 0): {INSTANCES}, which has one annotation per object.",
        ),
        (
            caption,
            f"annotations are captions, the first is annotation 1: {INSTANCES}, such as "
            "instances_*.json.",
        ),
        (
            key_points,
            f"annotations have key points and no bbox, the first is annotation 1: {INSTANCES}, or "
            "add boxes.",
        ),
        (
            bare_mask,
            "annotations have a mask and no bbox, the first is annotation 1: `mal check fix=true "
            "output=DIR` writes the boxes around the masks.",
        ),
    ],
)
def test_relatives_of_instances_are_named_once(turn, said, tmp_path):
    content = coco()
    content["annotations"] = list(map(turn, content["annotations"]))
    view = read_view(write_json(tmp_path / "x.json", content))
    assert view.entry_problems == (f"{len(content['annotations'])} {said}",)


def test_captions_without_classes_are_named_before_what_they_lack(tmp_path):
    content = coco()
    content["annotations"] = list(map(caption, content["annotations"]))
    del content["categories"]
    problems = problems_of(read_view, write_json(tmp_path / "x.json", content))
    assert problems[0].startswith("3 annotations are captions, the first is annotation 1: ")
    assert problems[1:] == ("not a COCO file: the list 'categories' is missing. Add it.",)


def test_lvis_given_as_coco_is_named(tmp_path):
    content = coco()
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
    view = read_view(write_json(tmp_path / "x.json", content))
    assert view.entry_problems == (
        "2 images have a coco_url and no file_name, as LVIS has, the first is image 0: use "
        "data=lvis.",
    )


def test_a_link_to_nothing_is_called_that(tmp_path):
    (tmp_path / "x.json").symlink_to("gone/y.json")
    said = "is a link to 'gone/y.json', which is not there"
    assert problems_of(read_view, tmp_path / "x.json") == (
        f"the annotation file {said}. Correct the path.",
    )
    (tmp_path / "photos").symlink_to("gone")
    assert image_problems(tmp_path / "photos", [], decode=False) == [
        f"the images folder {tmp_path / 'photos'} is a link to 'gone', which is not there. "
        "Correct the path."
    ]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.png").symlink_to("/gone/a.png")
    record = ImageRecord(image_id=1, file_name="a.png", height=3, width=3)
    assert image_problems(tmp_path / "own", [record], decode=False) == [
        f"image 1: '{tmp_path / 'own' / 'a.png'}' is a link to '/gone/a.png', which is not there. "
        "Mend the link, or drop the image."
    ]


def test_an_archive_in_place_of_the_images_is_called_that(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK\x03\x04")
    (problem,) = image_problems(tmp_path / "images.zip", [], decode=False)
    assert problem == (
        f"data.*.images={tmp_path / 'images.zip'} is a file (an archive: unpack it). Give the "
        "folder that file names are relative to."
    )
