"""`output=DIR/`: whoever ends a place with a slash means a folder, new or not."""

from collections.abc import Sequence

from flows.settings import composing

OUTPUT = "output="


def into_folder(overrides: Sequence[str], name: str | None = None) -> list[str]:
    """Overrides in which an output that ends with a slash is a file in that folder.

    Args:
        overrides: As the user gave them.
        name: Of the file; None for labels in the format that their boxes have, which may be a
            folder already.
    """
    slashed = [one for one in overrides if one.startswith(OUTPUT) and one.endswith("/")]
    if not slashed:
        return list(overrides)
    if name is None:
        from flows.stages.normal_form import native_target
        from flows.stages.run import Run

        name = native_target(Run(composing.compose(overrides))) or "train.json"
        if "." not in name:
            return list(overrides)
    return [f"{one}{name}" if one in slashed else one for one in overrides]
