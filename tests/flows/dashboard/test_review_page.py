"""The page of a review in a real browser, from the disk and through `mal serve`."""

import functools
import http.client
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from flows.dashboard import reviews
from flows.dashboard.report_server import MOST_BYTES, make_server
from mal_core.review.corrections import import_corrections
from tests.flows.browser import FOLDER, HEIGHT, WIDTH, chromium
from tests.mal_core.review.reviewed import MASKS, write_labels, write_queue

Served = tuple[int, Path]


@pytest.fixture
def review(tmp_path: Path) -> Path:
    """A folder with a review, with a blank in its name."""
    write_queue(write_labels(tmp_path / "data"), tmp_path / "my review")
    return tmp_path / "my review"


@pytest.fixture
def served(tmp_path: Path, review: Path) -> Iterator[Served]:
    reviews.remember(tmp_path / "reviews.jsonl", review)
    server = make_server(tmp_path / "history.jsonl", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], review
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def opened(browser: Browser, url: str) -> tuple[Page, list[str]]:
    """The page, and what went wrong or was asked for beyond it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    own = url.rpartition("/")[0]
    page.on("request", lambda one: wrong.append(one.url)
            if not one.url.startswith((own, "data:", "blob:")) else None)  # fmt: skip
    page.goto(url)
    page.get_by_text("Expected IoU").wait_for(state="visible")
    return page, wrong


def keep_picture(page: Page, name: str, folder: Path) -> None:
    target = Path(os.environ.get(FOLDER, folder)) / f"{name}.png"
    page.screenshot(path=target)


def test_keys_decide_and_the_decisions_survive_a_reload(browser, review, tmp_path):
    page, wrong = opened(browser, (review / "review.html").as_uri())
    queue = json.loads((review / "queue.json").read_text())["queue"]
    heading, progress = page.locator("#name"), page.locator("#progress")
    assert heading.inner_text() == f"1. {queue[0]['category']}"
    assert page.locator("#reasons li").first.inner_text() == queue[0]["reasons"][0]
    for image in ("#photo", "#layer"):
        assert page.locator(image).evaluate("one => one.decode().then(() => one.naturalWidth)") > 9
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.keyboard.press("n")
    page.keyboard.press("f")
    assert progress.inner_text().startswith(
        f"3 of {MASKS} decided: 1 accepted, 1 rejected, 1 to be fixed"
    )
    page.keyboard.press("u")
    assert progress.inner_text().startswith(f"2 of {MASKS} decided")
    page.locator("#fix").click()
    page.reload()
    page.get_by_text("Expected IoU").wait_for(state="visible")
    assert progress.inner_text().startswith(f"3 of {MASKS} decided: 1 accepted, 1 rejected, 1")
    assert heading.inner_text().startswith("3. ")  # the first without a decision
    keep_picture(page, "review", tmp_path)
    with page.expect_download() as download:
        page.keyboard.press("e")
    download.value.save_as(tmp_path / "decisions.json")
    ids = [one["annotation_id"] for one in queue]
    found = json.loads((tmp_path / "decisions.json").read_text())["decisions"]
    given = {one["annotation_id"]: one["decision"] for one in found}
    assert given == {ids[0]: "accept", ids[1]: "reject", ids[3]: "fix"}
    labels = tmp_path / "data" / "train.json"
    changes = import_corrections(labels, tmp_path / "decisions.json", tmp_path / "out.json")
    assert (changes.rejected, changes.accepted, changes.to_fix) == ([ids[1]], 1, 1)
    assert wrong == []


def test_the_view_zooms_and_its_layers_can_be_hidden(browser, review):
    page, wrong = opened(browser, (review / "review.html").as_uri())
    width = functools.partial(page.locator("#photo").evaluate, "one => one.clientWidth")
    before = width()
    page.keyboard.press("+")
    assert width() == pytest.approx(before * 1.4, rel=0.02)
    page.mouse.move(WIDTH / 2, HEIGHT / 2)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"document.getElementById('photo').clientWidth > {before * 2}")
    page.keyboard.press("0")
    assert width() == before
    for key, layer in (("m", "#layer"), ("b", "#box")):
        assert page.locator(layer).is_visible()
        page.keyboard.press(key)
        assert page.locator(layer).is_hidden()
    page.keyboard.press("l")
    assert page.locator("#photo").evaluate("one => one.style.filter") == "brightness(2)"
    box = page.locator("#stage").bounding_box()
    view = page.locator("#view").bounding_box()
    assert box is not None
    assert view is not None
    assert view["x"] <= box["x"] <= box["x"] + box["width"] <= view["x"] + view["width"]
    assert wrong == []


def test_a_rotated_box_is_drawn_where_its_corners_are(browser, tmp_path):
    files = write_labels(tmp_path / "data")
    content = files.content()
    worst = next(entry for entry in content["annotations"] if not entry["iscrowd"])
    x, y, w, h = worst["bbox"]
    middles = [[x + w / 2, y], [x + w, y + h / 2], [x + w / 2, y + h], [x, y + h / 2]]
    worst["rotated_box"] = [value for middle in middles for value in middle]
    files.rewrite(content)
    write_queue(files, tmp_path / "review")
    page, wrong = opened(browser, (tmp_path / "review" / "review.html").as_uri())
    sides = page.locator("#sides")
    first = sides.evaluate("one => one.getAttribute('points')").split()
    page.keyboard.press("n")
    second = sides.evaluate("one => one.getAttribute('points')").split()
    (ax, _), (bx, by), (cx, cy), (_, dy) = (map(float, one.split(",")) for one in first)
    assert (ax, by) == pytest.approx((cx, dy), abs=1e-6)
    assert bx > cx
    assert cy > dy
    assert len({one.split(",")[0] for one in second}) == 2, "an upright one has two verticals"
    assert wrong == []


def test_through_the_server_decisions_lie_beside_the_page(browser, served):
    port, review = served
    first = browser.new_page()
    first.goto(f"http://127.0.0.1:{port}/")
    first.get_by_text(str(review)).click()
    first.get_by_text("Expected IoU").wait_for(state="visible")
    first.close()
    page, wrong = opened(browser, reviews.review_url(port, review))
    page.keyboard.press("r")
    page.get_by_text("saved in decisions.json").wait_for(state="visible")
    saved = json.loads((review / "decisions.json").read_text())
    assert [one["decision"] for one in saved["decisions"]] == ["reject"]
    page.close()
    # Another browser knows nothing of the first one's memory.
    other = browser.new_context()
    page = other.new_page()
    page.goto(reviews.review_url(port, review))
    page.get_by_text("1 earlier decisions are here again").wait_for(state="visible")
    assert page.locator("#progress").inner_text().startswith(f"1 of {MASKS} decided")
    other.close()
    assert wrong == []


def post(served: Served, body: bytes, **changes: str) -> int:
    port, review = served
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Origin": f"http://127.0.0.1:{port}",
        "Content-Type": "application/json",
    }
    path = changes.pop("path", f"{review}/decisions.json").replace(" ", "%20")
    for key, value in changes.items():
        headers[key.replace("_", "-")] = value.format(port=port)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, body=body, headers={k: v for k, v in headers.items() if v})
    status = connection.getresponse().status
    connection.close()
    return status


GOOD = json.dumps(
    {"review": 1, "changed": 5, "decisions": [{"annotation_id": 1000, "decision": "accept"}]}
).encode()


def test_sound_decisions_of_the_own_page_are_written(served):
    assert post(served, GOOD) == 200
    assert json.loads((served[1] / "decisions.json").read_text())["changed"] == 5
    named = {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}
    assert post(served, GOOD, **named) == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Content_Type": "text/plain"}, 403),
        ({"Content_Type": ""}, 403),
        ({"path": "/etc/decisions.json"}, 404),
        ({"path": "/"}, 404),
        ({"Content_Length": "0"}, 413),
        ({"Content_Length": str(MOST_BYTES + 1)}, 413),
    ],
)
def test_nobody_else_can_write(changes, status, served):
    assert post(served, GOOD, **changes) == status
    assert not (served[1] / "decisions.json").exists()


def test_only_decisions_can_be_written_and_only_where_the_page_is(served):
    _, review = served
    assert post(served, GOOD, path=f"{review}/review.html") == 404
    assert post(served, GOOD, path=f"{review}/../decisions.json") == 404
    for body in (b"{", b"[]", b'{"review": 1, "decisions": 3}', b"[" * 100_000):
        assert post(served, body) == 400
    (review / "secret").write_text("kept")
    (review / "decisions.json").symlink_to(review / "secret")
    assert post(served, GOOD) == 200  # in place of the link, not through it
    assert (review / "secret").read_text() == "kept"
    (review / "review.html").unlink()
    assert post(served, GOOD) == 404
