"""Which commands heed a setting that is of single ones; those of stages are heeded by all."""

from mal_core.config.roles import Heeded

SCORED, IMPORT = "evaluate labels=", "review import"
"""`mal evaluate` that compares two files and runs no stage; corrections that come back."""
CHECKED = (
    *("run", "sweep", "check", "estimate", "train", "label", "segment", "evaluate", "predict"),
    "bake-off",
)
"""They look at the input before they work, and so at its licences."""
REWRITERS = ("score", "calibrate", "refine", "export-labels", "review", IMPORT)
"""They read masks and draw none; they write what they make of them."""
WRITERS = ("label", "run", "estimate", "evaluate", "check", "bake-off", "export", SCORED)

BAKE_OFF = Heeded(("bake-off",))
CHECK = Heeded(CHECKED)
COMPARED = Heeded(("evaluate", SCORED, "calibrate", "bake-off"))
CORRECTED = Heeded(("review", IMPORT))
ESTIMATE = Heeded(("estimate",))
EXPORT = Heeded(("export-labels",))
LABELED = Heeded(("evaluate", SCORED, *REWRITERS))
REFINE = Heeded(("refine",))
REPAIR = Heeded(("check",))
REVIEW = Heeded(("review",))
SHOWN = Heeded(("evaluate", SCORED, *(one for one in REWRITERS if one != IMPORT)))
TASKS = Heeded(("export-labels", "review"))
WRITTEN = Heeded((*WRITERS, *REWRITERS))
