"""The client's verbs for continuing runs and for models in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import DataNotFoundError, IntegrationError, MLOpsClient, ModelNotFoundError

FEATURES, TARGET = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1]


def fitted(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength).fit(FEATURES, TARGET)


@pytest.fixture
def client(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient.from_project("churn", base_path=base) as opened:
        yield opened


def test_a_run_is_continued_by_its_id(client: MLOpsClient, base: Path) -> None:
    with client.start_run("first") as run:
        client.log_metric("loss", 1.0, step=0)
    with client.start_run("renamed", run_id=run.run_id, params={"lr": 0.1}) as again:
        client.log_metric("loss", 0.5, step=1)
    assert again.run_id == run.run_id
    (found,) = client.list_runs()
    assert (found["run_name"], found["status"]) == ("renamed", "FINISHED")
    assert (found["metrics"], found["params"]) == ({"loss": 0.5}, {"lr": "0.1"})
    history = client.tracking.client().get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5)]

    other = MLOpsClient.from_project("fraud", base_path=base)
    with pytest.raises(DataNotFoundError, match="'fraud' has no run"), other.start_run(run_id=run.run_id):
        pass
    assert client.list_runs()[0]["status"] == "FINISHED"


def test_a_model_in_use_is_loaded_by_version_and_alias(client: MLOpsClient, base: Path) -> None:
    other = MLOpsClient.from_project("fraud", base_path=base)
    with client.start_run():
        for strength in (0.5, 2.0):
            client.log_model(fitted(strength), "clf", metadata={"owner": "growth"}, tags={"approved": "no"})
    assert client.promote("clf", "production", version=1).aliases == ("production",)
    with other.start_run():
        other.log_model(fitted(7.0), "clf")
        # Plain MLflow calls go to the other project here; this client keeps to its own.
        assert mlflow.get_tracking_uri() == other.tracking.uri
        assert client.load_model("clf").C == 2.0
        assert client.load_model("clf", version=2).C == 2.0
        assert client.load_model("clf", alias="production").C == 0.5
        assert other.load_model("clf").C == 7.0
    assert client.promote("clf", "production").version == "2"
    assert client.load_model("clf", alias="production").C == 2.0

    version = client.tracking.models.get("clf", version=1)
    assert version.tags["approved"] == "no"
    mlmodel = (client.tracking.models.download(version) / "MLmodel").read_text()
    assert "owner: growth" in mlmodel
    history = client.tracking.models.history("clf", "production")
    assert [(entry["version"], entry["previous"]) for entry in history] == [("2", "1"), ("1", None)]


def test_what_is_not_there_is_named(client: MLOpsClient) -> None:
    with client.start_run():
        client.log_model(fitted(1.0), "clf")
    with pytest.raises(ModelNotFoundError, match="has no model 'nope'; its models: clf") as caught:
        client.load_model("nope")
    assert (caught.value.operation, caught.value.workspace) == ("load_model", "churn")
    with pytest.raises(ModelNotFoundError, match="its versions: 1"):
        client.promote("clf", "production", version=9)
    with pytest.raises(IntegrationError, match="Both version '1' and alias 'a'"):
        client.load_model("clf", version=1, alias="a")
    assert client.tracking.models.aliases("clf") == {}
