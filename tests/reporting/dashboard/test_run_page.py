"""The pages of runs and the curves of their metrics, over real connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.reporting.dashboard.server import DashboardServer
from tests.reporting.dashboard.serving import ask
from tests.reporting.dashboard.tables import rows


@pytest.fixture(scope="module")
def client(demo: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient.from_project("churn", base_path=demo) as opened:
        yield opened


@pytest.fixture
def long(base: Path) -> Iterator[tuple[DashboardServer, str]]:
    """A project with quotas and a run with a long curve, served; and that run."""
    manager = WorkspaceManager(base)
    quota = {"soft": "10kB", "hard": "1GB", "tools": {"dvc": {"hard": "2GB"}}}
    with MLOpsClient("long", workspace_manager=manager) as client:
        manager.update_workspace_metadata("long", quota=quota)
        with client.start_run("curve") as run:
            for step in range(20_000):
                run.log_metric("loss", 100.0 if step == 12_345 else 1 / (step + 1), step=step)
    with DashboardServer(manager) as server:
        yield server, run.run_id


def test_the_page_of_a_run_has_all_of_it(dashboard: DashboardServer, client: MLOpsClient) -> None:
    run = next(run for run in client.list_runs() if run["run_name"] == "train 1")
    page = ask(dashboard, f"/projects/churn/runs/{run['run_id']}").text
    assert {row[0]: row[1] for row in rows(page, "params-table")} == run["params"]
    assert {row[0] for row in rows(page, "metrics-table")} == set(run["metrics"])
    assert {row[0]: row[1] for row in rows(page, "tags-table")}.items() >= {"mlops.project": "churn"}.items()
    (dataset,) = client.tracking.datasets(run["run_id"])
    assert rows(page, "datasets-table") == [[dataset["name"], dataset["digest"], "dvc", "training"]]
    assert rows(page, "artifacts-table")[0][:2] == ["notes/summary.txt", "8 B"]
    assert rows(page, "models-table")[0][:3] == ["classifier", "1", "production"]
    # The metric with a curve is drawn first.
    assert re.findall(r'<option value="(\w+)">', page)[0] == "epoch_loss"
    assert "churn.classifier:1" in page[page.index("<svg") :]


def test_a_pipelines_run_leads_to_its_steps_and_back(dashboard: DashboardServer, client: MLOpsClient) -> None:
    (run,) = client.list_runs("retrain")
    page = ask(dashboard, f"/projects/churn/runs/{run['run_id']}").text
    assert [row[0] for row in rows(page, "steps-table")] == ["load", "count"]
    step = re.search(r'<table id="steps-table".*?href="([^"]+)"', page, re.DOTALL)
    assert step
    assert re.search(
        rf'Part of</dt><dd><a href="/projects/churn/runs/{run["run_id"]}">.*retrain',
        ask(dashboard, step[1]).text,
    )


def test_curves_have_every_value_of_the_metric(dashboard: DashboardServer, client: MLOpsClient) -> None:
    runs = {run["run_name"]: run["run_id"] for run in client.list_runs()}
    query = urlencode([("metric", "epoch_loss"), *(("run", runs[f"train {n}"]) for n in "12")])
    answer = ask(dashboard, f"/projects/churn/curves.json?{query}&run={runs['stopped']}").json
    assert [curve["run_name"] for curve in answer["curves"]] == ["train 1", "train 2"]
    (first, _) = answer["figure"]["data"]
    assert first["x"] == [0, 1, 2, 3, 4]
    assert first["y"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert answer["curves"][0] | {"run_id": ""} == {
        "label": "train 1",
        "run_id": "",
        "run_name": "train 1",
        "points": 5,
        "undefined": 0,
        "first": 1.0,
        "last": 0.2,
        "minimum": 0.2,
        "maximum": 1.0,
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("metric=loss", 400),
        ("run=" + "0" * 32, 400),
        ("metric=loss&axis=depth&run=" + "0" * 32, 400),
        ("metric=loss" + "&run=1" * 13, 400),
        ("metric=loss&run=" + "0" * 32, 404),
    ],
)
def test_curves_that_make_no_sense_are_refused(dashboard: DashboardServer, query: str, status: int) -> None:
    answer = ask(dashboard, f"/projects/churn/curves.json?{query}")
    assert answer.status == status
    assert "Traceback" not in answer.text


def test_a_long_curve_is_thinned_and_keeps_its_peak(long: tuple[DashboardServer, str]) -> None:
    server, run_id = long
    answer = ask(server, f"/projects/long/curves.json?metric=loss&run={run_id}").json
    (trace,) = answer["figure"]["data"]
    assert len(trace["x"]) <= 1000
    assert (trace["x"][0], trace["x"][-1]) == (0, 19_999)
    assert trace["y"][trace["x"].index(12_345)] == 100.0
    assert answer["curves"][0]["points"] == 20_000
    assert answer["curves"][0]["maximum"] == 100.0
    over_time = ask(server, f"/projects/long/curves.json?metric=loss&axis=time&run={run_id}").json
    assert over_time["figure"]["data"][0]["x"][0] == 0


def test_quotas_are_shown_with_what_is_used(long: tuple[DashboardServer, str]) -> None:
    whole, dvc = rows(ask(long[0], "/projects/long").text, "quota-table")
    assert (whole[0], *whole[2:4], whole[5]) == ("total", "10.0 kB", "1.0 GB", "soft")
    assert (dvc[0], *dvc[3:]) == ("dvc", "2.0 GB", "", "ok")
