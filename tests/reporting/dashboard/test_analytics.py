"""The page over all projects: the numbers behind its charts, and that they are what the projects hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from mlops.reporting import registry
from mlops.reporting.dashboard import analytics, heat_map
from mlops.reporting.dashboard.heat_map import DriftCheck, DriftChecks
from mlops.reporting.dashboard.server import DashboardServer
from mlops.reporting.facts import BestMetric, CheckFacts, ProjectReport, RunsFacts, StorageFacts
from mlops.reporting.registry import Registry, RegistryEntry
from mlops.reporting.report import StatusReport
from tests.reporting.dashboard.serving import ask
from tests.reporting.dashboard.tables import rows


def entry(model: str, **facts: object) -> RegistryEntry:
    made = RegistryEntry("churn", model, "1", "registered", bento=f"churn.{model}:1")
    return replace(made, **facts)  # type: ignore[arg-type]


def checked(**performance: float) -> CheckFacts:
    return CheckFacts("s", "m", "1", datetime.now(UTC), 10, False, 0.0, 0, 2, performance=performance)


def test_deployed_models_are_compared_by_the_metric_that_most_have() -> None:
    compared = analytics.compare(
        Registry(
            (
                entry("a", metrics={"loss": 0.1, "accuracy": 0.7}),
                entry("b", metrics={"accuracy": 0.8}, last_check=checked(accuracy=0.6)),
                entry("c", metrics={"accuracy": 0.99}, bento=None),
                entry("d", metrics={"accuracy": 0.5}, bento=None, aliases=("production",)),
                entry("e", metrics={"rmse": 3.0}, bento=None, serving=("http://127.0.0.1:1",)),
            )
        ),
        None,
        modes={},
    )
    assert compared.metric == "accuracy"
    assert compared.metrics == ("accuracy", "loss", "rmse")
    # What was measured last counts; c is not deployed, and e has no accuracy.
    assert [each.label for each in compared.models] == ["churn.a:1", "churn.b:1", "churn.d:1"]
    assert compared.deployed == 4
    trained, latest = compared.figure["data"]
    assert trained["y"] == ["churn.d:1", "churn.b:1", "churn.a:1"]
    assert (trained["x"], latest["x"]) == ([0.5, 0.8, 0.7], [None, 0.6, None])


def test_a_metric_that_nobody_has_falls_back_and_nan_comes_last() -> None:
    found = Registry((entry("a", metrics={"r": float("nan")}), entry("b", metrics={"r": -5.0})))
    compared = analytics.compare(found, "no such metric", modes={})
    assert [each.entry.model for each in compared.models] == ["b", "a"]
    json.dumps(compared.figure, allow_nan=False)
    nothing = analytics.compare(Registry((entry("a"),)), None, modes={})
    assert (nothing.metric, nothing.models, nothing.deployed) == (None, (), 1)


def test_the_best_is_on_top_whichever_way_is_better() -> None:
    found = Registry(
        (
            entry("a", metrics={"rmse": 3.0, "gain": 1.0}),
            entry("b", metrics={"rmse": 2.0, "gain": 2.0}, last_check=checked(rmse=4.0)),
            entry("c", metrics={"rmse": float("nan"), "gain": 0.0}),
            entry("d", metrics={"rmse": 1.0, "gain": 3.0}),
        )
    )

    def order(metric: str, modes: dict[str, str]) -> tuple[str, str]:
        compared = analytics.compare(found, metric, modes=modes)
        drawn = "".join(label[len("churn.")] for label in reversed(compared.figure["data"][0]["y"]))
        assert drawn == "".join(each.entry.model for each in compared.models)
        return drawn, compared.figure["layout"]["xaxis"]["title"]["text"]

    assert order("rmse", {}) == ("dabc", "rmse (lower is better)")
    assert order("gain", {}) == ("dbac", "gain (higher is better)")
    # What projects say of their metrics goes before names, unless they contradict each other.
    assert order("gain", said("min")) == ("cabd", "gain (lower is better)")
    assert order("gain", said("min", "max")) == ("dbac", "gain (higher is better)")


def said(*modes: str) -> dict[str, str]:
    projects = (
        ProjectReport(f"p{at}", runs=RunsFacts(best=(BestMetric("gain", mode, 1.0, "0" * 32, "run"),)))
        for at, mode in enumerate(modes)
    )
    return analytics.modes_of(projects)


def drift_check(label: str, day: str, share: float | None, **columns: bool) -> DriftCheck:
    return DriftCheck(label, label.partition(".")[0], day, share, columns)


CHECKS = DriftChecks(
    checks=(
        drift_check("churn.clf", "2026-01-02", 0.5, age=True, spend=False),
        drift_check("churn.clf", "2026-01-02", 0.25, age=True, spend=False),
        drift_check("fraud.m", "2026-01-01", 0.0, age=False),
        drift_check("empty", "2026-01-02", None),
    ),
    days=("2026-01-01", "2026-01-02"),
)


def test_days_show_the_worst_check_and_columns_how_often_they_drifted() -> None:
    by_day = heat_map.heat_map(CHECKS, "day")
    assert by_day.values == {("churn.clf", "2026-01-02"): 0.5, ("fraud.m", "2026-01-01"): 0.0}
    assert by_day.columns == CHECKS.days
    assert by_day.rows == (("churn.clf", "churn"), ("fraud.m", "fraud"))
    (trace,) = by_day.figure["data"]
    assert trace["y"] == ["fraud.m", "churn.clf"]
    assert trace["z"] == [[0.0, None], [None, 0.5]]
    by_column = heat_map.heat_map(CHECKS, "column")
    assert by_column.values["churn.clf", "age"] == 1.0
    assert by_column.values["churn.clf", "spend"] == 0.0
    assert by_column.columns == ("age", "spend")


def test_what_has_no_place_in_the_map_is_counted_and_drifts_less() -> None:
    many = tuple(drift_check(f"p{n:02}.m", "2026-01-01", n / 100, age=True) for n in range(50))
    shown = heat_map.heat_map(DriftChecks(many, ("2026-01-01",)), "day")
    assert len(shown.rows) == heat_map.MAX_ROWS
    assert shown.left_out == 50 - heat_map.MAX_ROWS
    assert shown.rows[0] == ("p49.m", "p49")
    assert min(shown.values[label, "2026-01-01"] for label, _ in shown.rows) == 0.2


def test_checks_are_those_of_the_last_days(demo: Path) -> None:
    manager = WorkspaceManager(demo)
    found = heat_map.collect(manager)
    assert Counter(check.label for check in found.checks) == {
        "churn.classifier": 2,
        "forecast.demand": 1,
        "hostile": 1,
    }
    assert {check.day for check in found.checks} <= set(found.days)
    assert len(found.days) == heat_map.DAYS
    assert "broken" in found.errors
    later = heat_map.collect(manager, now=datetime.now(UTC) + timedelta(days=heat_map.DAYS))
    assert later.checks == ()


def project(name: str, sizes: dict[str, int], by_day: dict[date, dict[str, int]]) -> ProjectReport:
    storage = StorageFacts(sum(sizes.values()), sizes)
    return ProjectReport(name, storage=storage, runs=RunsFacts(by_day=by_day))


def test_storage_and_runs_add_up_over_projects() -> None:
    monday, tuesday = date(2026, 1, 5), date(2026, 1, 6)
    projects = [
        project("small", {"mlflow": 1_000_000, "dvc": 0}, {tuesday: {"FINISHED": 1}}),
        project(
            "big", {"mlflow": 2_000_000, "dvc": 5_000_000}, {monday: {"FAILED": 2}, tuesday: {"FINISHED": 3}}
        ),
        ProjectReport("broken", state="corrupt"),
    ]
    mlflow, dvc = analytics.storage_bars(projects)["data"]
    assert (mlflow["y"], mlflow["x"], dvc["x"]) == (["small", "big"], [1.0, 2.0], [0.0, 5.0])
    (areas,) = analytics.storage_map(projects)["data"]
    sizes = dict(zip(areas["ids"], areas["values"], strict=True))
    assert sizes["all/big/dvc"] == 5_000_000
    assert "all/small/dvc" not in sizes
    assert sum(areas["values"]) == 8_000_000
    by_day = analytics.runs_by_day(projects)
    assert by_day == {monday: {"FAILED": 2}, tuesday: {"FINISHED": 4}}
    traces = {trace["name"]: trace["y"] for trace in analytics.runs_figure(by_day)["data"]}
    assert traces == {"FINISHED": [0, 4], "FAILED": [2, 0]}


def test_the_page_shows_what_the_projects_hold(dashboard: DashboardServer, demo: Path) -> None:
    manager = WorkspaceManager(demo)
    page = ask(dashboard, "/analytics").text
    (deployed,) = rows(page, "performance-table")
    known = next(e for e in registry.collect(manager, project="churn").entries if e.bento)
    assert known.last_check is not None
    assert deployed[:5] == [
        "churn",
        "classifier",
        "1",
        f"{known.last_check.performance['accuracy']:.4g}",
        f"{known.metrics['accuracy']:.4g}",
    ]
    report = StatusReport.collect(manager=manager)
    assert [row[0] for row in rows(page, "storage-table")] == [
        each.project_name for each in analytics.by_size(report.projects)
    ]
    assert rows(page, "drift-table")[0][0] == "hostile"
    assert rows(page, "drift-table")[0][-1] == "100 %"
    counted = {row[0]: int(row[1]) for row in rows(page, "runs-table")}
    assert sum(counted.values()) == sum(
        sum(counts.values()) for each in report.projects for counts in each.runs.by_day.values()
    )
    assert re.search(r"<strong>broken could not be read:</strong>", page)
    assert str(demo) not in page


@pytest.mark.parametrize(("metric", "better"), [("precision", "higher"), ("epoch_loss", "lower")])
def test_the_metric_can_be_chosen(dashboard: DashboardServer, metric: str, better: str) -> None:
    page = ask(dashboard, f"/analytics?metric={metric}&by=column").text
    assert f'<option value="{metric}" selected>' in page
    assert f'id="performance-plot-label">{metric} of deployed models ({better} is better)<' in page
    assert {row[0] for row in rows(page, "drift-table")} == {"churn.classifier", "forecast.demand", "hostile"}


def test_every_chart_has_a_table_beside_it(dashboard: DashboardServer) -> None:
    for path in ("/projects/churn", "/analytics"):
        page = ask(dashboard, path).text
        charts = re.findall(r'<figure class="plot">.*?</figure>', page, re.DOTALL)
        assert len(charts) >= 3
        without = [chart for chart in charts if "<details>" not in chart]
        assert [re.findall(r'<div id="([\w-]+)"', chart) for chart in without] in (
            [],
            [["performance-plot-1"]],
            [["storage-map"]],
        )
