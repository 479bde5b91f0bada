"""Numbers and tables as text: for terminals and as Markdown."""

from collections.abc import Mapping, Sequence

NOT_AVAILABLE = "n/a"
LONGEST_CELL = 100
"""Characters: a name of thousands would push every other column out of sight."""


def format_number(value: float | None, *, percent: bool = False) -> str:
    """A finite number as text, "n/a" for an undefined one."""
    if value is None:
        return NOT_AVAILABLE
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


def text_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as aligned text, first row the keys."""
    if not rows:
        return ""
    lines = [[_fitted(cell) for cell in line] for line in _lines(rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return ""
    head, *body = _lines(rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(escaped(_fitted(cell)) for cell in line)} |" for line in lines)


def _lines(rows: Sequence[Mapping[str, str]]) -> list[list[str]]:
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def _fitted(cell: str) -> str:
    """A cell without its middle where it is longer than anybody reads."""
    if len(cell) <= LONGEST_CELL:
        return cell
    half = (LONGEST_CELL - 3) // 2
    return f"{cell[:half]}...{cell[-half:]}"


def escaped(cell: str) -> str:
    """Text that Markdown shows as it is inside a cell."""
    return cell.replace("|", "\\|").replace("<", "&lt;")
