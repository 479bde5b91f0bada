"""How Sphinx makes the site of these pages, which are plain Markdown for GitHub, too.

What GitHub cannot show is put in while building: `<!-- generated: NAME -->` becomes a reference
made from the code, and the lists of index.md become the contents of the site.
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import reference_pages  # noqa: E402 -- found by the path above

project = "mal-pipeline"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "mal-pipeline"
html_copy_source = False
exclude_patterns = ["_build"]
myst_heading_anchors = 6
myst_enable_extensions = ["strikethrough"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
napoleon_use_ivar = True

MARK = re.compile(r"<!-- generated: (\w+) -->")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
OUTSIDE = re.compile(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<target>\.\./[^)#\s]+)(?:#[^)\s]*)?\)")
ENTRY = re.compile(r"^- \[[^\]]+\]\(([\w/-]+)\.md\)", re.MULTILINE)


def contents(index: str) -> str:
    """Hidden tables of contents, one for each list of a page."""
    head, *parts = SECTION.split(index)
    sections = [("", head), *zip(parts[::2], parts[1::2], strict=True)]
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n{title and f':caption: {title}'}\n\n"
        + "\n".join(names)
        + "\n```\n"
        for title, text in sections
        if (names := ENTRY.findall(text))
    )


def without_outside_links(text: str, folder: Path) -> str:
    """Links to files that are no pages as words and a path; a wrong one stays, to be warned of."""

    def path_of(match: re.Match[str]) -> str:
        target = (folder / match["target"]).resolve()
        if target.is_relative_to(DOCS) or not target.exists():
            return match[0]
        return f"{match['words']} (`{target.relative_to(ROOT)}`)"

    return OUTSIDE.sub(path_of, text)


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Put into a page what is made while building."""
    text = without_outside_links(source[0], (DOCS / page).parent)
    source[0] = MARK.sub(lambda match: reference_pages.PAGES[match[1]](), text)
    if page.rpartition("/")[2] == "index":
        source[0] += contents(source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", complete)
