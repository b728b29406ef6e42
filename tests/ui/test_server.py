"""One real server for all of these: what a person's browser and a plain MLflow client get from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops import WorkspaceManager
from mlops.client import MLOpsClient
from mlops.ui import MLflowUI
from tests.ui.serving import ask, populate, quiet_environment


@dataclass
class Served:
    manager: WorkspaceManager
    url: str
    pid: int
    runs: dict[str, str]
    models: dict[str, str]

    def get(self, path: str, workspace: str | None = None) -> Any:
        return ask(self.url, path, workspace=workspace)

    def post(self, path: str, body: Any, workspace: str | None = None, method: str = "POST") -> Any:
        return ask(self.url, path, workspace=workspace, body=body, method=method)

    def listed(self) -> dict[str, str]:
        status, answer = self.get("/api/3.0/mlflow/workspaces")
        assert status == 200, answer
        return {entry["name"]: entry.get("description", "") for entry in answer.get("workspaces", [])}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Served]:
    manager = WorkspaceManager(tmp_path_factory.mktemp("ui") / "base")
    runs, models = {}, {}
    with quiet_environment(shared_cache):
        for project, best in (("churn_model", 0.5), ("fraud", 0.1)):
            runs[project], models[project] = populate(manager, project, best=best)
        ui = MLflowUI(manager)
        ui.start()
    try:
        yield Served(manager, ui.url, ui.pid or 0, runs, models)
    finally:
        ui.stop()


def test_every_project_is_listed_and_served_from_its_own_database(served: Served) -> None:
    listed = served.listed()
    assert listed["churn-model"] == "All about churn_model"
    assert listed["fraud"] == "All about fraud"
    for project, slug in (("churn_model", "churn-model"), ("fraud", "fraud")):
        search = {"experiment_ids": ["0"]}
        status, answer = served.post("/api/2.0/mlflow/runs/search", search, slug)
        assert status == 200
        (run,) = answer["runs"]
        assert run["info"]["run_name"] == f"training-{project}"
        assert run["data"]["params"] == [{"key": "owner", "value": project}]
        _, answer = served.get("/api/2.0/mlflow/registered-models/search", slug)
        assert [model["name"] for model in answer["registered_models"]] == [f"{project}.clf"]
        run_id = served.runs[project]
        _, answer = served.get(f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=loss", slug)
        assert len(answer["metrics"]) == 10


def test_artifacts_of_runs_and_models_can_be_looked_at_and_downloaded(served: Served) -> None:
    run, model = served.runs["churn_model"], served.models["churn_model"]
    _, answer = served.get(f"/api/2.0/mlflow/artifacts/list?run_id={run}", "churn-model")
    assert [file["path"] for file in answer["files"]] == ["mlops", "notes.txt"]
    assert served.get(f"/get-artifact?run_id={run}&path=notes.txt", "churn-model") == (
        200,
        "notes of churn_model\n",
    )
    path = f"/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files?artifact_file_path=MLmodel"
    status, text = served.get(path, "churn-model")
    assert status == 200
    assert "sklearn" in text
    path = "/model-versions/get-artifact?name=churn_model.clf&version=1&path=MLmodel"
    status, text = served.get(path, "churn-model")
    assert status == 200
    assert "sklearn" in text


def test_ids_of_one_project_mean_nothing_in_another(served: Served) -> None:
    run, model = served.runs["churn_model"], served.models["churn_model"]
    for path in (
        f"/api/2.0/mlflow/runs/get?run_id={run}",
        f"/api/2.0/mlflow/artifacts/list?run_id={run}",
        f"/api/2.0/mlflow/logged-models/{model}",
        "/api/2.0/mlflow/registered-models/get?name=churn_model.clf",
        f"/get-artifact?run_id={run}&path=notes.txt",
    ):
        assert served.get(path, "churn-model")[0] == 200, path
        assert served.get(path, "fraud")[0] == 404, path
    body = {"run_id": run, "key": "loss", "value": 9.0, "timestamp": 1}
    assert served.post("/api/2.0/mlflow/runs/log-metric", body, "fraud")[0] == 404


def test_a_request_that_names_no_project_is_refused(served: Served) -> None:
    status, answer = served.post("/api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]})
    assert status == 400
    assert "MLFLOW_WORKSPACE" in answer["message"]
    status, answer = served.get("/api/2.0/mlflow/registered-models/search", "nobody")
    assert status == 404
    assert "nobody" in answer["message"]


TRAINING = """
import mlflow, numpy
from sklearn.linear_model import LinearRegression
with mlflow.start_run(run_name="over-http") as run:
    mlflow.log_metric("loss", 0.25)
    mlflow.log_text("sent", "sent.txt")
    mlflow.sklearn.log_model(LinearRegression().fit(numpy.eye(2), [1.0, 2.0]), name="net",
                             registered_model_name="churn_model.net", pip_requirements=["scikit-learn"])
mlflow.set_experiment("second")
with mlflow.start_run():
    mlflow.log_text("second", "second.txt")
model = mlflow.pyfunc.load_model("models:/churn_model.net/1")
assert [round(value) for value in model.predict(numpy.eye(2))] == [1, 2]
print(run.info.run_id)
"""


def test_plain_mlflow_code_trains_against_the_server(served: Served, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": served.url,
        "MLFLOW_WORKSPACE": "churn-model",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAINING],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == [tmp_path / "cwd"], "nothing may be left where it ran"

    run_id = done.stdout.split()[-1]
    workspace = served.manager.get_workspace("churn_model")
    assert (
        workspace.mlflow_path / "artifacts" / "0" / run_id / "artifacts" / "sent.txt"
    ).read_text() == "sent"
    assert [path.read_text() for path in workspace.mlflow_path.rglob("second.txt")] == ["second"]
    client = MLOpsClient("churn_model", workspace_manager=served.manager)
    assert "over-http" in {run["run_name"] for run in client.list_runs()}
    other = MLOpsClient("fraud", workspace_manager=served.manager)
    assert [run["run_name"] for run in other.list_runs()] == ["training-fraud"]


def test_artifacts_sent_through_the_server_stay_in_the_project(served: Served) -> None:
    path = "/api/2.0/mlflow-artifacts/artifacts"
    assert served.post(f"{path}/0/sent/proxied.txt", b"by proxy", "fraud", "PUT")[0] == 200
    workspace = served.manager.get_workspace("fraud")
    assert (workspace.mlflow_path / "artifacts" / "0" / "sent" / "proxied.txt").read_bytes() == b"by proxy"
    assert served.get(f"{path}/0/sent/proxied.txt", "fraud") == (200, "by proxy")
    _, answer = served.get(f"{path}?path=0/sent", "fraud")
    assert [file["path"] for file in answer["files"]] == ["proxied.txt"]

    assert served.get(f"{path}/0/sent/proxied.txt", "churn-model")[0] == 404
    assert served.get(f"{path}/workspaces/fraud/0/sent/proxied.txt", "churn-model")[0] == 400
    assert served.get(f"{path}/../../fraud/mlflow/mlflow.db", "churn-model")[0] in (400, 404)
    assert served.post(f"{path}/0/x.txt", b"whose?", None, "PUT")[0] == 400
    status, answer = served.post(
        "/api/2.0/mlflow/experiments/create",
        {"name": "spy", "artifact_location": (workspace.mlflow_path / "artifacts").as_uri()},
        "churn-model",
    )
    assert status == 400
    assert "artifact_location" in answer["message"]


def test_projects_come_and_go_while_the_server_runs(served: Served) -> None:
    served.manager.create_workspace("passing")
    assert "passing" in served.listed()
    status, answer = served.post("/api/2.0/mlflow/runs/create", {"experiment_id": "0"}, "passing")
    assert status == 200
    run = answer["run"]["info"]["run_id"]
    served.manager.delete_workspace("passing", force=True)
    assert "passing" not in served.listed()
    assert served.get(f"/api/2.0/mlflow/runs/get?run_id={run}", "passing")[0] == 404
    served.manager.restore_workspace("passing")
    assert served.get(f"/api/2.0/mlflow/runs/get?run_id={run}", "passing")[0] == 200
    served.manager.delete_workspace("passing", force=True)


def test_workspaces_are_made_described_and_deleted_as_projects(served: Served) -> None:
    path = "/api/3.0/mlflow/workspaces"
    status, _ = served.post(path, {"name": "made-here", "description": "first"})
    assert status == 201
    assert served.manager.get_workspace("made-here").description == "first"
    status, _ = served.post(f"{path}/made-here", {"description": "second"}, method="PATCH")
    assert status == 200
    assert served.manager.get_workspace("made-here").description == "second"
    assert served.listed()["made-here"] == "second"

    for name, problem in (
        ("latest", "reserved"),
        ("churn-model", "collides"),
        ("made-here", "already exists"),
        ("x" * 41, "1 to 40 characters"),
    ):
        status, answer = served.post(path, {"name": name})
        assert status == 400, answer
        assert problem in answer["message"]
    status, answer = served.post(path, {"name": "elsewhere", "default_artifact_root": "s3://bucket/x"})
    assert status == 400
    assert "default_artifact_root" in answer["message"]
    assert "elsewhere" not in served.listed()

    status, answer = served.post(f"{path}/fraud", None, method="DELETE")
    assert status == 409, "a status that clients do not try again for minutes"
    assert "1 runs" in answer["message"]
    assert "mlops delete fraud" in answer["message"]
    status, _ = served.post(f"{path}/fraud?mode=CASCADE", None, method="DELETE")
    assert status == 409
    assert served.get(f"/api/2.0/mlflow/runs/get?run_id={served.runs['fraud']}", "fraud")[0] == 200

    assert served.post(f"{path}/made-here", None, method="DELETE")[0] == 204
    assert "made-here" not in served.listed()
    assert served.manager.restore_workspace("made-here").description == "second"
    served.manager.delete_workspace("made-here", force=True)


def test_a_broken_or_remote_project_answers_with_its_reason(served: Served) -> None:
    served.manager.create_workspace("broken")
    workspace = served.manager.create_workspace("away", mlflow_tracking_uri="http://127.0.0.1:9/")
    (served.manager.base_path / "broken" / "workspace.yaml").write_text("]")
    try:
        listed = served.listed()
        assert "cannot be opened" in listed["broken"]
        assert "http://127.0.0.1:9/" in listed["away"]
        for slug, reason in (("broken", "not valid YAML"), ("away", "http://127.0.0.1:9/")):
            started = time.monotonic()
            status, answer = served.post("/api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}, slug)
            assert status == 409
            assert reason in answer["message"]
            assert time.monotonic() - started < 5
        status, _ = served.post(
            "/api/3.0/mlflow/workspaces/away", {"description": f"far {listed['away']}"}, method="PATCH"
        )
        assert status == 200
        assert served.manager.get_workspace("away").description == "far", "the note is not stored"
        assert workspace.root_path.is_dir()
    finally:
        served.manager.delete_workspace("broken", force=True)
        served.manager.delete_workspace("away", force=True)


def test_only_this_computer_can_connect_and_one_process_serves(served: Served) -> None:
    import psutil

    process = psutil.Process(served.pid)
    assert process.children(recursive=True) == []
    listening = [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [address.ip for address in listening] == ["127.0.0.1"]


def test_many_projects_need_few_open_files(served: Served) -> None:
    import resource

    import psutil

    from mlops.integrations.mlflow_tracking import store

    process = psutil.Process(served.pid)
    names = [f"many-{number}" for number in range(15)]
    for name in names:
        store.ensure(served.manager.create_workspace(name), operation="test")
    before = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
    # Were a connection to each database left open, these would be thirty files.
    resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (process.num_fds() + 12, before[1]))
    try:
        for name in names:
            assert served.post("/api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}, name)[0] == 200
            assert served.get("/api/2.0/mlflow/registered-models/search", name)[0] == 200
    finally:
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, before)
        for name in names:
            served.manager.delete_workspace(name, force=True)
