"""A browser, where there is one; its tests are skipped loudly where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.web.site import Site, site

CHROMIUM = os.environ.get("PALATE_CHROMIUM") or shutil.which("chromium") or ""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    if not Path(CHROMIUM).is_file():
        pytest.skip("CHROMIUM ABSENT: install it (apt-get install chromium) or set PALATE_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser with a clean profile, in which waiting longer than 30 s is an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def cafe(tmp_path: Path) -> Iterator[Site]:
    """An app with thirty pairs."""
    from tests.web.site import group

    with site(tmp_path, [group(i) for i in range(30)]) as made:
        yield made
