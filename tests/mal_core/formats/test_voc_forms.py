"""Elements of VOC's XML that readers pass over in silence: told instead."""

from pathlib import Path

import pytest

from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from tests.mal_core.formats.drawn_formats import draw, write_voc

VOC = FORMATS["voc"]
SIZE = "<size><width>40</width><height>30</height></size>"
BOX = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>16</xmax><ymax>15</ymax></bndbox>"


def written(folder: Path, inner: str) -> tuple[Path, Path]:
    annotations = write_voc(folder / "Annotations")
    text = f"<annotation><filename>a.jpg</filename>{inner}</annotation>"
    (annotations / "a.xml").write_text(text)
    return draw(folder / "JPEGImages"), annotations


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (
            f"{SIZE}<Object><Name>cat</Name>{BOX}</Object>",
            "a.xml: has <Object>, but VOC's elements are in lower case: write <object>.",
        ),
        (
            f"<SIZE><width>40</width></SIZE><object><name>cat</name>{BOX}</object>",
            "a.xml: has <SIZE>, but VOC's elements are in lower case: write <size>.",
        ),
        (
            "<imagesize><nrows>30</nrows><ncols>40</ncols></imagesize><object><name>cat</name>"
            "<polygon><pt><x>5</x><y>5</y></pt></polygon></object>",
            "a.xml: this is LabelMe's XML (<imagesize> and no <size>); convert it to COCO or VOC.",
        ),
        (
            f"{SIZE}<object><name>cat</name><name>dog</name>{BOX}</object>",
            "a.xml: object 1 has 2 <name>, 'cat' and 'dog'. Keep one.",
        ),
        (
            f"{SIZE}<object><name>cat</name><deleted>1</deleted>{BOX}</object>",
            "a.xml: object 1 is marked as deleted (<deleted>1</deleted>). Take it out of the file.",
        ),
    ],
)
def test_what_would_be_passed_over_is_told(inner: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(*written(tmp_path, inner))
    assert caught.value.problems == (said,)


@pytest.mark.parametrize(
    "inner",
    [
        f"{SIZE}<object><name>cat</name><deleted>0</deleted>{BOX}</object>",
        f"{SIZE}<object><name>cat</name><name> cat </name>{BOX}</object>",
        f"{SIZE}<object><name>cat</name>{BOX}<part><name>head</name>{BOX}</part></object>",
        f"{SIZE}<Owner>me</Owner><imagesize/><object><name>cat</name>{BOX}</object>",
    ],
)
def test_what_has_one_meaning_is_read(inner: str, tmp_path: Path) -> None:
    content = VOC.to_coco(*written(tmp_path, inner))
    assert content["annotations"][0]["bbox"] == [4, 5, 12, 10]
    assert [one["name"] for one in content["categories"]] == ["cat", "dog"]


def test_a_repair_leaves_deleted_objects_out(tmp_path: Path) -> None:
    inner = f"{SIZE}<object><name>cat</name><deleted>1</deleted>{BOX}</object>"
    dropped: list[tuple[str, str]] = []
    from mal_core.formats.voc import voc_to_coco

    content = voc_to_coco(*written(tmp_path, inner), dropped=dropped)
    assert [one["origin"] for one in content["annotations"]] == ["b.xml, object 1"]
    assert dropped == [
        (
            "a.xml: object 1",
            "is marked as deleted (<deleted>1</deleted>). Take it out of the file.",
        )
    ]
