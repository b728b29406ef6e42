"""Whole histories of metrics, pages of runs, and nested runs: the same from SQLite and from the API."""

from __future__ import annotations

import math

import pytest

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking, artifacts
from mlops.integrations.mlflow_tracking.run_query import RunQuery
from mlops.workspace.tools import ToolContext
from tests.integrations.test_mlflow_queries import comparable, readers


@pytest.fixture
def trained(context: ToolContext) -> tuple[MLflowTracking, dict[str, str]]:
    """Three runs, the first with curves and a nested run; and the ids of all by name."""
    tracking = MLflowTracking(context)
    ids = {}
    with tracking.start_run("one") as one:
        for step in (3, 1, 2):
            one.log_metric("loss", 1 / step, step=step)
        one.log_metrics({"odd": math.nan}, step=1)
        one.log_metrics({"odd": math.inf}, step=2)
        one.log_text("kept", "notes/a.txt")
        with tracking.start_run("nested", nested=True) as nested:
            nested.log_metric("loss", 7.0)
        ids |= {"one": one.run_id, "nested": nested.run_id}
    for name in ("two", "three"):
        with tracking.start_run(name) as run:
            run.log_text("other", "b.txt")
        ids[name] = run.run_id
    tracking.flush()
    return tracking, ids


def test_both_readers_give_every_value_in_order(trained: tuple[MLflowTracking, dict[str, str]]) -> None:
    tracking, ids = trained
    for reader in readers(tracking):
        points = list(reader.history(ids["one"], "loss"))
        assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
        assert all(point.timestamp > 1_600_000_000_000 for point in points)
        assert comparable([p.value for p in reader.history(ids["one"], "odd")]) == "[nan, inf]"
        assert list(reader.history(ids["one"], "no such metric")) == []
        assert list(reader.history("0" * 32, "loss")) == []
    assert len(list(tracking.metric_history(ids["nested"], "loss"))) == 1
    tracking.client().delete_run(ids["one"])
    for reader in readers(tracking):
        assert list(reader.history(ids["one"], "loss")) == []


def test_both_readers_give_pages_and_nested_runs(trained: tuple[MLflowTracking, dict[str, str]]) -> None:
    tracking, ids = trained
    everything = [run["run_id"] for run in tracking.list_runs()]
    for reader in readers(tracking):
        pages = [reader.runs(RunQuery(limit=2, offset=offset)) for offset in (0, 2, 4)]
        assert [run["run_id"] for page in pages for run in page] == everything
        by_name = reader.runs(RunQuery(field="run_name", descending=False, limit=2, offset=1))
        assert [run["run_name"] for run in by_name] == ["one", "three"]
        assert [run["run_id"] for run in reader.runs(RunQuery(parent=ids["one"]))] == [ids["nested"]]
        assert reader.runs(RunQuery(parent=ids["two"])) == []
    assert tracking.list_runs(parent=ids["one"])[0]["run_name"] == "nested"
    with pytest.raises(IntegrationError, match="offset must be a whole number"):
        tracking.list_runs(offset=-1)


def test_the_files_of_one_run_are_only_its_own(trained: tuple[MLflowTracking, dict[str, str]]) -> None:
    tracking, ids = trained
    assert [file["name"] for file in artifacts.files(tracking, run_id=ids["one"])] == ["notes/a.txt"]
    assert [file["name"] for file in artifacts.files(tracking, run_id=ids["two"])] == ["b.txt"]
    assert list(artifacts.files(tracking, run_id="*")) == []
