"""Buffered metrics: what a call costs, what is stored, and what a killed process loses."""

from __future__ import annotations

import contextlib
import math
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric

from mlops import MLOpsClient, WorkspaceManager
from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking, metric_rows, metrics
from mlops.integrations.mlflow_tracking.metrics import Point
from mlops.reporting.doctor import examine
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]
EXTREMES = (math.nan, math.inf, -math.inf, 0.1, -0.0, 5e-324, 1.7e308, -2.5)


@pytest.fixture
def tracking(context: ToolContext) -> MLflowTracking:
    return MLflowTracking(context)


def stored(tracking: MLflowTracking, run_id: str, table: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(tracking.database)) as connection:
        return connection.execute(
            f"SELECT key, value, timestamp, step, is_nan FROM {table} WHERE run_uuid = ?"  # noqa: S608
            " ORDER BY key, timestamp, step, value, is_nan",
            (run_id,),
        ).fetchall()


def test_rows_are_those_that_mlflow_writes(tracking: MLflowTracking) -> None:
    """The same values, some twice and in a muddled order, in batches, by MLflow and by this library."""
    rng = random.Random(7)  # noqa: S311
    points = [
        Point(f"m{rng.randrange(4)}", rng.choice(EXTREMES), 1_700_000_000_000 + rng.randrange(5), step)
        for step in (rng.randrange(-3, 40) for _ in range(1500))
    ]
    points += rng.sample(points, 200)
    client = tracking.client()
    theirs, ours = (client.create_run("0").info.run_id for _ in range(2))
    for start in range(0, len(points), 700):
        batch = points[start : start + 700]
        client.log_batch(theirs, metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in batch])
        assert metric_rows.write(tracking.database, ours, batch)
    for table in ("metrics", "latest_metrics"):
        assert stored(tracking, ours, table) == stored(tracking, theirs, table)
    assert len(stored(tracking, ours, "metrics")) > 1000
    assert client.get_run(ours).data.metrics == client.get_run(theirs).data.metrics


def test_what_cannot_be_written_directly_is_left_to_mlflow(tracking: MLflowTracking) -> None:
    client = tracking.client()
    run_id = client.create_run("0").info.run_id
    point = [Point("m", 1.0, 1, 0)]
    client.delete_run(run_id)
    assert not metric_rows.write(tracking.database, run_id, point)
    assert not metric_rows.write(tracking.database, "0" * 32, point)
    assert not metric_rows.write(tracking.database.with_name("none.db"), run_id, point)
    assert not tracking.database.with_name("none.db").exists()
    client.restore_run(run_id)
    with contextlib.closing(sqlite3.connect(tracking.database)) as connection, connection:
        (head,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = 'of-tomorrow'")
    assert not metric_rows.write(tracking.database, run_id, point)
    with contextlib.closing(sqlite3.connect(tracking.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (head,))
    assert metric_rows.write(tracking.database, run_id, point)
    assert stored(tracking, run_id, "metrics") == [("m", 1.0, 1, 0, 0)]


def test_a_call_is_cheap_and_every_point_arrives(tracking: MLflowTracking) -> None:
    with tracking.start_run() as run:
        mlflow.log_metric("bare", 0.0)
        began = time.perf_counter()
        for step in range(200):
            mlflow.log_metric("bare", 1 / (step + 1), step=step)
        bare = (time.perf_counter() - began) / 200

        tracking.log_metric("loss", 1.0, step=0)
        began, worked = time.perf_counter(), time.thread_time()
        for step in range(1, 10_000):
            tracking.log_metric("loss", 1 / (step + 1), step=step)
        ours, cost = (time.perf_counter() - began) / 9_999, (time.thread_time() - worked) / 9_999
    history = tracking.client().get_metric_history(run.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(10_000)]
    assert cost < 50e-6, f"{cost * 1e6:.0f} us of the training thread per call"
    assert bare / ours > 20, f"mlflow.log_metric takes only {bare / ours:.0f} times as long"


def test_a_loop_faster_than_the_store_waits_for_it(
    tracking: MLflowTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metric_rows.write

    def slow(*arguments: Any) -> bool:
        time.sleep(0.1)
        return real(*arguments)

    monkeypatch.setattr(metric_rows, "write", slow)
    most = 0
    with tracking.start_run() as run:
        for step in range(25_000):
            run.log_metric("m", step, step=step)
            if step % 500 == 0:
                most = max(most, tracking._metrics.pending())
    assert metrics.BATCH_SIZE < most <= metrics.MAX_WAITING
    assert len(tracking.client().get_metric_history(run.run_id, "m")) == 25_000


def test_what_a_thread_logs_while_its_run_ends_is_kept(tracking: MLflowTracking) -> None:
    stop = threading.Event()
    logged = 0

    def work(run: Any) -> None:
        nonlocal logged
        while not stop.is_set():
            run.log_metric("m", logged, step=logged)
            logged += 1

    for _ in range(5):
        logged = 0
        stop.clear()
        with tracking.start_run() as run:
            thread = threading.Thread(target=work, args=(run,))
            thread.start()
            time.sleep(0.05)
        time.sleep(0.02)
        stop.set()
        thread.join()
        tracking.flush()
        assert len(tracking.client().get_metric_history(run.run_id, "m")) == logged


def test_an_error_of_the_background_is_raised_at_the_next_call(tracking: MLflowTracking) -> None:
    with pytest.raises(IntegrationError, match="active") as at_the_end, tracking.start_run() as run:
        tracking.client().delete_run(run.run_id)
        run.log_metric("first", 1)
        deadline = time.monotonic() + 20
        with pytest.raises(IntegrationError, match="active") as caught:
            while time.monotonic() < deadline:
                time.sleep(0.05)
                run.log_metric("later", 1)
        assert (caught.value.operation, caught.value.workspace) == ("log_metric", "churn")
    assert any("were not written" in note for note in at_the_end.value.__notes__)


# Logs as fast as the pause allows, and notes after each point, unbuffered, what is logged and when.
TRAIN = """
import os, sys, time
from mlops import MLOpsClient
client = MLOpsClient.from_project(sys.argv[2], base_path=sys.argv[1])
pause, notes = float(sys.argv[3]), os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT)
with client.start_run("training", params={"lr": 0.1}):
    for step in range(10**9):
        client.log_metric("loss", 1 / (step + 1), step=step)
        if step % 20 == 0 or pause:
            os.write(notes, f"{step} {time.time()}\\n".encode())
        if pause:
            time.sleep(pause)
"""


def test_a_killed_process_loses_a_second_at_most(base: Path, tmp_path: Path) -> None:
    pauses = {"tight": 0.0, "busy": 0.0005, "steady": 0.01, "slow": 0.2}
    seed = random.randrange(10**6)  # noqa: S311
    rng = random.Random(seed)  # noqa: S311
    training = {
        name: subprocess.Popen([sys.executable, "-c", TRAIN, str(base), name, str(pause), tmp_path / name])
        for name, pause in pauses.items()
    }
    killed: dict[str, float] = {}
    try:
        for name, process in training.items():
            deadline = time.monotonic() + 120
            while not (tmp_path / name).exists() or not (tmp_path / name).stat().st_size:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(rng.uniform(1.2, 2.5))
            killed[name] = time.time()
            process.kill()
            process.wait(60)
    finally:
        for process in training.values():
            process.kill()
            process.wait(60)

    assert {f.project for f in examine(WorkspaceManager(base), fix=True) if f.fixed} == set(pauses)
    for name in pauses:
        tracking = MLOpsClient.from_project(name, base_path=base).tracking
        (run,) = tracking.list_runs()
        assert (run["status"], run["params"]) == ("FAILED", {"lr": "0.1"})
        steps = [m.step for m in tracking.client().get_metric_history(run["run_id"], "loss")]
        assert steps == list(range(len(steps)))
        assert run["metrics"]["loss"] == 1 / len(steps)
        notes = [line.split() for line in (tmp_path / name).read_text().splitlines()[:-1]]
        safe = [int(step) for step, moment in notes if float(moment) < killed[name] - 1]
        assert safe, f"{name}: nothing was logged in time (seed {seed})"
        assert len(steps) > safe[-1], f"{name}: more than a second is missing (seed {seed})"
        with contextlib.closing(sqlite3.connect(tracking.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
