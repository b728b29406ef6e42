"""One Chromium of the system, driven by Playwright; without either the page tests are skipped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

BINARY = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MILLISECONDS = 60_000

StrictPage = Callable[..., AbstractContextManager[Any]]


# Not for the whole session: while Playwright drives, its thread has a running event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if BINARY is None:
        pytest.skip("needs a Chromium browser on the PATH")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=BINARY, args=FLAGS)
        try:
            yield launched
        finally:
            launched.close()


@pytest.fixture(scope="module")
def strict_page(browser: Any) -> StrictPage:
    """Open pages that fail on a request elsewhere or refused, and on an error or a warning in them."""

    @contextmanager
    def opened(url: str, **options: Any) -> Iterator[Any]:
        with browser.new_context(**{"viewport": {"width": 1400, "height": 2400}, **options}) as context:
            context.set_default_timeout(MILLISECONDS)
            troubles: list[str] = []

            def route(route: Any) -> None:
                if route.request.url.startswith((url, "data:", "blob:")):
                    route.continue_()
                else:
                    troubles.append(f"a request to {route.request.url}")
                    route.abort()

            def answered(answer: Any) -> None:
                if answer.status >= 400:
                    troubles.append(f"{answer.status}: {answer.url}")

            def heard(message: Any) -> None:
                if message.type in ("error", "warning"):
                    troubles.append(f"{message.type}: {message.text}")

            context.route(re.compile(".*"), route)
            page = context.new_page()
            page.on("pageerror", lambda error: troubles.append(f"an error: {error}"))
            page.on("console", heard)
            page.on("response", answered)
            yield page
            assert troubles == [], "the pages work without a network and without errors"

    return opened
