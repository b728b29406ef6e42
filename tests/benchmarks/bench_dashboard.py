"""The first page of the dashboard in a browser; nothing is measured where there is none."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from mlops import WorkspaceManager
from mlops.reporting.dashboard.server import DashboardServer
from tests.benchmarks.measure import Ratio
from tests.browser.conftest import BINARY, FLAGS
from tests.reporting.fleet import build_fleet

PROJECTS = 200
REPEATS = 5
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
LOADED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def run(scratch: Path) -> list[Ratio]:
    if BINARY is None:
        return []
    from playwright.sync_api import sync_playwright

    scratch.mkdir(parents=True)
    base = build_fleet(scratch / "base", PROJECTS)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BINARY, args=FLAGS)
        with DashboardServer(WorkspaceManager(base)) as server:
            # At once: nothing has been read yet.
            first = _open(browser, server.url)
            later = [_open(browser, server.url) for _ in range(REPEATS)]
        browser.close()
    painted, loaded = (statistics.median(values) for values in zip(*later, strict=True))
    second = f"{PROJECTS} projects in a browser | a second"
    return [
        Ratio(f"first paint of {second}", 1.0, painted, 1.0),
        Ratio(f"first paint after the start of {second}", 1.0, first[0]),
        Ratio(f"table ready to sort and filter of {second}", 1.0, loaded),
    ]


def _open(browser: Any, url: str) -> tuple[float, float]:
    """Return the seconds until something is painted, and until the table can be used."""
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as context:
        page = context.new_page()
        page.goto(url, wait_until="load")
        if page.locator("#projects tbody tr").count() != PROJECTS:
            raise AssertionError("every project has a row")
        page.wait_for_timeout(200)
        return page.evaluate(PAINTED) / 1e3, page.evaluate(LOADED) / 1e3
