"""What a person sees: two projects in one MLflow UI, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops import WorkspaceManager
from mlops.ui import MLflowUI
from tests.browser.conftest import MILLISECONDS
from tests.ui.serving import populate, quiet_environment

PROJECTS = {"churn_model": 0.5, "fraud": 3.0}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[dict[str, Any]]:
    manager = WorkspaceManager(tmp_path_factory.mktemp("browser") / "base")
    with quiet_environment(shared_cache):
        ids = {name: populate(manager, name, best=best) for name, best in PROJECTS.items()}
        ui = MLflowUI(manager).start()
    try:
        yield {"url": ui.url, "ids": ids, "manager": manager}
    finally:
        ui.stop()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        context.set_default_timeout(MILLISECONDS)
        failures: list[tuple[int, str]] = []

        def note(answer: Any) -> None:
            if answer.status >= 500:
                failures.append((answer.status, answer.url))

        opened = context.new_page()
        opened.on("response", note)
        yield opened
        assert failures == [], "the server failed on a request of its own page"


def test_projects_are_picked_and_stay_apart(page: Any, pages: dict[str, Any]) -> None:
    page.goto(pages["url"])
    page.get_by_text("All about churn_model").wait_for()
    page.get_by_text("All about fraud").wait_for()
    page.get_by_role("link", name="churn-model").first.click()
    page.wait_for_url("**workspace=churn-model**")

    for slug, own, other in (("churn-model", "churn_model", "fraud"), ("fraud", "fraud", "churn_model")):
        # A page of its own each time, so that nothing is left over from the other project's.
        page.goto("about:blank")
        page.goto(f"{pages['url']}/#/experiments/0/runs?workspace={slug}")
        page.get_by_text(f"training-{own}").first.wait_for()
        assert page.get_by_text(f"training-{other}").count() == 0
        page.goto(f"{pages['url']}/#/models?workspace={slug}")
        page.get_by_text(f"{own}.clf").first.wait_for()
        assert page.get_by_text(f"{other}.clf").count() == 0


def test_a_run_shows_its_metric_chart_and_artifacts(page: Any, pages: dict[str, Any]) -> None:
    run, _ = pages["ids"]["fraud"]
    address = f"{pages['url']}/#/experiments/0/runs/{run}"
    page.goto(f"{address}?workspace=fraud")
    page.get_by_text("training-fraud").first.wait_for()
    page.get_by_text("owner").first.wait_for()

    page.goto(f"{address}/model-metrics?workspace=fraud")
    page.locator(".js-plotly-plot .scatterlayer path.js-line").first.wait_for(state="attached")

    page.goto(f"{address}/artifacts?workspace=fraud")
    page.get_by_text("notes.txt").first.click()
    page.get_by_text("notes of fraud").first.wait_for()

    page.goto("about:blank")
    page.goto(f"{address}?workspace=churn-model")
    page.get_by_text("not found").first.wait_for()
    assert page.get_by_text("training-fraud").count() == 0


def test_a_model_version_shows_its_files(page: Any, pages: dict[str, Any]) -> None:
    _, model = pages["ids"]["churn_model"]
    page.goto(f"{pages['url']}/#/experiments/0/models/{model}/artifacts?workspace=churn-model")
    page.get_by_text("MLmodel").first.click()
    page.get_by_text("sklearn").first.wait_for()
    page.goto(f"{pages['url']}/#/models/churn_model.clf/versions/1?workspace=churn-model")
    page.get_by_text("churn_model.clf").first.wait_for()


def test_a_project_is_created_on_the_page(page: Any, pages: dict[str, Any]) -> None:
    page.goto(pages["url"])
    page.get_by_role("button", name="Create new workspace").click()
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_placeholder("Enter workspace name")
    name.fill("churn-model")
    dialog.get_by_role("button", name="Create").click()
    dialog.get_by_text("collides with the existing project").wait_for()
    name.fill("made-here")
    dialog.get_by_placeholder("Enter workspace description").fill("From the browser")
    dialog.get_by_role("button", name="Create").click()
    page.wait_for_url("**workspace=made-here**")
    assert pages["manager"].get_workspace("made-here").description == "From the browser"
