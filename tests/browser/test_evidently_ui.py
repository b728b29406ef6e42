"""What a person sees of two projects' checks in one Evidently UI, in a real browser without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops import WorkspaceManager
from mlops.ui import EvidentlyUI
from tests.browser.conftest import StrictPage
from tests.ui.checked import check
from tests.ui.serving import quiet_environment


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[dict[str, Any]]:
    manager = WorkspaceManager(tmp_path_factory.mktemp("browser") / "base")
    with quiet_environment(shared_cache):
        made = {
            "churn_model": check(manager, "churn_model", shifts=(0.0, 0.5, 2.0)),
            "fraud": check(manager, "fraud", shifts=(0.0,)),
        }
        ui = EvidentlyUI(manager).start()
    try:
        own = manager.get_workspace("churn_model").evidently_project_id
        yield {"url": ui.url, "own": f"{ui.url}/projects/{own}", "made": made, "manager": manager}
    finally:
        ui.stop()


@pytest.fixture
def page(strict_page: StrictPage, pages: dict[str, Any]) -> Iterator[Any]:
    with strict_page(pages["url"]) as opened:
        yield opened


def test_a_projects_dashboard_is_drawn(page: Any, pages: dict[str, Any]) -> None:
    page.goto(pages["url"])
    page.get_by_text("All about fraud").wait_for()
    page.get_by_role("link", name="churn_model").click()
    for title in (
        "Drifted columns",
        "Drift score per column",
        "Performance",
        "Latency, ms",
        "Memory, MB",
    ):
        page.get_by_text(title, exact=True).first.wait_for()
    for legend in ("share", "age", "city", "accuracy", "f1", "mean", "95 %"):
        page.get_by_text(legend, exact=True).first.wait_for()
    # Lines are drawn: one for each of the five columns, four of performance, and the rest.
    page.locator("svg path[fill=none][stroke-width]").nth(12).wait_for(state="attached")


def test_reports_are_listed_and_shown(page: Any, pages: dict[str, Any]) -> None:
    page.goto(f"{pages['own']}/reports")
    for result in pages["made"]["churn_model"]:
        page.get_by_text(result.snapshot_id).first.wait_for()
    assert page.get_by_text(pages["made"]["fraud"][0].snapshot_id).count() == 0

    page.goto(f"{pages['own']}/reports/{pages['made']['churn_model'][-1].snapshot_id}")
    page.get_by_text("Columns, the largest drift score first").wait_for()
    page.get_by_text("Detected", exact=True).first.wait_for()
    page.get_by_text("Confusion Matrix").first.wait_for()
    assert page.get_by_text("Confusion Matrix").count() == 1
    page.get_by_text("Tests", exact=True).first.click()
    page.get_by_text("Value Drift for column age").first.wait_for()


def test_every_part_of_the_pages_opens(page: Any, pages: dict[str, Any]) -> None:
    for part in ("reports", "datasets", "traces", "prompts", ""):
        page.goto(f"{pages['own']}/{part}")
        page.get_by_text("project id:").first.wait_for()


def test_a_new_check_and_a_new_project_show_up(page: Any, pages: dict[str, Any]) -> None:
    page.goto(pages["url"])
    page.get_by_text("All about fraud").wait_for()
    (made,) = check(pages["manager"], "later", shifts=(1.0,))
    page.reload()
    page.get_by_role("link", name="later", exact=True).click()
    page.get_by_text("Drift score per column").wait_for()
    page.goto(f"{page.url.rstrip('/')}/reports")
    page.get_by_text(made.snapshot_id).first.wait_for()
    (again,) = check(pages["manager"], "later", shifts=(0.0,))
    page.get_by_text("refresh reports").click()
    page.get_by_text(again.snapshot_id).first.wait_for()
