from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.errors import (
    DataIntegrityError,
    DataNotFoundError,
    InvalidModelNameError,
    ReferenceDataError,
)
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, Task, runtime
from mlops.workspace.tools import ToolAdapter, ToolContext, ToolState

MakeContext = Callable[..., ToolContext]


def binary(rows: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    score = np.clip(y * 0.4 + rng.random(rows) * 0.6, 0, 1)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows) + shift * 10,
            "income": rng.lognormal(size=rows),
            "city": rng.choice(["Bern", "Rome", "Oslo"], rows, p=[0.5, 0.3, 0.2]),
            "churned": y,
            "prediction": (score > 0.5).astype(int),
        }
    )


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    # Tests import parts of Evidently themselves; the library's own import is the quiet one.
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return EvidentlyMonitoring(context)


@pytest.fixture
def ready(monitoring: EvidentlyMonitoring) -> EvidentlyMonitoring:
    monitoring.set_reference_data(binary(1500), target_column="churned", prediction_column="prediction")
    return monitoring


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


def test_it_fulfils_the_protocol(monitoring: EvidentlyMonitoring) -> None:
    assert isinstance(monitoring, ToolAdapter)


def test_the_shifted_column_is_found_and_the_clean_ones_are_not(ready: EvidentlyMonitoring) -> None:
    clean = ready.monitor(binary(500, seed=1))
    assert [c.column for c in clean.columns.values() if c.drifted] == []
    assert not clean.drift_detected
    assert clean.drift_share == 0

    shifted = ready.monitor(binary(500, seed=2, shift=1.0), drift_share=0.2)
    assert [c.column for c in shifted.columns.values() if c.drifted] == ["age"]
    assert shifted.drift_share == pytest.approx(1 / 5)
    assert shifted.n_drifted == 1
    assert shifted.drift_detected
    assert [(a.kind, a.metric) for a in shifted.alerts] == [("drift", "drift.share")]
    assert shifted.columns["age"].score > shifted.columns["age"].threshold


@pytest.mark.parametrize("rows", [20, 60, 200])
def test_chance_alone_is_not_drift(ready: EvidentlyMonitoring, rows: int) -> None:
    for seed in range(3):
        result = ready.monitor(binary(rows, seed=100 + seed))
        assert result.n_drifted == 0, result.to_frame()
    assert (rows < 30) == any("small batch" in warning for warning in result.warnings)


def test_scores_are_evidentlys_own(ready: EvidentlyMonitoring) -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    reference, batch = binary(1500), binary(400, seed=3, shift=0.3)
    result = ready.monitor(batch)
    expected = wasserstein_distance(reference["age"], batch["age"]) / np.std(reference["age"])
    assert result.columns["age"].score == pytest.approx(expected)
    cities = ["Bern", "Rome", "Oslo"]
    shares = [frame["city"].value_counts(normalize=True)[cities] for frame in (reference, batch)]
    assert result.columns["city"].score == pytest.approx(jensenshannon(*shares))


def test_binary_performance_against_the_reference(ready: EvidentlyMonitoring) -> None:
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    reference, batch = binary(1500), binary(400, seed=4)
    batch["prediction"] = np.where(np.arange(400) % 4 == 0, 1 - batch["prediction"], batch["prediction"])
    result = ready.monitor(batch)
    for name, metric in {
        "accuracy": accuracy_score,
        "precision": precision_score,
        "recall": recall_score,
        "f1": f1_score,
    }.items():
        now = metric(batch["churned"], batch["prediction"])
        before = metric(reference["churned"], reference["prediction"])
        assert result.performance[name] == pytest.approx(now)
        assert result.reference_performance[name] == pytest.approx(before)
        assert result.performance_change[name] == pytest.approx(now - before)
    assert {a.metric for a in result.alerts if a.kind == "performance"} >= {"accuracy", "f1"}
    stored = ready.alerts()
    assert {a.snapshot_id for a in stored} == {result.snapshot_id}
    assert ready.summary()["open_alerts"] == len(result.alerts)
    ready.monitor(binary(400, seed=5))
    assert ready.summary()["open_alerts"] == 0
    assert ready.summary()["alerts"] == len(result.alerts)


def test_probabilities_do_not_replace_the_labels(monitoring: EvidentlyMonitoring) -> None:
    from sklearn.metrics import accuracy_score, roc_auc_score

    frame = binary(600).replace({"churned": {0: "no", 1: "yes"}, "prediction": {0: "no", 1: "yes"}})
    rng = np.random.default_rng(9)
    frame["score"] = np.where(frame["churned"] == "yes", 0.2, 0.0) + rng.random(len(frame)) * 0.2
    monitoring.set_reference_data(
        frame, target_column="churned", prediction_column="prediction", probability_columns=["score"]
    )
    result = monitoring.monitor(frame)
    assert monitoring.reference().positive_label == "yes"
    assert result.performance["accuracy"] == pytest.approx(
        accuracy_score(frame["churned"], frame["prediction"])
    )
    assert result.performance["roc_auc"] == pytest.approx(
        roc_auc_score(frame["churned"] == "yes", frame["score"])
    )


def test_a_prediction_that_is_a_probability(monitoring: EvidentlyMonitoring) -> None:
    frame = binary(600)
    frame["prediction"] = np.clip(frame["churned"] * 0.5 + np.random.default_rng(1).random(600) * 0.5, 0, 1)
    reference = monitoring.set_reference_data(frame, target_column="churned", prediction_column="prediction")
    assert reference.task is Task.BINARY
    result = monitoring.monitor(frame)
    assert result.performance["accuracy"] == pytest.approx(
        ((frame["prediction"] >= 0.5) == frame["churned"]).mean()
    )
    assert result.performance["roc_auc"] == pytest.approx(1.0)
    assert result.columns["prediction"].kind == "numerical"


def test_a_batch_without_positives_has_no_precision(ready: EvidentlyMonitoring) -> None:
    batch = binary(100, seed=6).assign(churned=0, prediction=0)
    result = ready.monitor(batch)
    assert result.performance == {"accuracy": 1.0, "precision": None, "recall": None, "f1": None}
    assert any("precision is undefined" in warning for warning in result.warnings)
    assert "performance.precision" not in result.metrics()

    never_predicted = ready.monitor(binary(100, seed=6).assign(prediction=0))
    assert never_predicted.performance["precision"] is None
    assert never_predicted.performance["recall"] == 0.0


def test_multiclass(monitoring: EvidentlyMonitoring) -> None:
    from sklearn.metrics import f1_score, precision_score, roc_auc_score

    rng = np.random.default_rng(0)

    def frame(rows: int) -> pd.DataFrame:
        kinds = rng.choice(["cat", "dog", "owl"], rows)
        scores = rng.random((rows, 3)) + (kinds[:, None] == np.array(["cat", "dog", "owl"]))
        scores = scores / scores.sum(axis=1, keepdims=True)
        guess = np.array(["cat", "dog", "owl"])[scores.argmax(axis=1)]
        guess = np.where(rng.random(rows) < 0.2, "cat", guess)
        table = pd.DataFrame(scores, columns=["p_cat", "p_dog", "p_owl"])
        return table.assign(x=rng.normal(size=rows), kind=kinds, guess=guess)

    monitoring.set_reference_data(
        frame(600),
        target_column="kind",
        prediction_column="guess",
        probability_columns=["p_cat", "p_dog", "p_owl"],
    )
    assert monitoring.reference().task is Task.MULTICLASS
    batch = frame(300)
    result = monitoring.monitor(batch)
    assert result.performance["f1"] == pytest.approx(f1_score(batch["kind"], batch["guess"], average="macro"))
    assert result.performance["precision"] == pytest.approx(
        precision_score(batch["kind"], batch["guess"], average="macro")
    )
    assert result.performance["roc_auc"] == pytest.approx(
        roc_auc_score(batch["kind"], batch[["p_cat", "p_dog", "p_owl"]], multi_class="ovr", average="macro")
    )

    two = batch[batch["kind"].isin(["cat", "dog"]) & batch["guess"].isin(["cat", "dog"])]
    partial = monitoring.monitor(two)
    assert partial.performance["f1"] == pytest.approx(f1_score(two["kind"], two["guess"], average="macro"))
    assert partial.performance["roc_auc"] is None
    assert any("no row of class owl" in warning for warning in partial.warnings)


def test_regression(monitoring: EvidentlyMonitoring) -> None:
    from sklearn.metrics import (
        mean_absolute_error,
        mean_absolute_percentage_error,
        r2_score,
        root_mean_squared_error,
    )

    rng = np.random.default_rng(0)

    def frame(rows: int, noise: float) -> pd.DataFrame:
        x = rng.normal(size=rows)
        price = 100 + 10 * x
        return pd.DataFrame({"x": x, "price": price, "estimate": price + rng.normal(size=rows) * noise})

    monitoring.set_reference_data(frame(800, 1.0), target_column="price", prediction_column="estimate")
    assert monitoring.reference().task is Task.REGRESSION
    batch = frame(300, 3.0)
    result = monitoring.monitor(batch)
    truth, guess = batch["price"], batch["estimate"]
    assert result.performance["mae"] == pytest.approx(mean_absolute_error(truth, guess))
    assert result.performance["rmse"] == pytest.approx(root_mean_squared_error(truth, guess))
    assert result.performance["r2"] == pytest.approx(r2_score(truth, guess))
    assert result.performance["mape"] == pytest.approx(100 * mean_absolute_percentage_error(truth, guess))
    assert {a.metric for a in result.alerts} >= {"mae", "rmse"}

    batch.loc[0, "price"] = 0.0
    zero = monitoring.monitor(batch)
    assert zero.performance["mape"] is None
    assert any("mape is undefined" in warning for warning in zero.warnings)


def test_late_targets_and_missing_ones(ready: EvidentlyMonitoring) -> None:
    unlabelled = ready.monitor(binary(200, seed=7).drop(columns="churned"))
    assert unlabelled.performance == {}
    assert unlabelled.skipped["churned"] == "not in the batch"
    assert unlabelled.alerts == ()

    partly = binary(200, seed=7)
    partly["churned"] = partly["churned"].astype("float").mask(np.arange(200) < 50)
    result = ready.monitor(partly)
    kept = partly.dropna()
    assert result.performance["accuracy"] == pytest.approx((kept["churned"] == kept["prediction"]).mean())
    assert any("50 of 200 rows" in warning for warning in result.warnings)


def test_a_reference_without_predictions(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data(binary(500).drop(columns="prediction"), target_column="churned")
    batch = binary(300, seed=1).rename(columns={"prediction": "label"})
    result = monitoring.monitor(batch, target_column="churned", prediction_column="label")
    assert result.performance["accuracy"] == pytest.approx((batch["churned"] == batch["label"]).mean())
    assert result.reference_performance.get("accuracy") is None
    assert result.alerts == ()


def test_columns_named_differently_in_the_batch(ready: EvidentlyMonitoring) -> None:
    batch = binary(300, seed=1).rename(columns={"prediction": "label", "churned": "truth"})
    result = ready.monitor(batch, target_column="truth", prediction_column="label")
    assert result.performance["accuracy"] == pytest.approx((batch["truth"] == batch["label"]).mean())
    assert "prediction" in result.columns


def test_each_bad_column_is_named_and_the_report_survives(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    rows = 300
    reference = pd.DataFrame(
        {
            "good": rng.normal(size=rows),
            "gone": rng.normal(size=rows),
            "empty": rng.normal(size=rows),
            "mixed": rng.normal(size=rows),
            "fixed": 7.5,
            "twice": rng.normal(size=rows),
            "when": pd.date_range("2026-01-01", periods=rows),
            "cells": [[1, 2]] * rows,
            "user": [f"user-{i}" for i in range(rows)],
            "huge": np.full(rows, 2**62) + rng.integers(0, 1000, rows),
            "level": rng.choice(["low", "high"], rows),
        }
    )
    monitoring.set_reference_data(reference)
    batch = reference.drop(columns=["gone"]).assign(empty=np.nan, extra=1, level=[["low"]] * rows)
    batch["mixed"] = batch["mixed"].astype(object)
    batch.loc[3, "mixed"] = "n/a"
    batch.loc[4, "good"] = np.inf
    batch = pd.concat([batch, batch[["twice"]]], axis=1)
    result = monitoring.monitor(batch)
    assert "not in the batch" in result.skipped["gone"]
    assert "every value is missing" in result.skipped["empty"]
    assert "'n/a'" in result.skipped["mixed"]
    assert "constant" in result.skipped["fixed"]
    assert "2 columns" in result.skipped["twice"]
    assert "dates" in result.skipped["when"]
    assert "constant" in result.skipped["cells"]
    assert "identifier" in result.skipped["user"]
    assert "lists" in result.skipped["level"]
    assert "not in the reference" in result.skipped["extra"]
    assert "lose digits" in result.skipped["huge"]
    assert set(result.columns) == {"good"}
    assert any("1 infinite" in warning for warning in result.warnings)
    assert [a.kind for a in result.alerts] == ["schema"]


@pytest.mark.parametrize(
    "dtype", ["int64", "Int64", "float32", "Float64", "uint8", "object", "double[pyarrow]", "int64[pyarrow]"]
)
def test_numbers_in_any_type(monitoring: EvidentlyMonitoring, dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 100, 400)
    monitoring.set_reference_data(pd.DataFrame({"n": values}))
    result = monitoring.monitor(pd.DataFrame({"n": pd.Series(rng.integers(50, 150, 300)).astype(dtype)}))
    assert result.columns["n"].drifted
    assert result.skipped == {}


@pytest.mark.parametrize("dtype", ["str", "object", "string", "category", "string[pyarrow]"])
def test_text_in_any_type(monitoring: EvidentlyMonitoring, dtype: str) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"c": rng.choice(["a", "b"], 400).tolist()})
    values = pd.Series(rng.choice(["a", "b"], 300)).astype(dtype)
    assert not monitoring.monitor(pd.DataFrame({"c": values})).columns["c"].drifted
    assert monitoring.monitor(pd.DataFrame({"c": values.iloc[:1].repeat(300)})).columns["c"].drifted


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object", "int64", "float64", "str"])
def test_booleans_in_any_type(monitoring: EvidentlyMonitoring, dtype: str) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"flag": rng.random(400) < 0.5})
    batch = pd.DataFrame({"flag": pd.Series(rng.random(300) < 0.5).astype(dtype)})
    result = monitoring.monitor(batch)
    assert not result.columns["flag"].drifted
    assert result.warnings == ()


def test_integer_codes_with_a_missing_value_are_the_same_codes(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"grade": rng.integers(1, 5, 500)})
    codes = pd.Series(rng.integers(1, 5, 300)).astype("float64")
    codes[0] = np.nan
    result = monitoring.monitor(pd.DataFrame({"grade": codes}))
    assert result.columns["grade"].kind == "categorical"
    assert not result.columns["grade"].drifted
    assert result.missing_share == pytest.approx(1 / 300)


def test_unseen_categories(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"c": rng.choice(["a", "b"], 400)})
    typo = monitoring.monitor({"c": [*rng.choice(["a", "b"], 299), "A"]})
    assert not typo.columns["c"].drifted
    assert any("'A'" in warning for warning in typo.warnings)
    assert monitoring.monitor({"c": [*rng.choice(["a", "b"], 200), *["c"] * 100]}).columns["c"].drifted


def test_text_is_compared_by_its_length(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)

    def texts(words: int) -> list[str]:
        return [
            " ".join(rng.choice(["one", "three", "seven"], words + rng.integers(0, 9))) for _ in range(300)
        ]

    monitoring.set_reference_data({"comment": texts(5)})
    assert monitoring.monitor({"comment": texts(5)}).n_drifted == 0
    assert monitoring.monitor({"comment": texts(20)}).columns["comment: words"].drifted


@pytest.mark.parametrize("kind", ["frame", "rows", "columns", "arrow", "interchange"])
def test_any_table_is_taken(monitoring: EvidentlyMonitoring, kind: str) -> None:
    import pyarrow as pa

    class Interchange:
        """A table of a library this environment does not have."""

        def __init__(self, table: Any) -> None:
            self._table = table

        def __dataframe__(self, **options: Any) -> Any:
            return self._table.__dataframe__(**options)

    frame = binary(200)[["age", "city"]]
    arrow = pa.table({name: frame[name].tolist() for name in frame})
    data = {
        "frame": frame.set_index(np.zeros(200)),
        "rows": frame.to_dict("records"),
        "columns": frame.to_dict("list"),
        "arrow": arrow,
        "interchange": Interchange(arrow),
    }[kind]
    reference = monitoring.set_reference_data(data)
    assert list(reference.columns) == ["age", "city"]
    assert monitoring.monitor(data).n_drifted == 0


def test_the_callers_frame_is_left_alone(ready: EvidentlyMonitoring) -> None:
    batch = binary(100)
    copy = batch.copy(deep=True)
    ready.monitor(batch)
    pd.testing.assert_frame_equal(batch, copy)


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        (pd.DataFrame({"a": []}), {}, "no rows"),
        (pd.DataFrame(), {}, "no columns"),
        ("text", {}, "str"),
        ([1, 2], {}, "list"),
        ({"a": [1, 2], "b": [1]}, {}, "not a table"),
        ({"a": [1, 2]}, {"target_column": "y"}, "'y'"),
        ({"a": [1, 2]}, {"prediction_column": "p"}, "'p'"),
        ({"a": [1, 2], "y": [0, 1]}, {"target_column": "y", "probability_columns": "q"}, "'q'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "same name: a"),
        ({"a": [1, 2], "y": ["u", "v"]}, {"target_column": "y", "task": "regression"}, "'y' holds 'u'"),
        ({"a": [1, 2], "y": ["u", "v"]}, {"target_column": "y", "task": "clustering"}, "clustering"),
        ({"a": [1, 2], "y": ["u", "v"]}, {"target_column": "y", "positive_label": "w"}, "'w'"),
    ],
)
def test_bad_reference_data_is_refused_before_anything_is_written(
    monitoring: EvidentlyMonitoring, base: Path, data: Any, arguments: dict[str, Any], says: str
) -> None:
    before = files(base)
    with pytest.raises(ReferenceDataError) as caught:
        monitoring.set_reference_data(data, **arguments)
    assert says in str(caught.value)
    assert (caught.value.tool, caught.value.operation) == ("evidently", "set_reference_data")
    assert caught.value.workspace == "churn"
    assert caught.value.hint
    assert files(base) == before


@pytest.mark.parametrize(
    ("batch", "arguments", "says"),
    [
        (binary(50), {"target_column": "label"}, "'label'; the batch has: age, income"),
        (binary(50), {"prediction_column": "label"}, "'label'"),
        (binary(50), {"latency_ms": "fast"}, "latency_ms"),
        (binary(50), {"latency_ms": [1, math.nan]}, "latency_ms"),
        (binary(50), {"memory_mb": -1}, "memory_mb"),
    ],
)
def test_a_bad_batch_is_refused_before_anything_is_written(
    ready: EvidentlyMonitoring, base: Path, batch: pd.DataFrame, arguments: dict[str, Any], says: str
) -> None:
    before = files(base)
    with pytest.raises(ReferenceDataError) as caught:
        ready.monitor(batch, **arguments)
    assert says in str(caught.value)
    assert caught.value.operation == "monitor"
    assert files(base) == before


def test_a_batch_of_other_columns_is_refused(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data({"a": range(100)})
    with pytest.raises(ReferenceDataError, match="it has the columns b"):
        monitoring.monitor({"b": range(100)})


def test_no_reference(monitoring: EvidentlyMonitoring) -> None:
    for call in (lambda: monitoring.reference(), lambda: monitoring.monitor(binary(10))):
        with pytest.raises(ReferenceDataError) as caught:
            call()
        assert "set_reference_data" in str(caught.value.hint)
    with pytest.raises(InvalidModelNameError):
        monitoring.reference("../other")


def test_the_same_reference_again_is_a_no_op_and_another_keeps_the_old(
    ready: EvidentlyMonitoring, base: Path
) -> None:
    before = {path: (base / path).stat().st_mtime_ns for path in files(base)}
    first = ready.reference()
    again = ready.set_reference_data(binary(1500), target_column="churned", prediction_column="prediction")
    assert (again.hash, again.set_at) == (first.hash, first.set_at)
    assert {path: (base / path).stat().st_mtime_ns for path in files(base)} == before
    second = ready.set_reference_data(binary(1500, seed=1), target_column="churned")
    assert second.hash != first.hash
    assert ready.summary()["references"] == 2
    assert len(first.to_frame()) == 1500


def test_a_model_has_its_own_reference_else_the_projects(ready: EvidentlyMonitoring) -> None:
    default = ready.reference()
    assert ready.reference("ranker").hash == default.hash
    own = ready.set_reference_data(binary(300, seed=5), model="ranker:2")
    assert ready.reference("churn.ranker").hash == own.hash
    assert ready.reference().hash == default.hash
    assert ready.monitor(binary(100), model="ranker").reference_hash == own.hash


def test_evidently_reads_what_was_written(ready: EvidentlyMonitoring) -> None:
    from evidently.core.report import Snapshot
    from evidently.ui.workspace import Workspace

    result = ready.monitor(
        binary(300, seed=1, shift=1.0),
        model="clf:3",
        tags=["nightly"],
        metadata={"run_id": "r1", "data_version": "d1"},
        latency_ms=[10.0, 20.0, 30.0],
        memory_mb=256,
        name="batch 1",
    )
    workspace = Workspace(str(ready.path))
    (evidently_project,) = workspace.list_projects()
    assert (str(evidently_project.id), evidently_project.name) == (ready.project_id, "churn")
    assert [str(run) for run in workspace.list_runs(ready.project_id)] == [result.snapshot_id]
    model = workspace.get_run(ready.project_id, result.snapshot_id)
    assert model.name == "batch 1"
    assert set(model.tags) == {"nightly", "clf"}
    assert model.metadata["run_id"] == "r1"
    assert model.metadata["model_version"] == "3"
    assert model.metadata["reference"] == result.reference_hash
    values: dict[Any, Any] = {}
    for metric in json.loads(Snapshot.load_model(model).json())["metrics"]:
        kind = metric["config"]["type"].rsplit(":", 1)[1]
        key = metric["config"].get("column") or metric["config"].get("name")
        values[kind, key] = metric["value"]
    assert values["DriftedColumnsCount", None] == {"count": result.n_drifted, "share": result.drift_share}
    for name, column in result.columns.items():
        assert values["ValueDrift", name] == column.score
    assert values["Accuracy", None] == result.performance["accuracy"]
    assert values["RowCount", None] == 300
    assert values["ExternalValue", "latency_ms"] == 20.0
    assert values["ExternalValue", "latency_ms_p95"] == pytest.approx(29.0)
    assert values["ExternalValue", "memory_mb"] == 256.0
    dashboard = workspace.get_dashboard(ready.project_id)
    assert [tab.title for tab in dashboard.tabs] == ["Checks"]
    assert {panel for tab in dashboard.tabs for panel in tab.panels} == {
        panel.id for panel in dashboard.panels
    }


def test_the_dashboard_draws_one_line_per_column_whatever_the_batch_size(ready: EvidentlyMonitoring) -> None:
    import asyncio

    from evidently.ui.service.base import SeriesFilter
    from evidently.ui.service.storage.local.base import InMemoryDataStorage

    results = [ready.monitor(binary(rows, seed=rows), latency_ms=rows) for rows in (50, 300)]
    results.append(ready.monitor(binary(70).drop(columns="city"), latency_ms=70))
    storage = InMemoryDataStorage(str(ready.path))
    (project_id,) = storage.state.projects
    panels = json.loads((ready.path / ready.project_id / "dashboard.json").read_text())["panels"]
    filters = [
        SeriesFilter(tags=[], metadata={}, metric=value["metric"], metric_labels=value["metric_labels"])
        for panel in panels
        for value in panel["values"]
    ]
    series = asyncio.run(storage.get_data_series(project_id, filters, None, None)).series
    found: dict[str, list[Any]] = {}
    for entry in series:
        found.setdefault(entry.metric_type.rsplit(":", 1)[1], []).append(entry)
    assert {entry.params["column"] for entry in found["ValueDrift"]} == set(results[0].columns)
    assert len(found["ValueDrift"]) == len(results[0].columns)
    (share,) = [e for e in found["DriftedColumnsCount"] if e.params["value_type"] == "share"]
    assert share.values == [result.drift_share for result in results]
    (latency,) = [e for e in found["ExternalValue"] if e.params["name"] == "latency_ms"]
    assert latency.values == [50, 300, 70]


def test_the_report_is_evidentlys_html(ready: EvidentlyMonitoring, tmp_path: Path) -> None:
    result = ready.monitor(binary(100))
    page = result.save_html(tmp_path / "new" / "report.html")
    html = page.read_text(encoding="utf-8")
    assert '"column_name": "age"' in html
    assert len(html) > 1_000_000
    again = ready.save_html(result.snapshot_id, tmp_path / "again.html")
    assert '"column_name": "age"' in again.read_text(encoding="utf-8")
    with pytest.raises(DataNotFoundError, match="There is no snapshot"):
        ready.save_html("nothing", tmp_path / "no.html")


def test_metrics_have_names_mlflow_accepts(monitoring: EvidentlyMonitoring) -> None:
    from mlflow.utils.validation import _validate_metric_name

    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"a(%)": rng.normal(size=100), "a[%]": rng.normal(size=100)})
    result = monitoring.monitor({"a(%)": rng.normal(size=100), "a[%]": rng.normal(size=100)}, latency_ms=3)
    metrics = result.metrics()
    for name, value in metrics.items():
        _validate_metric_name(name)
        assert isinstance(value, float)
    assert {"drift.a___.score", "drift.a____2.score", "latency_ms.p95", "drift.share"} <= set(metrics)


def test_a_result_is_plain_json_and_a_frame(ready: EvidentlyMonitoring) -> None:
    result = ready.monitor(binary(100), latency_ms=5)
    values = result.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    frame = result.to_frame()
    assert list(frame.index) == list(result.columns)
    assert frame.loc["age", "score"] == result.columns["age"].score


def test_history_is_newest_first_and_outlives_a_torn_line(ready: EvidentlyMonitoring) -> None:
    ids = [ready.monitor(binary(60, seed=s), model="m" if s else None).snapshot_id for s in range(3)]
    path = ready.path / "history.jsonl"
    assert [record["snapshot_id"] for record in ready.history()] == ids[::-1]
    assert [record["snapshot_id"] for record in ready.history(model="m", limit=1)] == [ids[2]]
    path.write_bytes(path.read_bytes()[:-40])
    assert [record["snapshot_id"] for record in ready.history()] == ids[:2][::-1]
    assert ready.summary()["checks"] == 2
    newest = ready.monitor(binary(60)).snapshot_id
    assert [record["snapshot_id"] for record in ready.history()] == [newest, ids[1], ids[0]]
    assert ready.summary()["last_check"]["snapshot_id"] == newest


def test_links(ready: EvidentlyMonitoring) -> None:
    result = ready.monitor(
        binary(60), model="clf:3", metadata={"run_id": "r1", "data_version": "d1", "nothing": None}
    )
    assert {(link.source, link.target) for link in ready.links()} == {
        (f"reference:{result.reference_hash}", f"snapshot:{result.snapshot_id}"),
        ("model:churn.clf:3", f"snapshot:{result.snapshot_id}"),
        ("run:r1", f"snapshot:{result.snapshot_id}"),
        ("data:d1", f"snapshot:{result.snapshot_id}"),
    }


def test_reading_creates_nothing_and_imports_nothing_heavy(base: Path, ready: EvidentlyMonitoring) -> None:
    ready.monitor(binary(60))
    before = files(base)
    code = f"""
import sys
from pathlib import Path
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
workspace = ProjectWorkspace.load_metadata(Path({str(ready.path.parent)!r}))
m = EvidentlyMonitoring(ToolContext(workspace, resolve().settings))
assert m.health().state == "ready", m.health()
assert m.summary()["checks"] == 1
assert m.usage().files and list(m.links()) and m.history() and m.reference().rows == 1500
heavy = {{"evidently", "pandas", "numpy", "pyarrow", "scipy", "mlflow", "dvc", "bentoml"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert files(base) == before


def test_health(monitoring: EvidentlyMonitoring, base: Path) -> None:
    before = files(base)
    assert monitoring.health().state is ToolState.NOT_CREATED
    assert monitoring.summary()["checks"] == 0
    assert files(base) == before
    monitoring.ensure()
    monitoring.ensure()
    assert monitoring.health().state is ToolState.READY
    (monitoring.path / monitoring.project_id / "metadata.json").write_text("{")
    health = monitoring.health()
    assert health.state is ToolState.UNAVAILABLE
    assert "metadata.json" in str(health.error)


def test_changed_reference_data_is_noticed(ready: EvidentlyMonitoring) -> None:
    path = ready.reference().path / "data.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataIntegrityError, match=r"data\.parquet"):
        ready.monitor(binary(60))
    (ready.path / "reference" / "current.json").write_text("{")
    with pytest.raises(DataIntegrityError, match=r"current\.json"):
        ready.reference()


def test_a_moved_workspace_works_and_a_copy_leaves_the_original_alone(
    make_context: MakeContext, base: Path, tmp_path: Path
) -> None:
    from mlops.workspace.model import ProjectWorkspace

    context = make_context()
    first = EvidentlyMonitoring(context)
    first.set_reference_data(binary(300), target_column="churned", prediction_column="prediction")
    first.monitor(binary(60))
    shutil.copytree(base / "churn", base / "other")
    before = files(base / "churn")
    workspace = ProjectWorkspace.load_metadata(base / "other", project_name="other")
    copy = EvidentlyMonitoring(ToolContext(workspace, context.settings))
    copy.monitor(binary(60))
    assert len(copy.history()) == 2
    assert files(base / "churn") == before
    assert len(first.history()) == 1
    names = [json.loads(p.read_text())["name"] for p in copy.path.glob("*/metadata.json")]
    assert names == ["other"]

    shutil.move(base / "churn", tmp_path / "moved")
    moved = EvidentlyMonitoring(
        ToolContext(ProjectWorkspace.load_metadata(tmp_path / "moved"), context.settings)
    )
    moved.monitor(binary(60))
    assert len(moved.history()) == 2
    assert not (base / "churn").exists()


def test_export_and_restore_into_another_project(make_context: MakeContext, tmp_path: Path) -> None:
    from evidently.ui.workspace import Workspace

    source = EvidentlyMonitoring(make_context("source"))
    source.set_reference_data(binary(300), target_column="churned", prediction_column="prediction")
    result = source.monitor(binary(60))
    exported = tmp_path / "export"
    exported.mkdir()
    source.export(exported)

    target = EvidentlyMonitoring(make_context("target"))
    target.set_reference_data(binary(100, seed=3))
    target.monitor(binary(60))
    target.restore(exported)
    assert [record["snapshot_id"] for record in target.history()] == [result.snapshot_id]
    assert target.reference().hash == source.reference().hash
    (restored,) = Workspace(str(target.path)).list_projects()
    assert (str(restored.id), restored.name) == (target.project_id, "target")
    assert target.monitor(binary(60)).performance == source.monitor(binary(60)).performance
    assert list((target.path.parent.parent / ".mlops" / "staging").iterdir()) == []


def test_two_projects_at_once_in_two_threads(make_context: MakeContext) -> None:
    adapters = {name: EvidentlyMonitoring(make_context(name)) for name in ("one", "two")}
    shifts = {"one": 0.0, "two": 2.0}
    expected = {}
    for name, adapter in adapters.items():
        adapter.set_reference_data(binary(400), target_column="churned", prediction_column="prediction")
        expected[name] = adapter.monitor(binary(200, seed=1, shift=shifts[name])).metrics()
    found: dict[str, list[dict[str, float]]] = {"one": [], "two": []}

    def work(name: str) -> None:
        for _ in range(3):
            batch = binary(200, seed=1, shift=shifts[name])
            found[name].append(adapters[name].monitor(batch).metrics())

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "one")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"one": [expected["one"]] * 6, "two": [expected["two"]] * 3}
    assert adapters["one"].summary()["checks"] == 7
    assert adapters["two"].summary()["checks"] == 4


def test_nothing_leaks_into_the_process(ready: EvidentlyMonitoring) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        batch = binary(60).assign(city="Paris", prediction=0)
        batch.loc[0, "age"] = np.inf
        ready.monitor(batch)
        assert list(warnings.filters) == before
        assert [str(warning.message) for warning in caught] == []
    assert list(Path.cwd().iterdir()) == []


WORKER = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext
import warnings
before = list(warnings.filters)
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
workspace = ProjectWorkspace.load_metadata(Path(sys.argv[1]))
monitoring = EvidentlyMonitoring(ToolContext(workspace, resolve().settings))
rng = np.random.default_rng(0)
while True:
    result = monitoring.monitor(pd.DataFrame({"age": rng.normal(40, 10, 80)}))
    assert not [f for f in warnings.filters if f not in before], warnings.filters
    print(result.snapshot_id, result.reference_hash, flush=True)
"""


def test_another_process_uses_the_stored_reference_and_may_be_killed_at_any_moment(
    ready: EvidentlyMonitoring,
) -> None:
    from evidently.ui.workspace import Workspace

    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORKER, str(ready.path.parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    reported = [process.stdout.readline().split() for _ in range(4)]
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate()[0].splitlines()
    assert {entry[1] for entry in reported} == {ready.reference().hash}
    known = {entry[0] for entry in reported} | {line.split()[0] for line in rest}
    stored = {str(run) for run in Workspace(str(ready.path)).list_runs(ready.project_id)}
    assert known <= stored
    assert known <= {record["snapshot_id"] for record in ready.history()} <= stored
    newest = ready.monitor(binary(60)).snapshot_id
    assert ready.history(limit=1)[0]["snapshot_id"] == newest


def test_a_crash_while_a_snapshot_is_written_leaves_the_workspace_readable(
    ready: EvidentlyMonitoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evidently.ui.workspace import Workspace

    first = ready.monitor(binary(60)).snapshot_id

    def fail(descriptor: int) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mlops.integrations.evidently_monitoring.snapshots.os.fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            ready.monitor(binary(60))
    assert [str(run) for run in Workspace(str(ready.path)).list_runs(ready.project_id)] == [first]
    assert len(ready.history()) == 1
    assert list((ready.path.parent.parent / ".mlops" / "staging").iterdir()) == []


@pytest.mark.parametrize("positive", [0, 1])
def test_a_large_batch_gives_the_same_numbers(monitoring: EvidentlyMonitoring, positive: int) -> None:
    from sklearn.metrics import f1_score, precision_score

    monitoring.set_reference_data(
        binary(500), target_column="churned", prediction_column="prediction", positive_label=positive
    )
    batch = binary(30_000, seed=2)
    result = monitoring.monitor(batch)
    assert result.rows == 30_000
    assert result.columns["age"].rows == 10_000
    for name, metric in {"f1": f1_score, "precision": precision_score}.items():
        expected = metric(batch["churned"], batch["prediction"], pos_label=positive)
        assert result.performance[name] == pytest.approx(expected)
    assert monitoring.monitor(batch).columns == result.columns
