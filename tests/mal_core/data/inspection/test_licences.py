"""What licences permit by their names, as COCO and timm write them."""

from pathlib import Path

import pytest

from mal_core.data.inspection.licences import (
    LicensedPart,
    card_of,
    image_licences,
    read_licence,
    require_commercial,
)
from mal_core.errors import ConfigError
from tests.builders import write_coco

COCO = {
    "Attribution-NonCommercial-ShareAlike License": ("no", True, True),
    "Attribution-NonCommercial License": ("no", False, True),
    "Attribution-NonCommercial-NoDerivs License": ("no", False, False),
    "Attribution License": ("yes", False, True),
    "Attribution-ShareAlike License": ("yes", True, True),
    "Attribution-NoDerivs License": ("yes", False, False),
    "No known copyright restrictions": ("yes", False, True),
    "United States Government Work": ("yes", False, True),
}


@pytest.mark.parametrize("name", COCO)
def test_licences_of_coco(name: str) -> None:
    found = read_licence(name)
    assert (found.commercial, found.share_alike, found.derivatives) == COCO[name]


@pytest.mark.parametrize(
    ("name", "commercial"),
    [
        ("apache-2.0", "yes"),
        ("mit", "yes"),
        ("bsd-3-clause", "yes"),
        ("cc-by-4.0", "yes"),
        ("cc-by-nc-4.0", "no"),
        ("CC0", "yes"),
        ("fair-noncommercial-research-license", "no"),
        ("dinov3-license", "unknown"),
        ("unknown", "unknown"),
        (None, "unknown"),
        ("own", "yes"),
        ("my own photos", "yes"),
        ("mine", "yes"),
        ("not my own", "unknown"),
        ("purchased", "unknown"),
        ("no commercial use, attribution required", "no"),
        ("Attribution; commercial use is not permitted", "no"),
        ("MIT, for research use only", "no"),
        ("all rights reserved", "unknown"),
    ],
)
def test_licences_of_weights_and_of_users(name: str | None, commercial: str) -> None:
    assert read_licence(name).commercial == commercial


def test_an_address_tells_where_the_name_does_not() -> None:
    assert read_licence("", "http://creativecommons.org/licenses/by-nc/2.0/").commercial == "no"
    assert read_licence("x", "https://creativecommons.org/publicdomain/zero/1.0/").commercial == (
        "yes"
    )


def part(licence: str | None, title: str = "encoder", count: int = 1) -> LicensedPart:
    licence_of = read_licence(licence)
    return LicensedPart(part=title, of="x", licence=licence_of, count=count, stated_by="timm")


def test_the_strictest_licence_follows() -> None:
    card = card_of([part("mit"), part("cc-by-nc-sa-2.0", "images", 7), part("cc-by-nc-4.0")])
    assert card.strictest is not None
    assert (card.strictest.name, card.commercial) == ("cc-by-nc-sa-2.0", "no")
    assert card_of([part("mit"), part(None)]).commercial == "unknown"
    assert card_of([part("mit")]).commercial == "yes"


def test_the_policy_names_each_part_that_it_refuses() -> None:
    require_commercial([part("mit"), part("CC0", "images")], {})
    with pytest.raises(ConfigError) as caught:
        require_commercial(
            [part("mit"), part("cc-by-nc-4.0"), part(None, "images", 9)], {"images": "Say it."}
        )
    text = str(caught.value)
    assert "encoder (x): 'cc-by-nc-4.0'" in text
    assert "9 images (x): 'not stated'" in text
    assert "Say it." in text
    assert "'mit'" not in text


def test_images_are_counted_by_licence(tmp_path: Path) -> None:
    files = write_coco(tmp_path)
    content = files.content()
    content["licenses"] = [{"id": 4, "name": "Attribution License", "url": "u"}]
    content["images"][2].pop("license")
    files.rewrite(content)
    first, second = image_licences(files.annotations, "images")
    assert (first.licence.name, first.count) == ("Attribution License", 2)
    assert (second.licence.commercial, second.count) == ("unknown", 1)
    (_, stated) = image_licences(files.annotations, "images", stated="own")
    assert (stated.licence.commercial, stated.stated_by) == ("yes", "data.license")
