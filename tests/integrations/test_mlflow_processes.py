"""Several processes at one project: forked and spawned workers of a run, and independent writers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pytest

from mlops import MLOpsClient
from mlops.integrations.mlflow_tracking import MLflowTracking, Run
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    # Python 3.12 and later, of every fork beside a thread; the tests show that it is safe here.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def tracking(context: ToolContext) -> MLflowTracking:
    return MLflowTracking(context)


def join(workers: list[Any]) -> None:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    hanging = [worker for worker in workers if worker.is_alive()]
    for worker in hanging:
        worker.kill()
    assert not hanging, f"{len(hanging)} of {len(workers)} forked workers hang"
    assert {worker.exitcode for worker in workers} == {0}


def test_a_forked_data_loader_neither_hangs_nor_repeats_nor_loses(
    tracking: MLflowTracking, make_context: MakeContext
) -> None:
    """Workers forked while the run's metrics are being written: some compute, some log and end at once."""
    forking = multiprocessing.get_context("fork")
    other = MLflowTracking(make_context("other"))
    stop = threading.Event()
    logged = 0

    def train(run: Run) -> None:
        nonlocal logged
        while not stop.is_set():
            run.log_metric("parent", logged, step=logged)
            logged += 1
            if logged % 50 == 0:
                time.sleep(0.001)

    def load(batch: int, run: Run) -> None:
        sum(number * number for number in range(10_000))
        if batch % 2:
            for step in range(20):
                run.log_metric(f"loader{batch}", step, step=step)
            mlflow.log_metric(f"plain{batch}", batch)
            mlflow.log_param(f"p{batch}", batch)

    with other.start_run("other"):
        other.log_metric("m", 1)
        with tracking.start_run("training") as run:
            trainer = threading.Thread(target=train, args=(run,))
            trainer.start()
            for turn in range(3):
                join([forking.Process(target=load, args=(turn * 4 + n, run)) for n in range(4)])
            stop.set()
            trainer.join(60)
    found = tracking.get_run(run.run_id)
    assert found["status"] == "FINISHED"
    assert found["params"] == {f"p{batch}": str(batch) for batch in range(1, 12, 2)}
    client = tracking.client()
    history = client.get_metric_history(run.run_id, "parent")
    assert [point.step for point in history] == list(range(logged))
    for batch in range(12):
        steps = [point.step for point in client.get_metric_history(run.run_id, f"loader{batch}")]
        assert steps == (list(range(20)) if batch % 2 else [])
        assert len(client.get_metric_history(run.run_id, f"plain{batch}")) == batch % 2
    assert [r["metrics"] for r in other.list_runs()] == [{"m": 1.0}]
    assert len(tracking.list_runs()) == 1


def test_a_forked_worker_may_have_threads_and_runs_of_its_own(tracking: MLflowTracking) -> None:
    forking = multiprocessing.get_context("fork")

    def work() -> None:
        thread = threading.Thread(target=mlflow.log_metric, args=("of a thread", 1))
        thread.start()
        thread.join()
        with tracking.start_run("child", nested=True) as child:
            child.log_metric("m", 2)
            tracking.models.log(lambda rows: rows, "echo", registered=False)
        with mlflow.start_run(run_name="plain child", nested=True):
            mlflow.log_metric("m", 3)

    with tracking.start_run("parent") as parent:
        join([forking.Process(target=work)])
        assert tracking.active_run is parent
        assert tracking.get_run(parent.run_id)["status"] == "RUNNING"
    runs = {run["run_name"]: run for run in tracking.list_runs()}
    assert set(runs) == {"parent", "child", "plain child"}
    assert runs["parent"]["metrics"] == {"of a thread": 1.0}
    for name, value in (("child", 2.0), ("plain child", 3.0)):
        assert (runs[name]["metrics"], runs[name]["status"]) == ({"m": value}, "FINISHED")
        assert runs[name]["tags"]["mlflow.parentRunId"] == parent.run_id
    assert runs["parent"]["tags"]["mlops.pid"] == str(os.getpid())
    assert runs["child"]["tags"]["mlops.pid"] != str(os.getpid())
    assert not any(Path.cwd().iterdir())


def log_in_worker(run: Run, number: int) -> int:
    for step in range(10):
        run.log_metric(f"w{number}", step, step=step)
    run.log_param(f"p{number}", number)
    return os.getpid()


def test_a_handle_goes_to_processes_that_were_started_anew(tracking: MLflowTracking) -> None:
    with tracking.start_run() as run:
        assert pickle.loads(pickle.dumps(run)).run_id == run.run_id
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            pids = {job.result() for job in [pool.submit(log_in_worker, run, n) for n in range(4)]}
    assert os.getpid() not in pids
    found = tracking.get_run(run.run_id)
    assert found["params"] == {f"p{n}": str(n) for n in range(4)}
    for number in range(4):
        history = tracking.client().get_metric_history(run.run_id, f"w{number}")
        assert [point.step for point in history] == list(range(10))


WRITER = """
import sys
from mlops import MLOpsClient
base, number = sys.argv[1], int(sys.argv[2])
client = MLOpsClient.from_project("churn", base_path=base)
for turn in range(5):
    with client.start_run(f"{number}-{turn}", params={f"p{n}": n for n in range(20)}) as run:
        for step in range(500):
            client.log_metrics({"a": step, "b": -step}, step=step)
        client.log_model(lambda rows: rows, "echo", tags={"writer": number})
with client.start_run(run_id=sys.argv[3]):
    for step in range(500):
        client.log_metric(f"shared{number}", step, step=step)
    client.set_tags({f"t{number}": number})
"""


def test_four_processes_at_one_project_lose_nothing(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    with client.start_run("shared") as shared:
        pass
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(base), str(number), shared.run_id])
        for number in range(4)
    ]
    assert [writer.wait(280) for writer in writers] == [0] * 4
    runs = {run["run_name"]: run for run in client.list_runs(limit=None)}
    assert set(runs) == {"shared"} | {f"{number}-{turn}" for number in range(4) for turn in range(5)}
    store = client.tracking.client()
    for name, run in runs.items():
        assert run["status"] == "FINISHED"
        if name == "shared":
            assert all(run["tags"][f"t{number}"] == str(number) for number in range(4))
            assert run["metrics"] == {f"shared{number}": 499.0 for number in range(4)}
            keys: tuple[str, ...] = tuple(run["metrics"])
        else:
            assert run["params"] == {f"p{n}": str(n) for n in range(20)}
            assert run["metrics"] == {"a": 499.0, "b": -499.0}
            keys = ("a", "b")
        for key in keys:
            points = store.get_metric_history(run["run_id"], key)
            assert [point.step for point in points] == list(range(500))
    versions = client.tracking.models.list("echo")
    assert sorted(int(version.version) for version in versions) == list(range(1, 21))
    assert {version.run_id for version in versions} == {
        run["run_id"] for name, run in runs.items() if name != "shared"
    }
    summary = client.tracking.summary()
    assert (summary["runs"], summary["models"], summary["model_versions"]) == (21, 1, 20)
    assert client.get_stats()["completed_runs"] == 21
