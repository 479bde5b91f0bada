"""What a review is worth: mean IoU after correcting the worst masks, in four orders.

    python -m benchmarks.review_curve NAME=LABELS:HUMAN ... [--seconds 79.2]

LABELS is a file of `mal label`, HUMAN a COCO file with human masks of the same annotation ids.
Prints a Markdown table: by expected loss (as `mal review` orders), by score, by mean probability
inside the mask, by the true IoU (the best there can be), and at random; and the hours that the
first order saves over random corrections for the same mean IoU. Seconds of work, no training.
"""

import argparse
import sys
from pathlib import Path

from mal_core.report.text_tables import markdown_table
from mal_core.review.curve import BELIEF, BEST, OURS, SCORE, ReviewCurves, curves_of


def main() -> None:
    """Print the table of the given files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="NAME=LABELS:HUMAN")
    parser.add_argument("--seconds", type=float, default=79.2, help="to draw one mask")
    chosen = parser.parse_args()
    rows = []
    for given in chosen.files:
        name, _, paths = given.partition("=")
        labels, separator, human = paths.partition(":")
        if not separator:
            parser.error(f"{given}: wanted NAME=LABELS:HUMAN")
        curves = curves_of(Path(labels), Path(human), seconds_per_mask=chosen.seconds)
        rows += curve_rows(name, curves)
    sys.stdout.write(markdown_table(rows) + "\n")


def curve_rows(name: str, found: ReviewCurves) -> list[dict[str, str]]:
    """One row per share of corrected masks."""
    rows = []
    for index, point in enumerate(found.curves[OURS]):
        row = {
            "labels": f"{name} ({found.objects} masks, mean IoU {found.mask_iou:.3f})",
            "corrected": f"{100 * point.share:.0f} % ({point.corrected}, {point.hours:.1f} h)",
        }
        for order in (OURS, SCORE, BELIEF, BEST):
            curve = found.curves.get(order)
            row[f"by {order}"] = "n/a" if curve is None else f"{curve[index].ordered:.4f}"
        row["at random"] = f"{point.random:.4f}"
        row["hours saved"] = f"{point.hours_saved:.1f}"
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
