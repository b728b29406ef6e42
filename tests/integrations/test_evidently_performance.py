"""Performance: the metrics the rows define, and the reason for each of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, Task, runtime
from mlops.workspace.tools import ToolContext

ROWS = 240


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return EvidentlyMonitoring(context)


def labelled(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, ROWS)
    guess = np.where(rng.random(ROWS) < 0.8, y, 1 - y)
    return pd.DataFrame(
        {"x": rng.normal(size=ROWS), "y": y, "guess": guess, "score": 0.5 * y + rng.random(ROWS) / 2}
    )


DATE = pd.Timestamp("2026-01-01")


@pytest.mark.parametrize(
    ("change", "defined"),
    [
        ({"y": np.nan}, set()),
        ({"y": [[1]] * ROWS}, set()),
        ({"guess": [[1]] * ROWS}, {"roc_auc"}),
        ({"guess": None}, {"roc_auc"}),
        ({"y": 0, "guess": 0}, {"accuracy"}),
        ({"y": 1, "guess": 1}, {"accuracy", "precision", "recall", "f1"}),
        ({"guess": DATE}, {"accuracy", "recall", "f1", "roc_auc"}),
        ({"score": DATE}, {"accuracy", "precision", "recall", "f1"}),
        ({"score": 40.0}, {"accuracy", "precision", "recall", "f1"}),
        ({"score": np.nan}, {"accuracy", "precision", "recall", "f1"}),
        ({"score": "high"}, {"accuracy", "precision", "recall", "f1"}),
    ],
)
def test_a_binary_batch_gives_the_metrics_it_defines(
    monitoring: EvidentlyMonitoring, change: dict[str, Any], defined: set[str]
) -> None:
    monitoring.set_reference_data(
        labelled(), target_column="y", prediction_column="guess", probability_columns="score"
    )
    result = monitoring.monitor(labelled(1).assign(**change))
    assert list(result.performance) == ["accuracy", "precision", "recall", "f1", "roc_auc"]
    assert {name for name, value in result.performance.items() if value is not None} == defined
    assert set(result.undefined) == set(result.performance) - defined
    assert "x" in result.columns
    for name, reason in result.undefined.items():
        assert any(name in warning and reason in warning for warning in result.warnings)


def test_a_label_nobody_knew_counts_as_not_positive(monitoring: EvidentlyMonitoring) -> None:
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    monitoring.set_reference_data(labelled(), target_column="y", prediction_column="guess")
    batch = labelled(1)
    batch.loc[:9, "y"] = 7
    result = monitoring.monitor(batch)
    truth, guess = batch["y"] == 1, batch["guess"] == 1
    assert result.performance == {
        "accuracy": pytest.approx(accuracy_score(batch["y"], batch["guess"])),
        "precision": pytest.approx(precision_score(truth, guess)),
        "recall": pytest.approx(recall_score(truth, guess)),
        "f1": pytest.approx(f1_score(truth, guess)),
    }
    assert any("labels that the reference does not have: 7" in warning for warning in result.warnings)


def test_a_target_or_prediction_that_is_there_twice_costs_only_the_performance(
    monitoring: EvidentlyMonitoring,
) -> None:
    monitoring.set_reference_data(labelled(), target_column="y", prediction_column="guess")
    for column in ("y", "guess"):
        batch = labelled(1)
        result = monitoring.monitor(pd.concat([batch, batch[[column]]], axis=1))
        assert result.performance == {}
        assert "2 columns" in result.skipped[column]
        assert any(
            f"no performance: the batch has 2 columns of the name {column!r}" in w for w in result.warnings
        )
        assert "x" in result.columns


def test_probabilities_of_a_prediction_beyond_0_and_1_give_no_labels(monitoring: EvidentlyMonitoring) -> None:
    data = labelled().drop(columns="guess")
    reference = monitoring.set_reference_data(data, target_column="y", prediction_column="score")
    assert reference.task is Task.BINARY
    result = monitoring.monitor(labelled(1).drop(columns="guess").assign(score=lambda f: f["score"] * 100))
    assert set(result.performance.values()) == {None}
    assert "from 0 to 1" in result.undefined["accuracy"]
    assert result.columns["score"].drifted


def numeric(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=ROWS)
    return pd.DataFrame({"x": x, "y": 3 * x, "guess": 3 * x + rng.normal(size=ROWS) / 4})


@pytest.mark.parametrize(
    ("change", "defined"),
    [
        ({"guess": np.inf}, set()),
        ({"guess": DATE}, set()),
        ({"guess": "a"}, set()),
        ({"guess": [[1.0]] * ROWS}, set()),
        ({"y": np.nan}, set()),
        ({"y": 2.0}, {"mae", "rmse", "mape"}),
        ({"y": 0.0}, {"mae", "rmse"}),
    ],
)
def test_a_regression_batch_gives_the_metrics_it_defines(
    monitoring: EvidentlyMonitoring, change: dict[str, Any], defined: set[str]
) -> None:
    monitoring.set_reference_data(numeric(), target_column="y", prediction_column="guess")
    result = monitoring.monitor(numeric(1).assign(**change))
    assert {name for name, value in result.performance.items() if value is not None} == defined
    assert set(result.undefined) == {"mae", "rmse", "mape", "r2"} - defined
    assert "x" in result.columns


def test_the_percentage_error_of_negative_targets(monitoring: EvidentlyMonitoring) -> None:
    from sklearn.metrics import mean_absolute_percentage_error, r2_score

    monitoring.set_reference_data(numeric(), target_column="y", prediction_column="guess")
    batch = numeric(1)
    assert (batch["y"] < 0).any()
    result = monitoring.monitor(batch)
    expected = 100 * mean_absolute_percentage_error(batch["y"], batch["guess"])
    assert result.performance["mape"] == pytest.approx(expected)
    assert result.performance["r2"] == pytest.approx(r2_score(batch["y"], batch["guess"]))


def ranked(seed: int = 0, noise: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (f"query {group}", item, int(rng.integers(0, 3)))
        for group in range(40)
        for item in range(int(rng.integers(1, 15)))
    ]
    frame = pd.DataFrame(rows, columns=["query", "item", "relevance"])
    return frame.assign(score=frame["relevance"] + rng.normal(size=len(frame)) * noise)


def by_hand(frame: pd.DataFrame, k: int) -> dict[str, float]:
    ndcg, precision, reciprocal = [], [], []
    for _, group in frame.groupby("query"):
        grades = group.sort_values("score", ascending=False)["relevance"].to_numpy()
        if not grades.any():
            continue
        discount = 1 / np.log2(np.arange(2, len(grades) + 2))
        best = np.sort(grades)[::-1]
        ndcg.append((grades * discount)[:k].sum() / (best * discount)[:k].sum())
        hits = grades > 0
        at = np.cumsum(hits) / np.arange(1, len(grades) + 1)
        precision.append((at * hits)[:k].sum() / hits.sum())
        first = int(np.argmax(hits)) + 1
        reciprocal.append(1 / first if first <= k else 0.0)
    means = (float(np.mean(values)) for values in (ndcg, precision, reciprocal))
    return dict(zip([f"{name}_at_{k}" for name in ("ndcg", "map", "mrr")], means, strict=True))


@pytest.mark.parametrize("cutoff", [1, 5, 10, 20])
def test_a_ranking(monitoring: EvidentlyMonitoring, cutoff: int) -> None:
    reference = monitoring.set_reference_data(
        ranked(), target_column="relevance", prediction_column="score", group_column="query", cutoff=cutoff
    )
    assert reference.task is Task.RANKING
    batch = ranked(1, noise=2.0).sample(frac=1, random_state=0)
    result = monitoring.monitor(batch)
    assert dict(result.performance) == pytest.approx(by_hand(batch, cutoff))
    assert dict(result.reference_performance) == pytest.approx(by_hand(ranked(), cutoff))
    assert result.performance_change[f"ndcg_at_{cutoff}"] < 0
    assert "only says which rows" in result.skipped["query"]
    path = monitoring.path / monitoring.project_id / "snapshots" / f"{result.snapshot_id}.json"
    with runtime.running():
        drawn = runtime.numbers(runtime.load(operation="t", workspace="t").Snapshot.loads(path.read_text()))
    values = {entry["config"].get("name"): entry["value"] for entry in drawn["metrics"]}
    assert values["ndcg"] == pytest.approx(result.performance[f"ndcg_at_{cutoff}"])


def test_tied_scores_never_flatter_a_ranking(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data(
        ranked(), target_column="relevance", prediction_column="score", group_column="query"
    )
    batch = ranked(1).assign(score=1.0)
    result = monitoring.monitor(batch)
    worst = batch.assign(score=-batch["relevance"])
    assert dict(result.performance) == pytest.approx(by_hand(worst, 10))
    assert any("the less relevant one counts as first" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"relevance": 0}, "no group has a relevant row"),
        ({"relevance": -1}, "negative"),
        ({"relevance": np.nan}, "no group has a relevant row"),
        ({"score": DATE}, "'score' holds no numbers"),
        ({"query": [[1]]}, "'query' holds lists"),
        ({"query": None}, "no group has a relevant row"),
    ],
)
def test_a_ranking_that_cannot_be_measured_says_why(
    monitoring: EvidentlyMonitoring, change: dict[str, Any], reason: str
) -> None:
    monitoring.set_reference_data(
        ranked(), target_column="relevance", prediction_column="score", group_column="query"
    )
    batch = ranked(1)
    for name, value in change.items():
        batch[name] = pd.Series(value * len(batch) if isinstance(value, list) else value, index=batch.index)
    result = monitoring.monitor(batch)
    assert set(result.performance.values()) == {None}
    assert all(reason in why for why in result.undefined.values())
    assert "item" in result.columns


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"task": "ranking"}, "which rows"),
        ({"group_column": "nobody"}, "group column 'nobody'"),
        ({"group_column": "query", "task": "regression"}, "The task is regression"),
        ({"group_column": "query", "cutoff": 0}, "cutoff"),
        ({"group_column": "item", "target_column": "query"}, "'query' holds 'query 0'"),
        ({"target_column": "cells"}, "'cells' hold lists"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(
    monitoring: EvidentlyMonitoring, arguments: dict[str, Any], says: str
) -> None:
    frame = ranked()
    frame["cells"] = [[1]] * len(frame)
    with pytest.raises(ReferenceDataError, match=says):
        monitoring.set_reference_data(
            frame, **{"target_column": "relevance", "prediction_column": "score"} | arguments
        )
    assert monitoring.reference_hashes() == []


def test_multiclass_probabilities_and_labels_are_two_tasks(monitoring: EvidentlyMonitoring) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, roc_auc_score

    data = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=500).fit(data.data.iloc[:, :2], data.target)
    names = data.target_names
    table = data.data.assign(kind=names[data.target], guess=names[model.predict(data.data.iloc[:, :2])])
    probabilities = model.predict_proba(data.data.iloc[:, :2])
    table[[f"p {name}" for name in names]] = probabilities
    monitoring.set_reference_data(
        table,
        target_column="kind",
        prediction_column="guess",
        probability_columns={name: f"p {name}" for name in names},
    )
    # Labels that disagree with the probabilities: each metric is about its own columns.
    batch = table.assign(guess=np.roll(table["guess"], 1))
    result = monitoring.monitor(batch)
    assert result.performance["accuracy"] == pytest.approx(accuracy_score(batch["kind"], batch["guess"]))
    assert result.performance["roc_auc"] == pytest.approx(
        roc_auc_score(data.target, probabilities, multi_class="ovr")
    )
    setosa = monitoring.monitor(batch[batch["kind"] == "setosa"])
    assert setosa.performance["roc_auc"] is None
    assert "every class" in setosa.undefined["roc_auc"]
    assert setosa.performance["accuracy"] is not None
