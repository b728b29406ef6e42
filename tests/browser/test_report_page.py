"""What a person sees of a report's page, opened as a file in a browser that may not load anything else."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.reporting.rendering import write
from tests.browser.conftest import StrictPage
from tests.reporting.synthetic import fleet, hostile, report

PHONE = {"width": 390, "height": 844}
# Of the page's ground and text, and of a text in a chart.
COLOURS = (
    "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
    " getComputedStyle(document.querySelector('#drift .ytick text')).fill]"
)
CHARTS = ("runs-per-day", "drift", "storage-by-tool", "ranking")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    return write(report(*fleet(40), hostile()), file).as_uri()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    return write(report(*fleet(1000)), file).as_uri()


def draw(page: Any, *charts: str) -> None:
    for chart in charts:
        page.locator(f"#{chart}").scroll_into_view_if_needed()
        page.locator(f"#{chart}[data-drawn] .main-svg").first.wait_for()


def first_cells(page: Any, table: str, column: int) -> list[str]:
    return page.locator(f"#{table} tbody tr > :nth-child({column})").all_text_contents()


def test_the_charts_are_drawn_and_a_metric_can_be_chosen(strict_page: StrictPage, address: str) -> None:
    with strict_page(address) as page:
        page.goto(address)
        page.get_by_role("heading", name="Status report").wait_for()
        draw(page, *CHARTS)
        assert page.locator("#runs-per-day .bars .point").count() >= 15
        assert page.locator("#storage-by-tool .trace.bars").count() == 5
        ranking = page.locator("#ranking")
        assert ranking.locator(".ytick").last.text_content() == "project-0039"
        page.get_by_label("Metric", exact=True).select_option(index=1)
        ranking.get_by_text("loss").first.wait_for()
        # What others wrote is drawn as it is, and is no element.
        page.locator("#drift").get_by_text("</script>").first.wait_for()
        assert page.evaluate("document.querySelectorAll('#drift a, #drift img').length") == 0


def test_tables_are_sorted_and_searched(strict_page: StrictPage, address: str) -> None:
    with strict_page(address) as page:
        page.goto(address)
        storage = page.locator("#projects thead").get_by_role("button", name="storage")
        storage.click()
        assert first_cells(page, "projects", 1)[:2] == ["project-0039", "project-0038"]
        storage.click()
        assert first_cells(page, "projects", 1)[:2] == ["hostile", "project-0000"]
        page.locator("#projects thead").get_by_role("button", name="last run (UTC)").click()
        moments = [each.split()[0] for each in first_cells(page, "projects", 5)]
        assert moments == sorted(moments, reverse=True)
        page.get_by_label("Find").fill("project 3 about hardly")
        page.get_by_text("0 of 41 shown").wait_for()
        page.get_by_label("Find").fill("project-003")
        page.get_by_text("10 of 41 shown").wait_for()


def test_a_phone_scrolls_down_only_and_colours_follow_the_system(
    strict_page: StrictPage, address: str
) -> None:
    with strict_page(address, viewport=PHONE, color_scheme="light") as page:
        page.goto(address)
        draw(page, "drift")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        light = page.evaluate(COLOURS)
        assert light[0] == "rgb(255, 255, 255)"
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"() => ({COLOURS})[2] !== '{light[2]}'")
        ground, text, drawn = page.evaluate(COLOURS)
        assert sum(map(int, ground.removeprefix("rgb(").rstrip(")").split(","))) < 100
        assert drawn == text != light[1]


def test_no_other_script_runs_and_nothing_is_loaded(browser: Any, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        requests: list[Any] = []
        page.on("request", lambda request: requests.append(request))
        page.goto(address)
        assert page.evaluate(
            """async () => {
                const script = document.createElement("script");
                script.textContent = "window.ran = true";
                document.body.append(script);
                const image = document.createElement("img");
                image.src = "http://127.0.0.1:9/x.png";
                document.body.append(image);
                const fetched = await fetch("http://127.0.0.1:9/").then(() => true, () => false);
                return [window.ran === true, fetched];
            }"""
        ) == [False, False]
        page.wait_for_timeout(200)
        assert requests[0].url == address
        assert {request.failure for request in requests[1:]} <= {"csp"}


def test_a_thousand_projects_open_and_are_found(strict_page: StrictPage, many: str) -> None:
    with strict_page(many) as page:
        page.goto(many)
        assert page.locator("#projects tbody tr").count() == 1000
        # By their ids: to look for words in so many cells takes the driver longer than the page.
        page.locator("#find").fill("project-0999")
        page.wait_for_function(
            "() => document.querySelector('form output').textContent === '1 of 1000 shown'"
        )
