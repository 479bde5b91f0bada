"""A real browser, headless, for tests of pages that people look at."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1400, 1000
PATIENCE_MS = 90_000
FOLDER = "MAL_SCREENSHOTS"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that this machine has; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs a browser: Debian's package chromium")
    with sync_playwright() as playwright:
        # Containers lack what the sandbox is made of; only our own pages are opened.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def look_at(
    browser: Browser,
    url: str,
    name: str,
    words: list[str],
    *,
    folder: Path,
    at_the_end: bool = False,
) -> str:
    """Open a page, wait until it shows some words, and keep a picture of it.

    Args:
        browser: An open browser.
        url: Of the page.
        name: Of the picture.
        words: Texts that must be visible.
        folder: For pictures; the variable MAL_SCREENSHOTS names another.
        at_the_end: Scroll down before the picture is taken.

    Returns:
        All text of the page.
    """
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    try:
        page.goto(url, timeout=PATIENCE_MS)
        for text in words:
            page.get_by_text(text).first.wait_for(state="visible", timeout=PATIENCE_MS)
        page.wait_for_load_state("networkidle", timeout=PATIENCE_MS)
        if at_the_end:
            page.mouse.move(WIDTH / 2, HEIGHT / 2)
            page.mouse.wheel(0, 100_000)
            page.wait_for_timeout(1000)
        target = Path(os.environ.get(FOLDER, folder)) / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target, full_page=True)
        _expect_drawn_images(page)
        return page.inner_text("body")
    finally:
        page.close()


def _expect_drawn_images(page: Page) -> None:
    """Fail when an image of the page is broken."""
    broken = page.evaluate(
        "[...document.images].filter(one => one.complete && one.naturalWidth === 0).length"
    )
    assert broken == 0, f"{broken} images of {page.url} are broken"
