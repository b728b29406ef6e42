from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from mlops import WorkspaceManager
from mlops.errors import IntegrationError, IntegrationUnavailableError, WorkspaceNotFoundError
from mlops.ui import MLflowUI
from tests.ui.serving import ask, ui_command, until


def server_of(process: subprocess.Popen[str]) -> psutil.Process:
    (child,) = psutil.Process(process.pid).children()
    return child


def test_one_project_is_all_that_its_own_ui_shows(base: Path, tmp_path: Path) -> None:
    manager = WorkspaceManager(base)
    manager.create_workspace("churn_model")
    manager.create_workspace("fraud")
    with ui_command("mlflow", base, tmp_path, "churn_model") as (process, page):
        assert page.endswith("/#/experiments?workspace=churn-model")
        url = page.partition("/#")[0]
        _, answer = ask(url, "/api/3.0/mlflow/workspaces")
        assert [entry["name"] for entry in answer["workspaces"]] == ["churn-model"]
        # A plain client that names no workspace means the one there is.
        _, answer = ask(url, "/api/2.0/mlflow/experiments/get?experiment_id=0")
        assert answer["experiment"]["name"] == "churn_model"
        assert ask(url, "/api/2.0/mlflow/experiments/get?experiment_id=0", workspace="fraud")[0] == 404
        status, answer = ask(url, "/api/3.0/mlflow/workspaces", body={"name": "new"}, method="POST")
        assert status == 400
        assert "mlops init new" in answer["message"]

        server = server_of(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        assert not server.is_running()
        with pytest.raises(OSError, match="refused"):
            ask(url, "/health")
    assert not list(tmp_path.glob("mlops-ui-*")), "a stopped server leaves nothing behind"
    assert not (base / "churn_model" / "mlflow" / "mlflow.db").exists()


def test_the_server_ends_with_a_killed_owner(base: Path, tmp_path: Path) -> None:
    with ui_command("mlflow", base, tmp_path) as (process, page):
        server = server_of(process)
        process.kill()
        assert until(lambda: not server.is_running())
        assert until(lambda: not list(tmp_path.glob("mlops-ui-*")))
        with pytest.raises(OSError, match="refused"):
            ask(page.partition("/#")[0], "/health")


def test_a_port_in_use_is_known_before_anything_starts(base: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ui = MLflowUI(WorkspaceManager(base), port=port)
        with pytest.raises(IntegrationUnavailableError, match=str(port)):
            ui.start()
        assert ui.pid is None
        with pytest.raises(IntegrationUnavailableError, match="not running"):
            _ = ui.url


def test_a_project_that_is_not_there_is_named(base: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError, match="churn"):
        MLflowUI(WorkspaceManager(base), "churn").start()
    assert not (base / "churn").exists()


def test_a_server_that_cannot_start_says_why_at_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "uvicorn.py").write_text("raise RuntimeError('no server today')")
    ui = MLflowUI(WorkspaceManager(base))
    with monkeypatch.context() as patch, pytest.raises(IntegrationError, match="no server today"):
        patch.setenv("PYTHONPATH", str(broken))
        ui.start()
    assert not ui.running()
    assert ui.log is None
