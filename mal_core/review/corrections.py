"""The way back: corrected masks and decisions of a file, put into a copy of the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.data.json_lists import read_whole
from mal_core.data.pseudo_labels import COMPONENTS, INTERVAL, listed, listed_in_order
from mal_core.errors import DatasetError
from mal_core.formats.exports.labeled import Labeled, LabeledObject, read_labeled
from mal_core.processes.own_file import write_own_json
from mal_core.review.coco import read_coco
from mal_core.review.cvat import read_cvat
from mal_core.review.decisions import Decision, is_decisions, read_decisions
from mal_core.review.digests import mask_digest
from mal_core.review.given import Given
from mal_core.review.label_studio import read_label_studio
from mal_core.review.matching import Drawn, Matcher
from mal_core.review.merging import merge, replaced_digests
from mal_core.types import HUMAN_SOURCE, REJECTED, REPLACED, REVIEW, Rle

HUMAN_SCORE = 1.0
Json = dict[str, Any]


@dataclass(slots=True)
class Imported:
    """What a file of corrections has changed.

    Attributes:
        tool: Who wrote it.
        corrected: Where each new mask comes from, by annotation id.
        rejected: Ids whose mask is gone.
        unchanged: Masks that came back as they were.
        accepted, to_fix: Decisions that change nothing.
        accepted_gone: Ids that were accepted, but an earlier import has dropped their mask.
        accepted_others: Ids that were accepted, but have another mask now.
        gone: Ids whose region was removed in the tool.
        absent: Ids that the tool's photos have in the labels alone, the lowest score first.
        notes: What was left out and why.
    """

    tool: str
    corrected: dict[int, str] = field(default_factory=dict)
    rejected: list[int] = field(default_factory=list)
    unchanged: int = 0
    accepted: int = 0
    to_fix: int = 0
    accepted_gone: list[int] = field(default_factory=list)
    accepted_others: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        out = [f"{len(self.corrected)} masks corrected"]
        if self.rejected:
            out.append(f"{len(self.rejected)} masks rejected: their boxes stay, without a mask")
        for count, what in (
            (self.unchanged, "masks came back as they were"),
            (self.accepted, "masks accepted, as they are"),
            (self.to_fix, "masks still to be fixed, as they are"),
        ):
            if count:
                out.append(f"{count} {what}")
        if self.accepted_gone:
            out.append(
                f"{len(self.accepted_gone)} masks were accepted, but an earlier import has dropped "
                f"them as rejected: {listed(self.accepted_gone)}. To have them back, "
                "import these decisions into the labels from before it."
            )
        if self.accepted_others:
            out.append(
                f"{len(self.accepted_others)} masks are others now than those that were accepted, "
                f"and stay as they are: {listed(self.accepted_others)}"
            )
        if self.gone:
            out.append(
                f"{len(self.gone)} masks have no region any more in {self.tool} and stay as they "
                f"are: {listed(self.gone)}. Reject them on the page of the review, "
                "if they should go."
            )
        if self.absent:
            out.append(
                f"{len(self.absent)} masks of photos in this file are not in it and stay as they "
                "are, never sent or deleted there; the lowest score first: "
                f"{listed_in_order(self.absent)}. Reject them on the page of the review, if they "
                "should go."
            )
        return [*out, *(f"note: {note}" for note in self.notes)]

    def to_json(self) -> Json:
        """As the record beside the labels has it."""
        return {
            "tool": self.tool,
            "corrected": {str(key): where for key, where in sorted(self.corrected.items())},
            "rejected": sorted(self.rejected),
            "unchanged": self.unchanged,
            "accepted": self.accepted,
            "to_fix": self.to_fix,
            "accepted_gone": sorted(self.accepted_gone),
            "accepted_others": sorted(self.accepted_others),
            "gone": sorted(self.gone),
            "absent": self.absent,
            "notes": self.notes,
        }


def import_corrections(labels: Path, corrections: Path, output: Path) -> Imported:
    """Write the labels again with what people corrected.

    A corrected mask has `source` "human" and score 1; a rejected one leaves its box without a
    mask and with `review` "rejected", so that phase 2 skips it for that reason. Both remember the
    digest of the mask before in `replaced_masks`. Nothing else changes.

    Args:
        labels: The labeled file that was reviewed.
        corrections: Label Studio's export JSON, CVAT's XML or COCO, or the page's decisions.
        output: Receives the labels.

    Raises:
        DatasetError: A file is broken, or a correction fits no label; carries all problems.
    """
    labeled = read_labeled(labels)
    given = read_corrections(corrections)
    problems: list[str] = []
    matcher = Matcher(labeled)
    found = Imported(tool=given.tool, notes=list(given.notes))
    drawn, placed = matcher.match(given.shapes, problems)
    if placed:
        found.notes.append(
            f"{placed} masks were drawn anew and belong to the label whose box they fill"
        )
    merged = merge(drawn, problems)
    _decide(given.decisions, matcher, found, problems)
    if problems:
        raise DatasetError(corrections, problems)
    new = merged.new
    found.corrected = {key: mask.shape.where for key, mask in new.items()}
    found.unchanged += len(merged.unchanged)
    found.gone = sorted({key for key in given.gone if key in matcher.label_of and key not in new})
    if merged.settled:
        found.notes.append(
            f"{len(merged.settled)} masks were corrected differently by annotators of one task, "
            f"and the last correction is taken: {listed(merged.settled)}"
        )
    found.absent = matcher.absent(given.photos, {mask.label.id for mask in drawn})
    over = [key for key, mask in new.items() if mask.label.entry.get("source") == HUMAN_SOURCE]
    if over:
        found.notes.append(f"{len(over)} masks replace another human's correction: {listed(over)}")
    rejected = {key: matcher.label_of[key] for key in found.rejected}
    write_own_json(output, _changed(labeled, new, rejected))
    return found


def read_corrections(path: Path) -> Given:
    """A file of corrections, of whichever tool.

    Raises:
        DatasetError: It is absent, broken, or of no tool that is known here.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise DatasetError(path, [f"cannot be read: {error.strerror}."]) from error
    if start.startswith(b"<") or path.suffix.lower() == ".xml":
        return read_cvat(path)
    content = read_whole(path)
    if isinstance(content, list):
        return read_label_studio(content, path)
    if is_decisions(content):
        return Given(tool="the page", decisions=read_decisions(content, path))
    if isinstance(content, dict) and {"labels", "masks", "queue"} <= content.keys():
        problem = (
            "is the queue of a review, the order that its page shows masks in. Give what people "
            "made of it: decisions.json, which the page saves, or the export of their tool."
        )
        raise DatasetError(path, [problem])
    return read_coco(content, path)


def _decide(
    decisions: Sequence[Decision], matcher: Matcher, found: Imported, problems: list[str]
) -> None:
    for decision in decisions:
        label = matcher.label_of.get(decision.annotation_id)
        if label is None:
            problems.append(
                f"annotation {decision.annotation_id} is not in the labels, or has no mask there. "
                "Are these the decisions of this file?"
            )
        elif decision.choice == "fix":
            found.to_fix += 1
        elif decision.choice == "accept":
            _accept(decision, label, found)
        elif label.entry.get(REVIEW) == REJECTED:
            found.unchanged += 1
        elif decision.mask is not None and decision.mask != mask_digest(label.rle):
            problems.append(
                f"annotation {decision.annotation_id} has another mask now than the one that was "
                "rejected. To keep it, set it to 'fix later' on the page (key f), which changes "
                "no mask, save the decisions and import them again."
            )
        else:
            found.rejected.append(decision.annotation_id)


def _accept(decision: Decision, label: LabeledObject, found: Imported) -> None:
    """Count it only where the labels still have the mask that was looked at."""
    if not coco_mask.area(label.rle):
        found.accepted_gone.append(label.id)
    elif decision.mask is not None and decision.mask != mask_digest(label.rle):
        found.accepted_others.append(label.id)
    else:
        found.accepted += 1


def _changed(
    labeled: Labeled,
    new: Mapping[int, Drawn],
    rejected: Mapping[int, LabeledObject],
) -> Json:
    annotations = []
    for entry in labeled.content["annotations"]:
        if entry["id"] in rejected:
            annotations.append(_rejected(rejected[entry["id"]]))
        elif entry["id"] in new:
            annotations.append(_corrected(new[entry["id"]].label, new[entry["id"]].rle))
        else:
            annotations.append(entry)
    return {**labeled.content, "annotations": annotations}


def _corrected(before: LabeledObject, rle: Rle) -> Json:
    entry = before.entry
    kept = {key: value for key, value in entry.items() if key not in (INTERVAL, COMPONENTS, REVIEW)}
    return {
        **kept,
        "segmentation": rle,
        "area": int(coco_mask.area(rle)),
        "score": HUMAN_SCORE,
        "source": HUMAN_SOURCE,
        REPLACED: [*replaced_digests(entry), *_digest_of(before)],
    }


def _rejected(before: LabeledObject) -> Json:
    gone = ("segmentation", "score", "source", INTERVAL, COMPONENTS)
    kept = {key: value for key, value in before.entry.items() if key not in gone}
    replaced = [*replaced_digests(before.entry), *_digest_of(before)]
    return {**kept, REVIEW: REJECTED, REPLACED: replaced}


def _digest_of(before: LabeledObject) -> list[str]:
    return [mask_digest(before.rle)] if coco_mask.area(before.rle) else []
