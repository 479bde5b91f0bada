"""What XML of VOC's kin looks like: elements of another spelling, deleted or doubled ones."""

import xml.etree.ElementTree as ElementTree

NAMES = {"filename", "size", "object"}
"""Elements of an annotation that are read."""


def form_problem(root: ElementTree.Element) -> str | None:
    """Why an annotation holds nothing that VOC's readers find, in words."""
    if root.find("size") is None and root.find("imagesize") is not None:
        return "this is LabelMe's XML (<imagesize> and no <size>); convert it to COCO or VOC"
    other = [child.tag for child in root if child.tag not in NAMES and child.tag.lower() in NAMES]
    if other:
        return f"has <{other[0]}>, but VOC's elements are in lower case: write <{other[0].lower()}>"
    return None


def class_of(element: ElementTree.Element, where: str, problems: list[str]) -> str:
    """The class of an object; what is wrong with it goes to `problems`."""
    names = [(one.text or "").strip() for one in element.findall("name")]
    if not any(names):
        problems.append(f"{where} has no <name>. Add its class.")
    elif len({*names}) > 1:
        seen = " and ".join(map(repr, names[:2]))
        problems.append(f"{where} has {len(names)} <name>, {seen}. Keep one.")
    return names[0] if names else ""


def deletion(element: ElementTree.Element, where: str) -> list[str]:
    """One sentence if an object is marked as deleted, as LabelMe leaves those it hides."""
    if element.findtext("deleted", "").strip() != "1":
        return []
    return [f"{where} is marked as deleted (<deleted>1</deleted>). Take it out of the file."]
