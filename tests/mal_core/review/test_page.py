"""The page is one file in which nothing of the user's is code."""

import html.parser
import json
import re
from pathlib import Path

import pytest

from mal_core.review.page import script_json
from tests.mal_core.review.reviewed import write_labels, write_queue

EVIL = "</script><script>alert(1)</script><!-- \u2028 \ud800 &amp; \" ' `${x}`"


class Elements(html.parser.HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


@pytest.fixture
def page(tmp_path: Path) -> str:
    files = write_labels(tmp_path / "data")
    content = files.content()
    content["categories"][0]["name"] = EVIL.replace("\ud800", "")
    files.rewrite(content)
    write_queue(files, tmp_path / "out", worst=3)
    return (tmp_path / "out" / "review.html").read_text(encoding="utf-8")


def test_what_a_file_says_cannot_become_code(page):
    parsed = Elements()
    parsed.feed(page)
    assert len(parsed.scripts) == 2
    data, script = parsed.scripts
    assert json.loads(data)["items"][0]["name"] == EVIL.replace("\ud800", "")
    assert not re.search("[<>&\u2028]", data)
    assert "alert(1)" not in script
    assert "innerHTML" not in script
    assert "eval(" not in script


def test_the_page_needs_nothing_beside_it(page):
    parsed = Elements()
    parsed.feed(page)
    places = [value for _, attributes in parsed.tags
              for key, value in attributes.items() if key in ("src", "href", "action")]  # fmt: skip
    assert places == ["data:,"]
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "http" not in policy
    items = json.loads(parsed.scripts[0])["items"]
    assert all(one["photo"].startswith("data:image/jpeg;base64,") for one in items)
    assert all(one["layer"].startswith("data:image/png;base64,") for one in items)


def test_half_characters_stay_json():
    assert json.loads(script_json({"a": "\ud800"})) == {"a": "\ud800"}
    script_json({"a": "\ud800"}).encode("utf-8")
