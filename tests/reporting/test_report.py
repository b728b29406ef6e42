"""What a report says of the demo projects, as people and programs read it."""

from __future__ import annotations

import gc
import io
import json
import os
import sqlite3
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from mlops import ProjectWorkspace, StatusReport, WorkspaceManager, WorkspaceNotFoundError
from mlops.reporting import codec
from mlops.reporting.facts import Gap, ProjectReport
from mlops.reporting.reading import days
from mlops.reporting.status import problems, render
from tests.reporting.demo import HOSTILE, PROJECTS
from tests.test_lazy_imports import HEAVY, imported_by


@pytest.fixture(scope="module")
def report(demo: Path) -> StatusReport:
    return StatusReport.collect(demo, cache=False)


def test_every_project_is_there_whatever_its_state(report: StatusReport) -> None:
    assert [each.project_name for each in report.projects] == list(PROJECTS)
    broken, torn = report.project("broken"), report.project("torn")
    assert (broken.state, broken.troubles[0].tool, broken.troubles[0].state) == ("corrupt", "", "corrupt")
    assert [(trouble.tool, trouble.state) for trouble in torn.troubles] == [("mlflow", "unavailable")]
    assert torn.data.versions == 1
    assert torn.tools == {
        "mlflow": "unavailable",
        "dvc": "ready",
        "bentoml": "not-created",
        "evidently": "not-created",
    }
    shown = problems(report.projects)
    assert len(shown) == 2
    assert "not valid YAML" in shown[0]
    assert "torn: mlflow is unavailable: the database" in shown[1]
    with pytest.raises(WorkspaceNotFoundError, match="no project 'other'"):
        report.project("other")


def test_the_table_has_a_row_for_each_and_no_number_that_is_not_known(report: StatusReport) -> None:
    lines = io.StringIO()
    Console(file=lines, width=200).print(render(report))
    rows = {
        line.split()[0]: " ".join(line.split()[1:]) for line in lines.getvalue().splitlines() if line.strip()
    }
    assert rows["churn"].startswith("7, 1 failed ")
    assert "2, 1 unpushed 2 1 2 of 4, DRIFT 1 " in rows["churn"]
    assert rows["torn"].startswith("? - 1, 1 unpushed ? 0 -")
    assert rows["quiet"].startswith("0 - 0 0 0 -")


def test_the_numbers_of_a_project(report: StatusReport) -> None:
    churn = report.project("churn")
    runs = churn.runs
    assert (runs.total, dict(runs.by_status)) == (7, {"FINISHED": 5, "FAILED": 1, "KILLED": 1})
    assert runs.last is not None
    assert runs.last.run_name == "retrain"
    assert runs.last_ended_by_pipeline["retrain"] == runs.last == runs.last_ended
    best = {each.metric: (each.mode, round(each.value, 9), each.run_name) for each in runs.best}
    assert best == {
        "accuracy": ("max", 0.85, "train 2"),
        "loss": ("min", 0.2, "train 2"),
        "epoch_loss": ("min", 0.2, "train 2"),
    }
    assert (churn.data.versions, churn.data.unpushed, churn.data.datasets) == (2, 1, 1)
    models = churn.models
    assert (models.models, models.versions, models.bento_models) == (1, 2, 1)
    assert models.production == {"classifier": "1"}
    (deployed,) = models.deployments
    assert (deployed.tag, deployed.production, deployed.urls) == ("churn.classifier:1", True, ())
    (check,) = churn.monitoring.last
    assert (churn.monitoring.checks, churn.monitoring.drifted) == (2, 1)
    assert (check.model, check.model_version, check.drift_detected) == ("classifier", "1", True)
    assert check.performance["accuracy"] > 0.9
    assert {alert.kind for alert in churn.monitoring.open_alerts} >= {"drift"}
    assert churn.pipelines == ("retrain",)
    assert churn.drifting
    assert not report.project("forecast").drifting


def test_schedules_say_what_comes_next_and_what_became_of_the_last(report: StatusReport) -> None:
    hourly, night = report.project("churn").schedules
    assert (hourly.name, hourly.paused, hourly.next_at, hourly.last_status) == ("hourly", True, None, None)
    assert (night.when, night.last_status) == ("30 2 * * * (UTC)", "FINISHED")
    assert night.next_at is not None
    assert report.generated_at < night.next_at <= report.generated_at + timedelta(days=1)


def test_gaps_name_what_has_no_known_origin(report: StatusReport) -> None:
    # The demo is made outside a git repository.
    assert report.project("forecast").gaps == (Gap("model:forecast.demand:1", "commit"),)
    (gap,) = report.project("hostile").gaps
    assert (gap.ref.partition(":")[0], gap.missing) == ("snapshot", "model")
    assert report.project("quiet").gaps == ()


def test_sums_trends_and_rankings_follow_from_the_projects(report: StatusReport) -> None:
    totals = report.totals
    assert (totals.projects, totals.corrupt, totals.troubled) == (6, 1, 2)
    assert totals.runs == sum(each.runs.total for each in report.projects) == 10
    assert totals.runs_by_status == {"FINISHED": 8, "FAILED": 1, "KILLED": 1}
    assert (totals.drifting, totals.unpushed, totals.in_production) == (2, 3, 1)
    week, month = report.trends.windows
    assert (week.days, week.now.runs, week.now.failed, week.before.runs) == (7, 7, 1, 1)
    assert (month.days, month.now.runs, month.before.runs) == (30, 9, 1)
    assert month.now.checks == 4
    assert len(report.trends.by_day) == 30
    assert sum(each.runs for each in report.trends.by_day.values()) == 9
    assert [place.project_name for place in report.rankings.active] == ["churn", "forecast", "hostile"]
    assert [place.project_name for place in report.rankings.metrics["accuracy"].places] == [
        "churn",
        "hostile",
    ]
    assert report.rankings.failing[0].project_name == "churn"


def test_storage_is_what_is_on_disk(demo: Path, report: StatusReport) -> None:
    usage = WorkspaceManager(demo).get_workspace_status("churn")
    storage = report.project("churn").storage
    assert storage.total_bytes == usage["total_bytes"]
    assert storage.by_directory == {
        name: usage["directory_stats"][f"{name}_bytes"] for name in storage.by_directory
    }
    # A Bento model shares its files with MLflow's artifacts.
    assert storage.total_bytes < sum(storage.by_directory.values()) + 10_000


def test_it_is_json_with_the_texts_as_they_are(report: StatusReport) -> None:
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["schema_version"] == 1
    by_name = {each["project_name"]: each for each in values["projects"]}
    assert by_name["hostile"]["description"] == HOSTILE
    assert by_name["hostile"]["tags"]["owner"] == HOSTILE
    assert by_name["hostile"]["runs"]["last"]["run_name"] == HOSTILE
    assert by_name["churn"]["models"]["deployments"][0]["tag"] == "churn.classifier:1"


def test_what_is_kept_comes_back_as_it_was(report: StatusReport) -> None:
    for project in report.projects:
        assert codec.loads(codec.dumps(project), ProjectReport) == project


def test_collecting_creates_and_changes_nothing(demo: Path) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        paths = [demo, *demo.rglob("*")]
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths}

    before = everything()
    StatusReport.collect(demo, cache=True)
    StatusReport.collect(demo, projects=["churn"])
    assert everything() == before
    missing = demo.parent / "nothing here"
    assert StatusReport.collect(missing).projects == ()
    assert not missing.exists()


def test_no_lock_is_waited_for(demo: Path) -> None:
    workspace = ProjectWorkspace.load_metadata(demo / "churn")
    database = sqlite3.connect(workspace.mlflow_path / "mlflow.db", isolation_level=None)
    with ExitStack() as held:
        held.callback(database.close)
        for name in ("workspace", "mlflow", "dvc", "bentoml", "evidently", "links", "schedules", "pipelines"):
            held.enter_context(workspace.lock(name))
        # What a run holds while it writes.
        database.execute("BEGIN IMMEDIATE")
        began = datetime.now(UTC)
        assert StatusReport.collect(demo, projects=["churn"], cache=False).totals.runs == 7
        assert datetime.now(UTC) - began < timedelta(seconds=15)
        database.execute("ROLLBACK")


def test_neither_a_tool_nor_a_data_library_is_imported(demo: Path) -> None:
    code = "import sys; from mlops import StatusReport; StatusReport.collect(sys.argv[1], cache=False)"
    # The next firing of a cron is APScheduler's to say.
    assert imported_by(code, str(demo)) & HEAVY == {"apscheduler"}


def test_only_some_projects(demo: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = StatusReport.collect(
        demo, projects=["quiet", "broken", "quiet"], progress=lambda done, total: seen.append((done, total))
    )
    assert [each.project_name for each in report.projects] == ["broken", "quiet"]
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(WorkspaceNotFoundError, match=r"'chrn'.*did you mean 'churn'"):
        StatusReport.collect(demo, projects=["chrn"])
    assert not (demo / "chrn").exists()


def test_days_are_those_of_the_moment(report: StatusReport) -> None:
    whole = ProjectReport(
        "a",
        runs=report.project("churn").runs.__class__(
            total=3,
            by_day={datetime(2026, 1, day, tzinfo=UTC).date(): {"FINISHED": day} for day in (1, 30, 31)},
        ),
    )
    at = datetime(2026, 1, 30, 23, 59, tzinfo=UTC)
    assert [day.day for day in days.as_of(whole, at).runs.by_day] == [1, 30]
    later = days.as_of(whole, at + timedelta(days=1)).runs
    assert ([day.day for day in later.by_day], later.earlier) == ([30, 31], {"FINISHED": 1})
    much_later = days.as_of(whole, at + timedelta(days=60)).runs
    assert (much_later.by_day, much_later.earlier) == ({}, {"FINISHED": 31})


# A helper that dies with its second project.
_DIES = """
import os, sys
sys.path[:] = {path!r}
from mlops.reporting import collecting, helpers
real, asked = collecting.Collection.examine, []
def examine(self, root):
    asked.append(root)
    return real(self, root) if len(asked) == 1 else os._exit(1)
collecting.Collection.examine = examine
helpers.main()
"""


def test_helpers_find_the_same(demo: Path, report: StatusReport, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlops.reporting import helpers

    monkeypatch.setattr(helpers, "WORTH_PROJECTS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    shared = StatusReport.collect(demo, cache=False)
    assert shared.projects == report.projects
    # What helpers that fail leave is read by this process: those that never begin, and those that die.
    monkeypatch.setattr(helpers, "_CODE", "raise SystemExit({path!r} and 1)")
    assert StatusReport.collect(demo, cache=False).projects == report.projects
    monkeypatch.setattr(helpers, "_BATCH", 1)
    monkeypatch.setattr(helpers, "_CODE", _DIES)
    assert StatusReport.collect(demo, cache=False).projects == report.projects
    # So is all of it where none can be started; and none is left, asked or not.
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(demo / "no-python"))
        assert StatusReport.collect(demo, cache=False).projects == report.projects
    before = {*psutil.Process().children()}
    with helpers.Helpers() as idle:
        idle.start()
        assert {*psutil.Process().children()} > before
    gc.collect()
    assert {*psutil.Process().children()} <= before
