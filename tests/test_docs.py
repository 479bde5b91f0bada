"""The pages for people are true in what a machine can look up: links, modules, cited sections."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.script_files import load_script

ROOT = Path(__file__).resolve().parent.parent
METHOD = ROOT / "docs" / "method.md"
PACKAGES = ("mal_core", "flows", "phase2_configs", "scenes", "benchmarks", "tests")
FOLDERS = (
    ".",
    "docs",
    *(f"docs/{name}" for name in ("decisions", "how-to", "images", "reference", "tutorials")),
    "phase2_configs",
    "work_pools",
)
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
CITATION = re.compile(
    r"\bspec(?:\s+section)?\s+(?P<first>[QS]?\d+(?:\.\d+)*)(?P<more>(?:, [QS]\d+)*)", re.IGNORECASE
)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
MODULE = re.compile(r"`(?P<name>(?:flows|mal_core|phase2_configs)(?:\.\w+)+)`")
SOURCE = re.compile(
    r"`(?P<path>(?:flows|mal_core|phase2_configs|scenes|tests|benchmarks|scripts|conf)/[\w/.-]+)`"
)


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def cited() -> dict[str, list[str]]:
    """Every section, quirk and property of the method that the code names, and where."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for match in CITATION.finditer(path.read_text()):
                for name in [match["first"], *re.findall(r"[QS]\d+", match["more"])]:
                    found.setdefault(name, []).append(page_name(path))
    return found


def defined() -> list[str]:
    """Sections of the method, and the names of its rows of quirks and properties."""
    text = METHOD.read_text()
    rows = re.findall(r"^\| ((?:[QS]\d+)(?:, [QS]\d+)*) ", text, flags=re.MULTILINE)
    sections = re.findall(r"^#+ (\d+(?:\.\d+)*)\.? ", text, flags=re.MULTILINE)
    return [*sections, *(name for row in rows for name in row.split(", "))]


def test_every_cited_section_quirk_and_property_is_in_the_method():
    citations, known = cited(), defined()
    assert {"4.2", "Q9", "Q35", "S1"} <= citations.keys()  # the pattern finds what there is
    assert {name: files for name, files in citations.items() if name not in known} == {}


def test_the_method_has_each_section_quirk_and_property_once():
    names = defined()
    assert len(names) == len(set(names))
    for letter, count in (("Q", 35), ("S", 20)):
        numbered = {f"{letter}{number}" for number in range(1, count + 1)}
        assert {name for name in names if name.startswith(letter)} == numbered


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_lead_to_files_and_headings(page: Path):
    broken = []
    for match in LINK.finditer(page.read_text()):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page.parent / unquote(target) if target else page
        known = file.exists() and (not anchor or file.suffix != ".md" or anchor in anchors(file))
        if not known:
            broken.append(match["target"])
    assert broken == []


def exists(dotted: str) -> bool:
    """Whether a name is that of a module, or of something that a module's text defines."""
    path = ROOT.joinpath(*dotted.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    pattern = rf"^(?:class |def |    \")?{re.escape(path.name)}\b"  # in __all__, too
    modules = (path.parent.with_suffix(".py"), path.parent / "__init__.py")
    return any(re.search(pattern, one.read_text(), flags=re.M) for one in modules if one.is_file())


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=page_name
)
def test_modules_and_files_that_a_page_names_exist(page: Path):
    text = page.read_text()
    names = [match["name"] for match in MODULE.finditer(text) if not exists(match["name"])]
    paths = [match["path"] for match in SOURCE.finditer(text)]
    absent = [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    assert names + absent == []


class Targets(HTMLParser):
    """Where a page of HTML leads, and what in it can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.add(str(value))
            elif name in ("href", "src"):
                self.links.append(str(value))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds; a warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going"]
    result = subprocess.run(
        [*command, "-b", "html", "docs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere(site: Path):
    pages = {path: Targets(path.read_text()) for path in site.rglob("*.html")}
    assert {"index.html", "method.html", "genindex.html"} <= {path.name for path in pages}
    broken = []
    for page, targets in pages.items():
        for link in targets.links:
            name, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / unquote(name.partition("?")[0])).resolve() if name else page
            known = pages.get(target)
            # An anchor without a name is the theme's way back to the top.
            if not target.is_file() or (anchor and known and unquote(anchor) not in known.ids):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_the_references_name_everything_there_is(site: Path):
    from flows.commands.cli import HELP
    from flows.settings import composing
    from mal_core import __all__ as public

    commands, settings, python = (
        (site / "reference" / f"{name}.html").read_text()
        for name in ("commands", "settings", "python")
    )
    assert all(f"usage: mal {verb} " in commands for verb in HELP)
    keys = [key for key in composing.known_keys() if not key.startswith("segmenters.")]
    inner = {key.rpartition(".")[0] for key in keys}
    assert [key for key in keys if key not in inner and f">{key}<" not in settings] == []
    assert [name for name in public if f'id="mal_core.{name}"' not in python] == []


def test_every_setting_says_what_it_does():
    settings = list(load_script("reference_pages").all_settings())
    assert len(settings) > 100
    assert [one.key for one in settings if not one.meaning] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 700
