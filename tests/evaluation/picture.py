"""The top of a report as a picture: `docs/demo.png` is that of the demo.

python -m tests.evaluation.picture runs/cafe/13-report/report.html docs/demo.png
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.web.conftest import CHROMIUM


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1500}, color_scheme="light")
        page.goto(given.report.resolve().as_uri())
        page.screenshot(path=given.picture)
        browser.close()


if __name__ == "__main__":
    main()
