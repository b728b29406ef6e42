"""Two projects used at the same time never see each other's things, and nothing global changes."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import IsolationError, MLOpsClient


def use(client: MLOpsClient, work: Path, n: int) -> None:
    """Do one of everything that needs no child process, with content that names the project."""
    mark = client.project_name
    file = work / f"{mark}.csv"
    file.write_text(f"a,b\n{mark},{n}\n")
    with client.start_run(f"{mark}-{n}", params={"project": mark}):
        client.dvc_add(file)
        mlflow.log_metric("plain", n)
        client.log_metric("ours", n)
        model = LogisticRegression().fit([[0.0], [1.0 + n]], [0, 1])
        client.log_model(model, "model", pip_requirements=["scikit-learn"])
        client.log_text(mark, "mark.txt")
    client.dvc_push()
    frame = pd.DataFrame({"x": range(60), "y": [float(n)] * 60})
    client.set_reference_data(frame)
    client.monitor_predictions(frame)


def check(client: MLOpsClient, other: str, times: int) -> None:
    mark = client.project_name
    runs = client.list_runs(limit=None)
    assert len(runs) == times
    assert {run["params"]["project"] for run in runs} == {mark}
    assert all(run["metrics"].keys() == {"plain", "ours"} for run in runs)
    assert {v.full_name for v in client.tracking.models.list()} == {f"{mark}.model"}
    assert len(client.tracking.models.list()) == times
    assert {Path(data.path).name for data in client.data.history()} == {f"{mark}.csv"}
    assert client.get_stats()["total_checks"] == times
    with pytest.raises(IsolationError):
        client.tracking.models.get(f"{other}.model")
    contents = [p.read_bytes() for p in client.workspace_path.rglob("*") if p.is_file()]
    assert not any(other.encode() in content for content in contents)


@pytest.mark.parametrize("together", [False, True], ids=["in turn", "in two threads"])
def test_two_projects_never_meet(base: Path, tmp_path: Path, together: bool) -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    uri = mlflow.get_tracking_uri()
    alpha, beta = (MLOpsClient.from_project(name, base_path=base) for name in ("alphaproject", "betaproject"))
    failures: list[BaseException] = []

    def work(client: MLOpsClient) -> None:
        try:
            for n in range(3):
                use(client, tmp_path, n)
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    if together:
        threads = [threading.Thread(target=work, args=(client,)) for client in (alpha, beta)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for n in range(3):
            use(alpha, tmp_path, n)
            use(beta, tmp_path, n)
    assert failures == []
    for client in (alpha, beta):
        client.close()
    check(alpha, "betaproject", 3)
    check(beta, "alphaproject", 3)

    assert mlflow.get_tracking_uri() == uri
    assert mlflow.active_run() is None
    assert list(Path.cwd().iterdir()) == []
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == (handlers, level)


def test_runs_of_two_projects_can_be_interleaved(base: Path) -> None:
    one, two = (MLOpsClient.from_project(name, base_path=base) for name in ("one", "two"))
    with one.start_run("outer"):
        one.log_metric("m", 1)
        with two.start_run("other"):
            two.log_metric("m", 2)
            one.log_metric("n", 1)
            mlflow.log_metric("plain", 2)
        mlflow.log_metric("plain", 1)
    assert one.list_runs()[0]["metrics"] == {"m": 1, "n": 1, "plain": 1}
    assert two.list_runs()[0]["metrics"] == {"m": 2, "plain": 2}
    assert "mlflow.parentRunId" not in two.list_runs()[0]["tags"]


def test_the_environment_does_not_redirect_a_project(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{base}/elsewhere.db")
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
        client = MLOpsClient.from_project("churn", base_path=base)
        with client.start_run():
            client.log_metric("m", 1)
            mlflow.log_metric("plain", 1)
        assert client.list_runs()[0]["metrics"] == {"m": 1, "plain": 1}
    assert not (base / "elsewhere.db").exists()
