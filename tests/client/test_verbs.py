"""The everyday path through all four tools, in one project."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from mlops import (
    ConfigError,
    DataNotFoundError,
    MLOpsClient,
    ModelNotFoundError,
    NoActiveRunError,
    ReferenceDataError,
)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return load_breast_cancer(as_frame=True).frame.iloc[:, [0, 1, 2, 3, -1]]


@pytest.fixture(scope="module")
def trained(frame: pd.DataFrame) -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=10, random_state=0).fit(
        frame.drop(columns="target"), frame["target"]
    )


@pytest.fixture
def client(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient.from_project("churn", base_path=base) as opened:
        yield opened


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("log_param", ("a", 1)),
        ("log_params", ({"a": 1},)),
        ("log_metric", ("a", 1.0)),
        ("log_metrics", ({"a": 1.0},)),
        ("log_artifact", (__file__,)),
        ("log_artifacts", (str(Path(__file__).parent),)),
        ("log_text", ("a", "a.txt")),
        ("log_figure", (object(), "a.png")),
        ("set_tags", ({"a": "b"},)),
        ("log_model", (object(), "model")),
    ],
)
def test_logging_outside_a_run_says_how_to_start_one(
    client: MLOpsClient, verb: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(NoActiveRunError) as caught:
        getattr(client, verb)(*arguments)
    assert caught.value.operation == verb
    assert caught.value.workspace == "churn"
    assert "with client.start_run()" in str(caught.value.hint)


def test_what_is_logged_in_a_run_is_listed(client: MLOpsClient, tmp_path: Path) -> None:
    file = tmp_path / "report.csv"
    file.write_text("a\n1\n")
    with client.start_run("first", tags={"team": "x"}, description="Why", params={"depth": 3}) as run:
        client.log_param("lr", 0.1)
        client.log_params({"seed": 7})
        client.log_metric("loss", 0.5, step=0)
        client.log_metrics({"loss": 0.25, "nan": math.nan}, step=1)
        client.log_artifact(file, "tables")
        client.log_text("hello", "notes/a.txt")
        client.set_tags({"stage": "dev"})
    with client.start_run("second"):
        pass
    second, first = client.list_runs()
    assert (first["run_id"], first["run_name"], first["status"]) == (run.run_id, "first", "FINISHED")
    assert first["params"] == {"depth": "3", "lr": "0.1", "seed": "7"}
    assert first["metrics"]["loss"] == 0.25
    assert math.isnan(first["metrics"]["nan"])
    assert (first["tags"]["team"], first["tags"]["stage"]) == ("x", "dev")
    assert first["duration"] >= 0
    assert first["start_time"].tzinfo is not None
    assert second["start_time"] >= first["start_time"]
    assert [r["run_name"] for r in client.list_runs(limit=1)] == ["second"]
    assert {f["name"] for f in client.get_artifacts("file")} == {"tables/report.csv", "notes/a.txt"}


def test_the_users_exception_passes_unchanged_and_the_run_failed(client: MLOpsClient) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught, client.start_run():
        client.log_metric("loss", 1.0)
        raise error
    assert caught.value is error
    (run,) = client.list_runs()
    assert (run["status"], run["metrics"]) == ("FAILED", {"loss": 1.0})


def test_ctrl_c_leaves_a_killed_run_and_no_active_one(client: MLOpsClient) -> None:
    with pytest.raises(KeyboardInterrupt), client.start_run():
        raise KeyboardInterrupt
    assert client.list_runs()[0]["status"] == "KILLED"
    with pytest.raises(NoActiveRunError):
        client.log_metric("loss", 1.0)


def test_after_a_nested_run_the_outer_one_goes_on(client: MLOpsClient) -> None:
    with client.start_run("outer") as outer:
        with client.start_run("inner", nested=True):
            client.log_metric("m", 1.0)
        client.log_metric("m", 2.0)
    inner_run, outer_run = (
        next(r for r in client.list_runs() if r["run_name"] == n) for n in ("inner", "outer")
    )
    assert (inner_run["metrics"], outer_run["metrics"]) == ({"m": 1.0}, {"m": 2.0})
    assert inner_run["tags"]["mlflow.parentRunId"] == outer.run_id


def test_data_is_linked_with_the_run_and_comes_back_by_run(client: MLOpsClient, tmp_path: Path) -> None:
    file = tmp_path / "train data.csv"
    file.write_text("a\n1\n")
    with client.start_run() as run:
        first = client.dvc_add(file)
    client.dvc_push()
    file.write_text("a\n2\n")
    second = client.dvc_add(file)
    client.dvc_push()
    assert first.md5 != second.md5
    assert (tmp_path / "train data.csv.dvc").exists()
    assert first.md5 in json.dumps(client.list_runs()[0]["tags"])
    (dataset,) = client.tracking.datasets(run.run_id)
    assert dataset["digest"] == first.digest

    restored = tmp_path / "restored.csv"
    client.dvc_pull(run_id=run.run_id, destination=restored)
    assert restored.read_text() == "a\n1\n"
    file.unlink()
    client.dvc_pull(file)
    assert file.read_text() == "a\n2\n"
    with client.start_run() as empty, pytest.raises(DataNotFoundError, match="has no data versions"):
        client.dvc_pull(run_id=empty.run_id)
    with pytest.raises(DataNotFoundError, match=r"missing\.csv"):
        client.dvc_add(tmp_path / "missing.csv")


def test_from_model_to_answers_over_http(
    client: MLOpsClient, trained: RandomForestClassifier, frame: pd.DataFrame
) -> None:
    features = frame.drop(columns="target")
    with client.start_run():
        version = client.log_model(trained, "classifier", input_example=features.head())
    assert (version.full_name, version.version) == ("churn.classifier", "1")
    deployment = client.deploy_model(version)
    assert deployment.tag == "churn.classifier:1"
    assert client.deploy_model("classifier").tag == deployment.tag
    assert client.deploy_model(version.run_id).tag == deployment.tag
    with client.serve(deployment) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.predict(features.head(5)) == trained.predict(features.head(5)).tolist()
    assert client.get_stats()["total_bentos"] == 1
    for missing in ("other", "classifier:9"):
        with pytest.raises(ModelNotFoundError):
            client.deploy_model(missing)
    with pytest.raises(ModelNotFoundError, match="classifier"):
        client.deploy_model("classifier", version=7)


def test_a_plain_directory_in_mlflows_format_can_be_deployed(
    client: MLOpsClient, trained: RandomForestClassifier, tmp_path: Path
) -> None:
    import mlflow.sklearn

    directory = tmp_path / "exported"
    mlflow.sklearn.save_model(
        trained, directory, serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
    )
    deployment = client.deploy_model(directory, name="plain", version="v1", build_bento=False)
    assert (deployment.model_tag, deployment.bento_tag) == ("churn.plain:v1", None)
    with pytest.raises(ModelNotFoundError, match="MLmodel"):
        client.deploy_model(tmp_path)


def test_a_shifted_batch_is_found_and_its_numbers_are_on_the_run(base: Path, frame: pd.DataFrame) -> None:
    data = frame.assign(prediction=frame["target"])
    columns = {"target_column": "target", "prediction_column": "prediction"}
    MLOpsClient.from_project("churn", base_path=base).set_reference_data(data, **columns)

    client = MLOpsClient.from_project("churn", base_path=base)  # knows only what is on disk
    shifted = data.assign(**{"mean radius": data["mean radius"] * 2}).sample(300, random_state=0)
    with client.start_run() as run:
        result = client.monitor_predictions(shifted, latency_ms=[1.0, 3.0], memory_mb=512.0)
    drifted = {name for name, column in result.columns.items() if column.drifted}
    assert drifted == {"mean radius"}
    assert result.performance["accuracy"] == 1.0
    (logged,) = client.list_runs()
    assert logged["run_id"] == run.run_id
    assert logged["tags"]["mlops.snapshot"] == result.snapshot_id
    assert logged["metrics"]["drift.share"] == pytest.approx(result.drift_share)
    with pytest.raises(ReferenceDataError, match="no_such_column"):
        client.monitor_predictions(shifted, target_column="no_such_column")


def test_monitoring_needs_a_reference(client: MLOpsClient, frame: pd.DataFrame) -> None:
    with pytest.raises(ReferenceDataError) as caught:
        client.monitor_predictions(frame)
    assert "set_reference_data" in str(caught.value.hint)


def test_status_and_statistics_are_exact(client: MLOpsClient, tmp_path: Path) -> None:
    status = client.get_status()
    assert status["project_name"] == "churn"
    assert status["workspace_path"] == str(client.workspace_path)
    assert status["workspace"]["project_name"] == "churn"
    tools = ("mlflow", "dvc", "bentoml", "evidently")
    assert {status[tool]["state"] for tool in tools} == {"not-created"}

    for n in range(120):
        try:
            with client.start_run(f"run-{n}"):
                if n % 4 == 0:
                    raise RuntimeError
        except RuntimeError:
            pass
    file = tmp_path / "a.csv"
    file.write_text("a")
    client.dvc_add(file)
    stats = client.get_stats()
    assert (stats["total_runs"], stats["completed_runs"], stats["failed_runs"]) == (120, 90, 30)
    assert (stats["total_data_versions"], stats["total_models"], stats["total_artifacts"]) == (1, 0, 1)
    assert stats["created_at"] == client.workspace.created_at.isoformat()
    assert len(client.list_runs()) == 100
    assert len(client.list_runs(limit=None)) == 120
    status = client.get_status()
    assert (status["mlflow"]["state"], status["mlflow"]["summary"]["runs"]) == ("ready", 120)
    assert json.loads(json.dumps(status)) == status
    usage = client.get_storage_usage()
    assert usage["mlflow_bytes"] > 0
    assert usage["total_bytes"] >= usage["mlflow_bytes"] + usage["dvc_bytes"]

    exported = client.export_metadata(tmp_path / "out" / "churn.json")
    document = json.loads(exported.read_text())
    assert (document["schema"], len(document["runs"])) == (1, 120)
    assert document["stats"]["total_runs"] == 120
    assert datetime.fromisoformat(document["exported_at"]).tzinfo is not None


def test_an_unknown_artifact_type_is_refused(client: MLOpsClient) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        client.get_artifacts("nonsense")


def test_reading_an_empty_project_creates_nothing(client: MLOpsClient) -> None:
    before = sorted(client.workspace_path.rglob("*"))
    assert client.list_runs() == []
    assert client.get_artifacts() == []
    assert client.get_stats()["total_runs"] == 0
    assert client.dvc_status() == []
    client.get_status()
    client.get_storage_usage()
    assert sorted(client.workspace_path.rglob("*")) == before


def test_numbers_of_numpy_are_metrics_and_text_is_not(client: MLOpsClient) -> None:
    with client.start_run():
        client.log_metrics({"a": np.float32(0.5), "b": np.int64(3)})
        with pytest.raises(Exception, match="thermal_state") as caught:
            client.log_metrics({"ok": 1.0, "thermal_state": "nominal"})  # type: ignore[dict-item]
        assert caught.type.__module__ == "mlops.errors"
    assert client.list_runs()[0]["metrics"] == {"a": 0.5, "b": 3.0}


def test_a_second_client_of_the_project_logs_to_its_open_run(base: Path) -> None:
    data = Path("train.csv")
    data.write_text("a\n1\n")
    with MLOpsClient.from_project("churn", base_path=base).start_run() as run:
        version = MLOpsClient.from_project("churn", base_path=base).dvc_add(data)
        MLOpsClient.from_project("retail", base_path=base).dvc_add(data)
    client = MLOpsClient.from_project("churn", base_path=base)
    assert [use["digest"] for use in client.tracking.datasets(run.run_id)] == [version.md5]
