"""Licences of what labels and models are made of, what they permit, and the strictest of them.

What a licence is called in a file decides, not a lawyer: a name or an address that is not known
here permits nothing for certain. Names of encoders' licences are those of timm's
`pretrained_cfg`, those of images COCO's `licenses` and `images[].license`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mal_core.data.coco import parse_listing
from mal_core.errors import ConfigError

Commercial = Literal["yes", "no", "unknown"]
UNSTATED = "not stated"
SHOWN = 3

_FAMILIES: tuple[tuple[str, Commercial], ...] = (
    (r"non-?commercial|\bnc\b|by-nc|-?amlr\b|seer", "no"),
    (r"\bno[nt]?\b[\w -]*commercial|commercial[\w -]*\b(not|prohibited|forbidden)\b", "no"),
    (r"\b(research|academic|educational|personal)[ -](only|use|purposes?)\b", "no"),
    (r"publicdomain|public domain|\bcc0\b|\bpdm\b|no known copyright|government work", "yes"),
    (r"apache|\bmit\b|\bbsd\b|\bisc\b|unlicense|zlib", "yes"),
    (r"\bcc[- ]by|creativecommons\.org/licenses/by|attribution", "yes"),
    (
        r"^(my |our )?own( (photos?|images?|pictures?|data|work))?$|^(all rights )?(mine|ours)$",
        "yes",
    ),
)
"""The first that fits counts; what is one's own must be said in just these words, since `not my
own` and `owner unknown` hold them, too."""
_SHARE = re.compile(r"-sa\b|share-?alike|\bgpl|agpl", re.IGNORECASE)
_FIXED = re.compile(r"-nd\b|no-?deriv", re.IGNORECASE)
_OPEN = re.compile(r"public ?domain|\bcc0\b|\bown\b|government work|no known", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """What a licence permits, by its name.

    Attributes:
        name: As its source states it.
        commercial: Whether commercial use is permitted.
        attribution: Its holder must be named.
        share_alike: What is made of it must have the same licence.
        derivatives: What is made of it may be passed on.
    """

    name: str
    commercial: Commercial
    attribution: bool
    share_alike: bool
    derivatives: bool

    @property
    def strictness(self) -> tuple[int, int, int, int]:
        """Larger where less is permitted."""
        order: dict[Commercial, int] = {"yes": 0, "unknown": 1, "no": 2}
        return (
            order[self.commercial],
            int(not self.derivatives),
            int(self.share_alike),
            int(self.attribution),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LicensedPart:
    """Something that went into a file, under one licence.

    Attributes:
        part: What it is, such as "encoder" or "training images".
        of: Its name.
        count: How many of them, for images.
        stated_by: Where the licence comes from.
    """

    part: str
    of: str
    licence: Licence
    count: int = 1
    stated_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenceCard:
    """All parts, and what follows for what is made of them.

    Attributes:
        strictest: The part's licence that permits least; None where there is no part.
        commercial: Whether all parts permit commercial use.
    """

    parts: tuple[LicensedPart, ...]
    strictest: Licence | None
    commercial: Commercial


def read_licence(name: str | None, url: str = "") -> Licence:
    """A licence by its name, and its address where there is one.

    Licences of their own (DINOv3, Gemma, Apple's) are unknown: whoever has read one may state
    another name.
    """
    text = f"{name or ''} {url}".replace("_", "-").lower().strip()
    found: Commercial = "unknown"
    if name or url:
        found = next((use for words, use in _FAMILIES if re.search(words, text)), "unknown")
    return Licence(
        name=name or url or UNSTATED,
        commercial=found,
        attribution=found != "unknown" and _OPEN.search(text) is None,
        share_alike=_SHARE.search(text) is not None,
        derivatives=_FIXED.search(text) is None,
    )


def card_of(parts: Iterable[LicensedPart]) -> LicenceCard:
    """The parts with the strictest licence among them."""
    listed = tuple(parts)
    strictest = max(
        (part.licence for part in listed), key=lambda licence: licence.strictness, default=None
    )
    uses = {part.licence.commercial for part in listed}
    commercial: Commercial = "no" if "no" in uses else "unknown" if "unknown" in uses else "yes"
    return LicenceCard(parts=listed, strictest=strictest, commercial=commercial)


def image_licences(
    annotations: Path, title: str, *, stated: str | None = None
) -> list[LicensedPart]:
    """Licences of the images of a COCO file, one part for each, most images first.

    Args:
        annotations: The file.
        title: What the images are.
        stated: Licence of the images whose entry states none.

    Raises:
        DatasetError: The file is absent or broken.
    """
    content = parse_listing(annotations)
    known = _listed(content.get("licenses"))
    counts = Counter(
        _key(image.get("license")) for image in content["images"] if isinstance(image, dict)
    )
    names: Counter[tuple[str, str, str]] = Counter()
    for key, count in counts.items():
        name, url = known.get(key, ("", ""))
        if not (name or url):
            name, url, source = stated or "", "", "data.license" if stated else "nothing"
        else:
            source = "the annotation file"
        names[name, url, source] += count
    return [
        LicensedPart(
            part=title,
            of=annotations.name,
            licence=read_licence(name or None, url),
            count=count,
            stated_by=source,
        )
        for (name, url, source), count in names.most_common()
    ]


def _listed(licences: Any) -> Mapping[str, tuple[str, str]]:
    """Name and address of each licence by its id."""
    found = {}
    for licence in licences if isinstance(licences, list) else ():
        if isinstance(licence, dict) and "id" in licence:
            found[_key(licence["id"])] = (
                str(licence.get("name") or ""),
                str(licence.get("url") or ""),
            )
    return found


def _key(value: object) -> str:
    return str(value)


def require_commercial(parts: Sequence[LicensedPart], advice: Mapping[str, str]) -> None:
    """Refuse parts that do not permit commercial use for certain.

    Args:
        parts: All parts.
        advice: What to do, by the part's title.

    Raises:
        ConfigError: Names each such part, its licence and what to do.
    """
    lines = []
    for part in parts:
        licence = part.licence
        if licence.commercial == "yes" and licence.derivatives:
            continue
        what = f"{part.count} {part.part}" if part.count > 1 else part.part
        why = {
            "no": "does not permit commercial use",
            "unknown": "is not known to permit commercial use",
            "yes": "does not permit derived works",
        }[licence.commercial]
        lines.append(
            f"  - {what} ({part.of}): {licence.name!r}, stated by {part.stated_by}, {why}. "
            f"{advice.get(part.part, 'Leave it out.')}"
        )
    if lines:
        message = "\n".join(["license_policy=commercial refuses:", *lines])
        raise ConfigError(message)
