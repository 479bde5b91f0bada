"""Why a mask is suspected: the components that pull its score down, in words."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mal_core.quality.score import AGREEMENT, CLASSMATES, default_model, kind_of

MOST = 3
DISAGREEMENT = 0.7
"""IoU with the labeler's own mask below which that is a reason."""
HARD_CLASS = -0.3
"""Log-odds by which its class lowers a score and below which that is a reason."""
FAINT = 0.05
"""Pull on the log-odds below which a component is no reason."""
NO_REASON = "nothing stands out; the sum of small doubts is what lowers the score"


class Words(NamedTuple):
    """What a component says when it is lower than usual, and when it is higher; None: no reason.

    A curve over all components may well lower a score because a box is square; nobody could look
    for that in a picture.
    """

    low: str | None
    high: str | None


WORDS: dict[str, Words] = {
    "fill": Words("the mask fills little of its box", "the mask fills nearly all of its box"),
    "gap": Words(None, "one side of the box is left empty"),
    "gaps": Words(None, "the mask keeps away from the sides of its box"),
    "flush": Words(
        "the mask barely touches the sides of its box", "the mask runs along the sides of its box"
    ),
    "compact": Words("the outline is ragged or thin", "the mask is a plain round blob"),
    "solid": Words("the outline has deep bays", None),
    "fragments": Words(None, "parts of the mask lie apart"),
    "holes": Words(None, "the mask has holes"),
    "contrast": Words("object and surroundings have the same colors", None),
    "edges": Words("the outline follows no edge of the photo", None),
    "colors": Words("the colors suggest another mask", None),
    "size": Words("the object is small", "the object is large and has much detail"),
    "share": Words("the object is a small part of the photo", "the object fills the photo"),
    "narrow": Words(None, "the box is long and narrow"),
    "border": Words(None, "the photo cuts the object off"),
    "crowded": Words(None, "other boxes cover its box"),
    "claimed": Words(None, "other boxes cover the mask"),
    "doubt": Words(None, "the labeler doubts many pixels of the box"),
    "refined": Words("refinement changed the mask much", None),
    "spill": Words(None, "the object seems to go on outside its box"),
    "kinship": Words("the encoder sees no change where the mask ends", None),
}


def reasons_for(components: Mapping[str, float]) -> tuple[str, ...]:
    """What pulls a score down most, the strongest first, each with its component's value.

    Args:
        components: As `score_components` of the labels has them.

    Returns:
        At most three sentences, at least one.
    """
    model = default_model(kind_of(components))
    values = model.design([components])[0, :-1]
    pulls = values * np.array(model.weights)
    found: dict[str, str] = {}
    agreement = components.get(AGREEMENT, 1.0)
    if agreement < DISAGREEMENT:
        found[AGREEMENT] = f"the labeler draws another mask ({AGREEMENT} {agreement:.2f})"
    effect = components.get(CLASSMATES, 0.0)
    if effect < HARD_CLASS:
        found[CLASSMATES] = f"masks of its class are worse than others ({CLASSMATES} {effect:.2f})"
    for index in np.argsort(pulls, kind="stable").tolist():
        if pulls[index] > -FAINT or len(found) == MOST:
            break
        name = model.names[index]
        words = WORDS[name].high if values[index] > 0 else WORDS[name].low
        if words is not None:
            found.setdefault(words, f"{words} ({name} {components[name]:.2f})")
    return tuple(found.values()) or (NO_REASON,)
