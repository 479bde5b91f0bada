"""Which photo an XML file of VOC is of, and where the files of a list lie."""

from pathlib import Path

import pytest

from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from tests.mal_core.formats.drawn_formats import EXPECTED, boxes_of, draw, write_voc

VOC = FORMATS["voc"]


def named(tmp_path: Path, first: str, second: str = "b.jpg") -> tuple[Path, Path]:
    """Photos a.jpg and b.jpg, and a.xml and b.xml with other <filename>."""
    images, annotations = draw(tmp_path / "JPEGImages"), write_voc(tmp_path / "Annotations")
    for stem, name in (("a", first), ("b", second)):
        path = annotations / f"{stem}.xml"
        text = path.read_text()
        assert f"<filename>{stem}.jpg</filename>" in text
        path.write_text(text.replace(f"{stem}.jpg", name))
    return images, annotations


@pytest.mark.parametrize("stated", ["IMG_2034.jpg", "a.png", "C:\\photos\\x.jpg"])
def test_a_photo_that_is_called_as_its_file_is_found_and_counted(
    tmp_path: Path, stated: str
) -> None:
    images, annotations = named(tmp_path, stated)
    normal = VOC.to_coco(images, annotations)
    assert boxes_of(normal) == EXPECTED
    assert VOC.notes(images, annotations, normal) == [
        f"1 XML files have a <filename> that is not there, such as {stated!r} in a.xml: the photo "
        "that is called as the file is taken, 'a.jpg'."
    ]


@pytest.mark.parametrize("stated", ["a.jpg", "a", "A.JPG", "x/a.jpg", "1a2b3c4d-a.jpg"])
def test_names_that_agree_stay_as_they_are_written(tmp_path: Path, stated: str) -> None:
    images, annotations = named(tmp_path, stated)
    normal = VOC.to_coco(images, annotations)
    assert normal["images"][0]["file_name"] == stated
    assert VOC.notes(images, annotations, normal) == []


def test_a_name_of_another_photo_is_refused(tmp_path: Path) -> None:
    images, annotations = named(tmp_path, "b.jpg", "a.jpg")
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(images, annotations)
    assert caught.value.problems == tuple(
        f"{mine}.xml: its <filename> is '{other}.jpg', but '{mine}.jpg' is called as the file is, "
        "and both are there: which is it of? Correct <filename>, or rename the file."
        for mine, other in ("ab", "ba")
    )


def test_two_files_of_one_photo_are_refused(tmp_path: Path) -> None:
    images, annotations = named(tmp_path, "a.jpg")
    (annotations / "deep").mkdir()
    (annotations / "deep" / "a.xml").write_text((annotations / "a.xml").read_text())
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(images, annotations)
    assert caught.value.problems == ("deep/a.xml and a.xml are both of a.jpg. Keep one.",)


def test_a_name_of_neither_stays_for_the_check_to_miss(tmp_path: Path) -> None:
    images, annotations = named(tmp_path, "gone.jpg")
    (images / "a.jpg").unlink()
    assert VOC.to_coco(images, annotations)["images"][0]["file_name"] == "gone.jpg"


@pytest.mark.parametrize("place", ["x.txt", "ImageSets/x.txt", "ImageSets/Main/x.txt"])
@pytest.mark.parametrize("line", ["a", "a.jpg", "a  1", "./JPEGImages/a.jpg ./Annotations/a.xml"])
def test_a_list_may_lie_beside_the_folder_or_below(tmp_path: Path, place: str, line: str) -> None:
    images, _ = named(tmp_path, "a.jpg")
    listed = tmp_path / place
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text(f"{line}\n")
    normal = VOC.to_coco(images, listed)
    assert [image["file_name"] for image in normal["images"]] == ["a.jpg"]


def test_a_list_without_a_folder_is_told(tmp_path: Path) -> None:
    listed = tmp_path / "deep" / "deeper" / "deepest" / "x.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("a\n")
    images, _ = named(tmp_path, "a.jpg")
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(images, listed)
    assert caught.value.problems == (
        "is a list, and no folder `Annotations` lies beside it or above. Give the folder "
        "`Annotations`, or a list in ImageSets.",
    )
