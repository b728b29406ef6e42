"""Serving one scikit-learn model: against MLflow's own server, and against a service written by hand.

Each server has one worker. The load is closed loops on kept connections; the processor time is that of the
processes of the server, whatever the load generator takes. Ours logs every prediction, as is its default.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks.measure import Ratio

CONNECTIONS = 4
ROUNDS = 8
REQUESTS = {1: 200, 100: 120}  # by the rows of a request
STARTING_SECONDS = 180

# What a person writes who wants typed rows: no library of ours, no log of predictions.
BY_HAND = """
import bentoml, joblib, pandas as pd, pydantic

class Flower(pydantic.BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float

@bentoml.service
class ByHand:
    def __init__(self) -> None:
        self.model = joblib.load("model.joblib")

    @bentoml.api
    def predict(self, rows: list[Flower]) -> list[int]:
        frame = pd.DataFrame([row.model_dump() for row in rows])
        return self.model.predict(frame).tolist()
"""


@dataclass
class Target:
    """A running server and what one request to it is; ``wall`` and ``cpu`` are seconds per request."""

    port: int
    pid: int
    path: str
    key: str
    wall: dict[int, list[float]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)

    def load(self, rows: list[dict[str, float]], requests: int) -> None:
        body = json.dumps({self.key: rows}).encode()
        before, start = self._cpu_seconds(), time.perf_counter()
        threads = [
            threading.Thread(target=self._ask, args=(body, requests // CONNECTIONS))
            for _ in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.wall.setdefault(len(rows), []).append((time.perf_counter() - start) / requests)
        # The log is written within half a second; that is part of the cost.
        time.sleep(0.7)
        self.cpu.setdefault(len(rows), []).append((self._cpu_seconds() - before) / requests)

    def best(self, of: dict[int, list[float]], rows: int) -> float:
        # The least of the rounds: what else runs on the machine only adds.
        return min(of[rows])

    def _ask(self, body: bytes, times: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for _ in range(times):
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, answer
        connection.close()

    def _cpu_seconds(self) -> float:
        server = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
        return sum(taken.user + taken.system for taken in times)


@contextmanager
def started(command: list[str], port: int, *, cwd: Path, health: str, **environment: str) -> Iterator[int]:
    with (cwd / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + STARTING_SECONDS
        while not healthy(port, health):
            assert process.poll() is None and time.monotonic() < deadline, (cwd / "log").read_text()[-3000:]
            time.sleep(0.2)
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
        for left in family:
            if left.is_running():
                left.kill()


def healthy(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(scratch: Path) -> list[Ratio]:
    import joblib
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from mlops import MLOpsClient

    features, target = load_iris(return_X_y=True, as_frame=True)
    features.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    model = LogisticRegression(max_iter=500).fit(features, target)
    rows = {count: features.head(count).to_dict("records") for count in REQUESTS}

    saved, by_hand = scratch / "saved", scratch / "by-hand"
    by_hand.mkdir(parents=True)
    mlflow.sklearn.save_model(
        model, saved, signature=infer_signature(features, model.predict(features)), pip_requirements=[]
    )
    joblib.dump(model, by_hand / "model.joblib")
    (by_hand / "service.py").write_text(BY_HAND)

    client = MLOpsClient.from_project("ours", base_path=scratch / "base")
    client.serving.deploy(saved, model="iris", version="1")
    programs = Path(sys.executable).parent
    ports = free_port(), free_port()
    with ExitStack() as stack:
        server = stack.enter_context(client.serving.serve("iris"))
        mlflow_pid = stack.enter_context(
            started(
                [
                    *(str(programs / "mlflow"), "models", "serve", "-m", str(saved), "-h", "127.0.0.1"),
                    *("-p", str(ports[0]), "--env-manager", "local"),
                ],
                ports[0],
                cwd=saved,
                health="/ping",
                # It starts uvicorn by its name, with a worker per processor.
                PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
                MLFLOW_MODELS_WORKERS="1",
            )
        )
        by_hand_pid = stack.enter_context(
            started(
                [
                    *(sys.executable, "-m", "bentoml", "serve", "service:ByHand"),
                    *("--host", "127.0.0.1", "--port", str(ports[1])),
                ],
                ports[1],
                cwd=by_hand,
                health="/readyz",
                BENTOML_HOME=str(scratch / "home"),
                BENTOML_DO_NOT_TRACK="true",
            )
        )
        ours = Target(server.port, server.pid, "/predict", "rows")
        mlflows = Target(ports[0], mlflow_pid, "/invocations", "dataframe_records")
        bentos = Target(ports[1], by_hand_pid, "/predict", "rows")
        for each in (ours, mlflows, bentos):
            each.load(rows[1], 40)
            each.wall.clear()
            each.cpu.clear()
        for _ in range(ROUNDS):
            for count, requests in REQUESTS.items():
                for each in (mlflows, ours, bentos):
                    each.load(rows[count], requests)
        logged = sum(1 for _ in client.serving.predictions("iris"))
    asked = 40 + ROUNDS * sum(REQUESTS.values())
    assert logged == asked, f"{logged} of {asked} predictions were logged"
    ratios = []
    for count in REQUESTS:
        plural = f"{count} row{'s' if count > 1 else ''}"
        ratios += [
            Ratio(
                f"served request of {plural}, wall time | mlflow models serve",
                mlflows.best(mlflows.wall, count),
                ours.best(ours.wall, count),
                1.5,
            ),
            Ratio(
                f"served request of {plural}, processor time | a service by hand",
                bentos.best(bentos.cpu, count),
                ours.best(ours.cpu, count),
                1 / 1.3,
            ),
        ]
    return ratios
