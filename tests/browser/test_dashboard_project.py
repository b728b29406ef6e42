"""What a person sees of one project, of a run, and of all projects together, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.reporting.dashboard.server import DashboardServer
from tests.browser.conftest import StrictPage
from tests.reporting.demo import HOSTILE, build_demo
from tests.ui.serving import quiet_environment

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
DRAW_ALL = "Promise.all([...document.querySelectorAll('[data-plot]')].map(each => window.mlops.show(each)))"
COLOURS = """[".box text:not(.kind)", ".box .kind"].map((each) => [each, ".box rect"].map(
  (part) => getComputedStyle(document.querySelector(part)).fill
))"""
# Relative luminance and contrast as WCAG 2 defines them.
CONTRAST = """([front, back]) => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


# What needs a name and has none, by what it says of itself.
NAMELESS = """[
  ...[...document.querySelectorAll("input:not([type=hidden]), select")]
    .filter((each) => !each.labels.length && !each.ariaLabel),
  ...[...document.querySelectorAll("[aria-labelledby]")]
    .filter((each) => !document.getElementById(each.getAttribute("aria-labelledby"))),
].map((each) => each.outerHTML)"""
TWICE = """(ids => ids.filter((id, at) => ids.indexOf(id) !== at))(
  [...document.querySelectorAll("[id]")].map((each) => each.id)
)"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[DashboardServer]:
    with quiet_environment(shared_cache):
        base = build_demo(tmp_path_factory.mktemp("dashboard") / "base", cache=shared_cache)
        with DashboardServer(WorkspaceManager(base)) as served:
            yield served


@pytest.fixture(scope="module")
def runs(server: DashboardServer) -> dict[str, dict[str, Any]]:
    """The runs of the project by name, as the library tells them."""
    with MLOpsClient("churn", workspace_manager=server._manager) as client:
        return {run["run_name"]: run for run in client.list_runs()}


@pytest.fixture(scope="module")
def paths(server: DashboardServer, runs: dict[str, dict[str, Any]]) -> list[str]:
    with MLOpsClient("hostile", workspace_manager=server._manager) as client:
        (hostile,) = client.list_runs()
    return [
        "/projects/churn",
        f"/projects/churn/runs/{runs['train 1']['run_id']}",
        "/projects/churn/lineage",
        "/projects/hostile",
        f"/projects/hostile/runs/{hostile['run_id']}",
        "/projects/quiet",
        "/projects/torn",
        "/projects/broken",
        "/analytics",
        "/analytics?by=column",
    ]


def told(page: Any) -> list[str]:
    """The names of the curves in the table beside the chart."""
    return page.eval_on_selector_all("#curves-table tbody th", "all => all.map(each => each.textContent)")


def test_curves_follow_what_is_chosen(
    strict_page: StrictPage, server: DashboardServer, runs: dict[str, dict[str, Any]]
) -> None:
    with strict_page(server.url) as page:
        page.goto(f"{server.url}/projects/churn")
        state = page.locator("form[data-curves] output")
        page.get_by_text("2 drawn.").wait_for()
        # The metric that has a curve comes first.
        assert page.get_by_label("Metric", exact=True).input_value() == "epoch_loss"
        assert told(page) == ["train 2", "train 1"]
        page.locator("#curves-area .scatterlayer .trace").nth(1).wait_for(state="attached")

        page.get_by_label("Draw the curve of train 2").uncheck()
        page.get_by_text("1 drawn.").wait_for()
        page.get_by_label("Draw the curve of wider").focus()
        page.keyboard.press("Space")
        page.get_by_text("1 drawn, 1 without this metric.").wait_for()
        page.get_by_label("Metric", exact=True).select_option("accuracy")
        page.get_by_text("2 drawn.").wait_for()
        assert told(page) == ["train 1", "wider"]
        page.reload()
        page.get_by_text("2 drawn.").wait_for()
        assert told(page) == ["train 1", "wider"]
        page.get_by_text("Metric over training: as a table").click()
        cells = page.locator("#curves-table tbody tr").first.locator("td").all_inner_texts()
        assert cells == ["1", "0", *[f"{runs['train 1']['metrics']['accuracy']:g}"] * 4]

        for name in ("train 1", "wider"):
            page.get_by_label(f"Draw the curve of {name}").uncheck()
        page.get_by_text("Choose runs in the table above.").wait_for()
        assert told(page) == []
        assert state.get_attribute("role") == "status"


def test_the_table_of_runs_has_their_numbers_and_leads_to_them(
    strict_page: StrictPage, server: DashboardServer, runs: dict[str, dict[str, Any]]
) -> None:
    with strict_page(server.url) as page:
        page.goto(f"{server.url}/projects/churn")
        heading = page.locator("#runs-table").get_by_role("columnheader", name="accuracy")
        column = heading.evaluate("each => each.cellIndex")
        values = page.eval_on_selector_all(
            "#runs-table tbody tr",
            f"rows => rows.map(row => [row.cells[0].textContent, row.cells[{column}].dataset.sort])",
        )
        assert dict(values) == {
            name: str(run["metrics"]["accuracy"]) if "accuracy" in run["metrics"] else ""
            for name, run in runs.items()
        }
        heading.get_by_role("button").click()
        best = page.locator("#runs-table tbody th").first
        assert best.inner_text() == "unstable"

        page.get_by_label("Status").select_option("FAILED")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**status=FAILED**")
        page.get_by_role("link", name="unstable").click()
        page.wait_for_url(f"**/runs/{runs['unstable']['run_id']}")
        assert page.get_by_role("heading", level=1).inner_text().split() == ["unstable", "FAILED"]
        page.get_by_text("1 drawn.").wait_for()


def test_lineage_is_loaded_when_it_comes_into_view(
    strict_page: StrictPage, server: DashboardServer, runs: dict[str, dict[str, Any]]
) -> None:
    with strict_page(server.url, viewport={"width": 1200, "height": 500}) as page:
        page.goto(f"{server.url}/projects/churn")
        assert page.locator(".drawing").count() == 0
        page.locator("#lineage").scroll_into_view_if_needed()
        page.locator(".drawing svg .box").first.wait_for()
        texts = page.locator(".drawing .box text:not(.kind)").all_text_contents()
        assert {"churn.classifier:1", "train 1", "retrain@v1.0.0"} <= set(texts)
        # No name reaches out of its box.
        assert (
            page.eval_on_selector_all(
                ".drawing .box",
                "all => all.filter(box => [...box.querySelectorAll('text')].some(text =>"
                " text.getBBox().x + text.getBBox().width > box.querySelector('rect').getBBox().x + 180))"
                ".map(box => box.textContent)",
            )
            == []
        )
        page.get_by_text("Lineage of churn: as a list").click()
        assert page.locator(".tree").get_by_role("link", name="train 1").count() >= 1
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            for pair in page.evaluate(COLOURS):
                assert page.evaluate(CONTRAST, pair) >= 4.5
        page.locator(".drawing a", has_text="train 1").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/runs/{runs['train 1']['run_id']}")


def test_every_page_works_on_a_phone_in_the_dark_for_eyes_and_for_screen_readers(
    strict_page: StrictPage, server: DashboardServer, paths: list[str]
) -> None:
    drawn = 0
    asked: list[str] = []
    with strict_page(server.url, color_scheme="dark", **PHONE) as page:
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        for path in paths:
            page.goto(server.url + path)
            page.evaluate(DRAW_ALL)
            assert page.locator("[data-plot]", has_text="cannot be drawn").count() == 0, path
            drawn += page.locator("[data-plot][data-drawn]").count()
            assert page.evaluate("document.documentElement.scrollWidth") == 390, path
            # Texts of others stay texts.
            assert page.locator("main script:not([type='application/json']), main img").count() == 0
            assert page.get_by_role("heading", level=1).count() == 1
            levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(each => +each.tagName[1])")
            assert all(after - before <= 1 for before, after in pairwise(levels)), path
            assert page.evaluate(NAMELESS) == [], path
            assert page.evaluate(TWICE) == [], f"an id names one element of {path}"
            assert page.locator("table:not(:has(caption)), section:not([aria-labelledby])").count() == 0
        label = page.locator("#drift-plot .xtick text", has_text="</script>")
        assert label.count() == 1
    assert asked == []
    # Drift of two projects and performance of one; five charts of analytics, by day and by column.
    assert drawn == 3 + 2 * 5


def test_curves_of_hostile_runs_are_named_as_they_are(
    strict_page: StrictPage, server: DashboardServer, paths: list[str]
) -> None:
    with strict_page(server.url) as page:
        page.goto(server.url + next(path for path in paths if "hostile/runs" in path))
        page.get_by_text("1 drawn.").wait_for()
        assert "".join(told(page)) == HOSTILE
        assert page.locator(".drawing text", has_text="</script").count() == 1
