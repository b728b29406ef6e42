"""What a person sees of all projects, with a mouse, a keyboard, a phone or a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlops import StatusReport, WorkspaceManager
from mlops.reporting.dashboard.remembered import Remembered
from mlops.reporting.dashboard.server import DashboardServer
from tests.browser.conftest import StrictPage
from tests.reporting import synthetic

ROWS = "#projects tbody tr"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
PATHS = ("/", "/registry", "/search?q=script", "/search", "/analytics")


@pytest.fixture(scope="module")
def report() -> StatusReport:
    """Sixty projects of all kinds, one of them hostile."""
    return synthetic.report(*synthetic.fleet(60), synthetic.hostile())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, report: StatusReport) -> Iterator[DashboardServer]:
    served = DashboardServer(WorkspaceManager(tmp_path_factory.mktemp("dashboard") / "base"))
    served._reports = Remembered(lambda: report, max_age=3600)
    with served:
        yield served


def names(page: Any) -> list[str]:
    """The projects that are shown, from the top."""
    return page.locator(f"{ROWS}:not([hidden]) th a").all_inner_texts()


def sorts(page: Any, column: int) -> list[str]:
    return page.eval_on_selector_all(ROWS, f"rows => rows.map(row => row.cells[{column}].dataset.sort)")


def test_the_rows_have_the_numbers_of_the_report(
    strict_page: StrictPage, server: DashboardServer, report: StatusReport
) -> None:
    with strict_page(server.url) as page:
        page.goto(server.url)
        assert names(page) == [each.project_name for each in report.projects]
        numbers = {
            2: [each.runs.total for each in report.projects],
            5: [each.data.versions for each in report.projects],
            6: [each.models.versions for each in report.projects],
            8: [len(each.monitoring.open_alerts) for each in report.projects],
            9: [each.storage.total_bytes for each in report.projects],
        }
        ready = [index for index, each in enumerate(report.projects) if each.state == "ready"]
        for column, expected in numbers.items():
            shown = sorts(page, column)
            assert [shown[index] for index in ready] == [str(expected[index]) for index in ready]
        cards = dict(
            zip(
                page.locator(".cards dt").all_inner_texts(),
                page.locator(".cards dd.main").all_inner_texts(),
                strict=True,
            )
        )
        assert cards["projects"] == str(report.totals.projects)
        assert cards["runs"] == f"{report.totals.runs:,}"
        assert cards["open alerts"] == str(report.totals.open_alerts)


def test_the_table_is_sorted_and_narrowed_by_keyboard(
    strict_page: StrictPage, server: DashboardServer, report: StatusReport
) -> None:
    with strict_page(server.url) as page:
        page.goto(server.url)
        heading = page.get_by_role("columnheader", name="storage")
        heading.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "descending"
        largest = sorted(report.projects, key=lambda each: -each.storage.total_bytes)
        assert names(page)[0] == largest[0].project_name
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        shown = [int(value) for value in sorts(page, 9)]
        assert shown == sorted(shown)

        page.get_by_label("Find", exact=True).focus()
        page.keyboard.type("PROJECT-000 team-3")
        assert names(page) == ["project-0003"]
        assert page.locator("form.controls output").inner_text() == f"1 of {len(report.projects)} shown"
        page.get_by_label("Find", exact=True).fill("")
        page.get_by_label("Which").select_option("drift")
        assert sorted(names(page)) == sorted(each.project_name for each in report.projects if each.drifting)


def test_the_page_is_walked_through_by_keyboard(strict_page: StrictPage, server: DashboardServer) -> None:
    with strict_page(server.url) as page:
        page.goto(server.url)
        page.keyboard.press("Tab")
        skip = page.locator(":focus")
        assert skip.inner_text() == "Skip to the content"
        assert skip.bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        for _ in range(4):
            page.keyboard.press("Tab")
            outline = page.evaluate(
                "(style => [style.outlineStyle, parseFloat(style.outlineWidth)])"
                "(getComputedStyle(document.activeElement))"
            )
            assert outline[0] != "none"
            assert outline[1] >= 2


def test_a_screen_reader_finds_its_way(strict_page: StrictPage, server: DashboardServer) -> None:
    with strict_page(server.url) as page:
        for path in PATHS:
            page.goto(server.url + path)
            assert page.title().endswith("mlops")
            assert page.locator("html").get_attribute("lang") == "en"
            for role in ("banner", "main", "contentinfo", "search"):
                assert page.get_by_role(role).count() == 1, role
            assert page.get_by_role("navigation", name="Pages").count() == 1
            assert page.get_by_role("heading", level=1).count() == 1
            levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(each => +each.tagName[1])")
            assert all(after - before <= 1 for before, after in pairwise(levels))
            nameless = page.eval_on_selector_all(
                "input, select",
                "all => all.filter(each => !each.labels.length && !each.ariaLabel).map(each => each.id)",
            )
            assert nameless == []
            assert page.locator("table:not(:has(caption))").count() == 0
            assert page.locator("[data-plot]:not([aria-labelledby][role=img])").count() == 0
            twice = page.evaluate(
                "(ids => ids.filter((id, at) => ids.indexOf(id) !== at))"
                "([...document.querySelectorAll('[id]')].map(each => each.id))"
            )
            assert twice == [], "an id names one element"


def test_a_phone_shows_every_page_without_scrolling_sideways(
    strict_page: StrictPage, server: DashboardServer
) -> None:
    with strict_page(server.url, **PHONE) as page:
        for path in PATHS:
            page.goto(server.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") == 390, path
        page.goto(server.url)
        # What does not fit is reached inside its frame, by finger or by keyboard.
        frame = page.locator(".frame", has=page.locator("#projects"))
        assert frame.evaluate("each => each.scrollWidth > each.clientWidth && each.tabIndex === 0")


def test_charts_are_drawn_in_the_colours_of_the_page(
    strict_page: StrictPage, server: DashboardServer
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    text = "getComputedStyle(document.querySelector('#runs-per-day .ytick text')).fill"
    bars = "#runs-per-day .bars .point"
    with strict_page(server.url, color_scheme="dark") as page:
        page.goto(server.url)
        page.locator("#runs-per-day").scroll_into_view_if_needed()
        page.locator(bars).first.wait_for(state="attached")
        dark = page.evaluate(ground), page.evaluate(text)
        page.emulate_media(color_scheme="light")
        page.locator("#runs-per-day .ytick text[style*='rgb(27, 31, 36)']").first.wait_for(state="attached")
        assert dark == ("rgb(16, 20, 25)", "rgb(229, 233, 238)")
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
        # The same numbers in words.
        page.get_by_text("Runs per day: as a table").click()
        assert page.locator("#runs-per-day-table tbody tr").count() > 0


def test_texts_of_others_are_shown_as_they_are(strict_page: StrictPage, server: DashboardServer) -> None:
    with strict_page(server.url) as page:
        asked: list[str] = []
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        page.goto(server.url)
        row = page.locator(ROWS, has=page.get_by_role("link", name="hostile", exact=True))
        assert "<script>alert('x')</script>" in row.inner_text()
        assert row.locator("script, b, img, a[href^='javascript']").count() == 0
        page.goto(f"{server.url}/search?q={'alert'}")
        assert page.locator("main script").count() == 0
        assert asked == []


def test_search_leads_to_a_page(strict_page: StrictPage, server: DashboardServer) -> None:
    with strict_page(server.url) as page:
        page.goto(server.url)
        page.get_by_role("searchbox", name="Search projects").fill("project-0007")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Projects").wait_for()
        link = page.locator("main").get_by_role("link", name="project-0007").first
        assert urlsplit(link.get_attribute("href")).path == "/projects/project-0007"


def test_a_browser_signs_in_with_the_printed_address(browser: Any, tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path / "base")
    with (
        DashboardServer(manager, token="a-token-of-24-characters") as served,
        browser.new_context() as context,
    ):
        page = context.new_page()
        assert page.goto(served.url).status == 401
        page.goto(served.page)
        page.get_by_role("heading", name="Projects").wait_for()
        assert "token" not in page.url
        assert page.goto(f"{served.url}/registry").status == 200
        assert page.evaluate("document.cookie") == ""
        with browser.new_context() as other:
            assert other.new_page().goto(served.page).status == 401


def test_what_was_chosen_outlasts_looking_again(strict_page: StrictPage, server: DashboardServer) -> None:
    with strict_page(server.url) as page:
        page.clock.install()
        page.goto(server.url)
        page.get_by_role("columnheader", name="runs", exact=True).get_by_role("button").click()
        page.get_by_label("Find", exact=True).fill("project-001")
        page.get_by_label("Which").select_option("drift")
        chosen = names(page)
        assert 0 < len(chosen) < 10
        again = page.get_by_role("button", name="Look again every 30 seconds")
        again.click()
        assert again.get_attribute("aria-pressed") == "true"
        page.evaluate("window.before = true")
        with page.expect_navigation():
            page.clock.run_for(31_000)
        assert page.evaluate("window.before") is None
        assert again.get_attribute("aria-pressed") == "true"
        assert names(page) == chosen
        heading = page.get_by_role("columnheader", name="runs", exact=True)
        assert heading.get_attribute("aria-sort") == "descending"
