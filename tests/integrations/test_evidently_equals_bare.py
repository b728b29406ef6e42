"""The numbers are those of Evidently used on its own, wherever its own are right."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, runtime
from mlops.workspace.tools import ToolContext

ROWS = 1200


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return EvidentlyMonitoring(context)


def bare(
    metrics: list[Any], current: pd.DataFrame, reference: pd.DataFrame | None, **definition: Any
) -> list[Any]:
    """Return the values that Evidently's own report has for metrics, in their order."""
    from evidently import DataDefinition, Dataset, Report

    # Infinite values make pandas warn when Evidently describes them.
    with runtime.running(), warnings.catch_warnings(action="ignore"):
        sides = [
            None if frame is None else Dataset.from_pandas(frame, DataDefinition(**definition))
            for frame in (current, reference)
        ]
        snapshot = Report(metrics).run(*sides)
    values = {entry["id"]: entry["value"] for entry in json.loads(snapshot.json())["metrics"]}
    return [values[metric.get_metric_id()] for metric in metrics]


def mixed(seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": rng.normal(shift, 1, ROWS),
            "skewed": rng.lognormal(shift, 1, ROWS),
            "counts": rng.poisson(20 + 10 * shift, ROWS),
            "gaps": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS)),
            "infinite": np.where(rng.random(ROWS) < 0.05, np.inf, rng.normal(size=ROWS)),
            "city": rng.choice(["Bern", "Oslo", "Rome"], ROWS, p=[0.5 - shift / 4, 0.3, 0.2 + shift / 4]),
            "flag": rng.choice(["no", "yes"], ROWS),
            "code": rng.choice(["a", "b", None], ROWS),
        }
    )


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_drift(monitoring: EvidentlyMonitoring, shift: float) -> None:
    from evidently.metrics import DatasetMissingValueCount, DriftedColumnsCount, ValueDrift

    reference, batch = mixed(0), mixed(1, shift)
    monitoring.set_reference_data(reference)
    result = monitoring.monitor(batch)
    numerical, categorical = list(reference)[:5], list(reference)[5:]
    methods = dict.fromkeys(numerical, "wasserstein") | dict.fromkeys(categorical, "jensenshannon")
    *scores, count, missing = bare(
        [
            *(ValueDrift(column=name, method=method) for name, method in methods.items()),
            DriftedColumnsCount(num_method="wasserstein", cat_method="jensenshannon"),
            DatasetMissingValueCount(),
        ],
        batch,
        reference,
        numerical_columns=numerical,
        categorical_columns=categorical,
    )
    assert {name: column.method for name, column in result.columns.items()} == methods
    assert [column.score for column in result.columns.values()] == pytest.approx(scores)
    assert (result.n_drifted, result.drift_share) == (count["count"], pytest.approx(count["share"]))
    # Evidently divides by the rows alone.
    assert result.missing_share == pytest.approx(missing["count"] / batch.size)


@pytest.mark.parametrize("labels", [("no", "yes"), (0, 1), (False, True), (-1.0, 1.0)])
def test_binary_labels_and_probabilities(monitoring: EvidentlyMonitoring, labels: tuple[Any, Any]) -> None:
    from evidently import BinaryClassification
    from evidently.metrics import Accuracy, F1Score, Precision, Recall, RocAuc

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    guess = np.where(rng.random(ROWS) < 0.8, y, 1 - y)
    names = np.array(labels)
    frame = pd.DataFrame({"y": names[y], "p": names[guess], "score": 0.3 * y + 0.7 * rng.random(ROWS)})
    monitoring.set_reference_data(
        frame,
        target_column="y",
        prediction_column="p",
        probability_columns="score",
        positive_label=labels[1],
    )
    batch = frame.iloc[: ROWS // 2]
    result = monitoring.monitor(batch)
    tasks = {
        "labels": BinaryClassification(target="y", prediction_labels="p", pos_label=1),
        "scores": BinaryClassification(target="y", prediction_probas="score", pos_label=1),
    }
    plain = batch.assign(y=y[: ROWS // 2], p=guess[: ROWS // 2])
    expected = bare(
        [Accuracy(), Precision(), Recall(), F1Score()],
        plain,
        None,
        categorical_columns=["y", "p"],
        classification=[tasks["labels"]],
    ) + bare(
        [RocAuc()],
        plain,
        None,
        categorical_columns=["y"],
        numerical_columns=["score"],
        classification=[tasks["scores"]],
    )
    assert list(result.performance.values()) == pytest.approx(expected)


def test_multiclass(monitoring: EvidentlyMonitoring) -> None:
    from evidently import MulticlassClassification
    from evidently.metrics import Accuracy, F1Score, Precision, Recall

    rng = np.random.default_rng(0)
    y = rng.choice(["cat", "dog", "owl", "yak"], ROWS)
    frame = pd.DataFrame({"y": y, "p": np.where(rng.random(ROWS) < 0.7, y, "cat")})
    monitoring.set_reference_data(frame, target_column="y", prediction_column="p")
    result = monitoring.monitor(frame.iloc[:500])
    expected = bare(
        [Accuracy(), Precision(), Recall(), F1Score()],
        frame.iloc[:500],
        None,
        categorical_columns=["y", "p"],
        classification=[MulticlassClassification(target="y", prediction_labels="p")],
    )
    assert list(result.performance.values()) == pytest.approx(expected)


def test_regression(monitoring: EvidentlyMonitoring) -> None:
    from evidently import Regression
    from evidently.metrics import MAE, MAPE, RMSE, R2Score
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    data = load_diabetes(as_frame=True)
    model = LinearRegression().fit(data.data, data.target)
    frame = data.data.assign(y=data.target, p=model.predict(data.data))
    monitoring.set_reference_data(frame, target_column="y", prediction_column="p", task="regression")
    result = monitoring.monitor(frame.iloc[:200])
    mae, rmse, mape, r2 = bare(
        [MAE(), RMSE(), MAPE(), R2Score()],
        frame.iloc[:200],
        None,
        numerical_columns=["y", "p"],
        regression=[Regression(target="y", prediction="p")],
    )
    assert list(result.performance) == ["mae", "rmse", "mape", "r2"]
    assert list(result.performance.values()) == pytest.approx([mae["mean"], rmse, mape["mean"], r2])


@pytest.mark.parametrize("k", [3, 10])
def test_ranking_of_groups_that_are_long_enough(monitoring: EvidentlyMonitoring, k: int) -> None:
    from evidently.core.datasets import Recsys
    from evidently.metrics import MAP, MRR, NDCG

    rng = np.random.default_rng(0)
    grade = rng.choice([0, 1, 2], 1200, p=[0.7, 0.2, 0.1])
    frame = pd.DataFrame(
        {"user": np.arange(1200) // 12, "grade": grade, "score": grade + rng.normal(size=1200)}
    )
    # Evidently takes the order of the rows for that of the ranks.
    ordered = frame.sort_values(["user", "score"], ascending=[True, False], ignore_index=True)
    monitoring.set_reference_data(
        frame, target_column="grade", prediction_column="score", group_column="user", cutoff=k
    )
    result = monitoring.monitor(frame)
    expected = bare(
        [NDCG(k=k), MAP(k=k), MRR(k=k)],
        ordered.assign(item=np.arange(1200)),
        None,
        numerical_columns=["grade", "score"],
        ranking=[Recsys(user_id="user", item_id="item", target="grade", prediction="score")],
    )
    at_k = [list(curve["value"].values())[k - 1] for curve in expected]
    assert list(result.performance.values()) == pytest.approx(at_k)


def test_embeddings(monitoring: EvidentlyMonitoring) -> None:
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import mmd
    from sklearn.datasets import load_digits

    images = load_digits().data
    reference, batch = images[:500], images[500:900] + np.linspace(0, 2, 64)
    monitoring.set_reference_data({"image": list(reference)})
    result = monitoring.monitor({"image": list(batch)})
    score, drifted, _ = mmd()(pd.DataFrame(batch), pd.DataFrame(reference))
    assert result.columns["image"].score == pytest.approx(score, rel=1e-4)
    assert result.columns["image"].drifted == drifted


def test_text_length_and_words(monitoring: EvidentlyMonitoring) -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.descriptors import TextLength, WordCount
    from evidently.metrics import ValueDrift

    def texts(seed: int, words: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        chosen = ["one", "three", "seven", "eleven"]
        return pd.DataFrame({"t": [" ".join(rng.choice(chosen, rng.integers(2, words))) for _ in range(600)]})

    monitoring.set_reference_data(texts(0, 20))
    result = monitoring.monitor(texts(1, 26))
    sides = [
        Dataset.from_pandas(
            texts(seed, words),
            DataDefinition(text_columns=["t"]),
            descriptors=[TextLength("t", alias="length"), WordCount("t", alias="words")],
        )
        for seed, words in ((1, 26), (0, 20))
    ]
    metrics = [ValueDrift(column=name, method="wasserstein") for name in ("length", "words")]
    values = json.loads(Report(metrics).run(*sides).json())["metrics"]
    assert [result.columns[f"t: {name}"].score for name in ("length", "words")] == pytest.approx(
        [entry["value"] for entry in values]
    )
