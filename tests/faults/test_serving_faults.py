"""Servers whose model, workers or owner fail: what is left of them, and what the user is told."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops.errors import IntegrationError
from mlops.integrations.bentoml_serving import BentoServing, Deployment
from tests.integrations.serving_children import CHILD, project_in

# Does what its only column says; with truncated weights it does not even load.
MODEL = """
import os, mlflow

class Moody(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        if "truncated" in open(context.artifacts["weights"]).read():
            raise RuntimeError("the weights are truncated")

    def predict(self, context, model_input, params=None):
        mood = model_input["mood"].iloc[0]
        if mood == "value":
            raise ValueError("moods are not negative")
        if mood == "defect":
            raise RuntimeError("a defect of the model")
        if mood == "die":
            os._exit(9)
        return [len(text) for text in model_input["mood"]]

mlflow.models.set_model(Moody())
"""

OWNER = (
    CHILD
    + """
print("starting", flush=True)
server = serving.serve("moody", workers=2, timeout=110)
print(server.pid, server.port, flush=True)
time.sleep(600)
"""
)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> BentoServing:
    return project_in(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def deployment(serving: BentoServing, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    directory = tmp_path_factory.mktemp("saved")
    (directory / "weights.txt").write_text("whole")
    (directory / "moody.py").write_text(MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        mlflow.pyfunc.save_model(
            directory / "model",
            python_model=str(directory / "moody.py"),
            artifacts={"weights": str(directory / "weights.txt")},
            signature=ModelSignature(inputs=Schema([ColSpec("string", "mood")])),
            pip_requirements=[],
        )
    return serving.deploy(directory / "model", model="moody", version="1")


def owner(serving: BentoServing) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(serving.workspace.root_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    return process


def ask(port: int, *moods: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"rows": [{"mood": mood} for mood in moods]})
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def of_project(serving: BentoServing) -> list[psutil.Process]:
    """The processes of the project's servers, by the home that only these have in their environment."""
    root = str(serving.workspace.state_path / "serving")
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BENTOML_HOME", "").startswith(root) and alive(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


def eventually(condition: Callable[[], Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_model_that_does_not_load_is_reported_at_once_with_its_reason(
    serving: BentoServing, deployment: Deployment
) -> None:
    (weights,) = deployment.path.rglob("weights.txt")
    weights.write_text("truncated")
    begun = time.monotonic()
    with pytest.raises(IntegrationError, match="not be loaded by its server: RuntimeError: the weights") as e:
        serving.serve(deployment, timeout=110)
    # Not when the time is up: BentoML would try again and again.
    assert time.monotonic() - begun < 90
    assert "Traceback" in Path(str(e.value.hint).split()[-1]).read_text()
    assert serving.servers() == []
    assert of_project(serving) == []
    weights.write_text("whole")


def test_a_server_outlives_its_model_and_workers_but_not_its_owner(
    serving: BentoServing, deployment: Deployment
) -> None:
    process = owner(serving)
    assert process.stdout is not None
    launcher, port = map(int, process.stdout.readline().split())
    # BentoML's supervisor and both workers.
    assert eventually(lambda: len(of_project(serving)) >= 3, 60)

    assert ask(port, "fine", "good") == (
        200,
        {"predictions": [4, 4], "model": deployment.tag, "version": "1"},
    )
    status, answer = ask(port, "value")
    assert (status, "moods are not negative" in json.dumps(answer)) == (400, True)
    assert ask(port, "defect")[0] == 500
    assert ask(port, "fine")[0] == 200

    # Longer than a log may take to be written.
    time.sleep(1.0)
    # A worker that dies takes its request with it; the other answers meanwhile, and a new one comes.
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(port, "die")
    assert eventually(lambda: answers(port), 60)
    before = {each.pid for each in of_project(serving)}
    workers = [each for each in of_project(serving) if not each.children() and each.pid != launcher]
    workers[-1].kill()
    assert eventually(lambda: answers(port), 60)
    assert eventually(lambda: len({each.pid for each in of_project(serving)}) >= len(before), 60)
    log = max((serving.store.home / "logs").glob("*.log")).read_text()
    assert "a defect of the model" in log

    family = [psutil.Process(launcher), *psutil.Process(launcher).children(recursive=True)]
    assert len(family) >= 4
    process.kill()
    process.communicate()
    assert eventually(lambda: not any(alive(each) for each in family), 20)
    assert of_project(serving) == []
    assert serving.servers() == []
    # What was answered is logged, though every process was killed sooner or later.
    logged = [record["rows"] for record in serving.predictions("moody")]
    assert logged[0] == [{"mood": "fine"}, {"mood": "good"}]
    assert all(rows[0]["mood"] in ("fine", "good") for rows in logged)


def test_an_interrupt_while_a_server_starts_leaves_nothing(
    serving: BentoServing, deployment: Deployment
) -> None:
    process = owner(serving)
    assert eventually(lambda: of_project(serving), 60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    # Interrupted in the act of starting a process, the owner may not know it; that process then ends itself.
    assert eventually(lambda: not of_project(serving), 20)
    homes = serving.workspace.state_path / "serving" / "churn"
    assert eventually(lambda: [*homes.iterdir()] == [], 5)


def answers(port: int) -> bool:
    try:
        return ask(port, "fine")[0] == 200
    except (http.client.HTTPException, OSError):
        return False


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
