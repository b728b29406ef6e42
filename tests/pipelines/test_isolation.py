"""Steps in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops import MLOpsClient, StepError, step
from mlops.errors import PipelineError


class OwnError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"own error {code}")
        self.code = code


def test_a_step_that_takes_too_long_is_really_stopped(client: MLOpsClient, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    @step(timeout=0.5)
    def endless() -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        mark.write_text(f"{os.getpid()} {child.pid}")
        while True:
            pass

    pipeline = client.create_pipeline("p").add_step(endless)
    with pytest.raises(StepError, match=r"stopped after 0\.5 s") as caught:
        pipeline.run()
    assert isinstance(caught.value.__cause__, TimeoutError)
    pids = [int(pid) for pid in mark.read_text().split()]
    until = time.monotonic() + 10
    while any(_lives(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in pids)
    assert {run["status"] for run in client.tracking.list_runs(limit=None)} == {"FAILED"}
    assert not list((client.workspace.state_path / "staging").glob("*.step"))


def test_values_errors_and_logs_come_back_from_a_process_of_its_own(client: MLOpsClient) -> None:
    offset = 10

    @step(isolate=True, map="item", outputs=["sums", "pids"])
    def work(item: int) -> tuple[int, int]:
        import mlflow

        mlflow.log_metric(f"plain{item}", item)
        client.log_metric(f"ours{item}", item)
        if item == 3:
            raise OwnError(item)
        return item + offset, os.getpid()

    pipeline = client.create_pipeline("p").add_step(work)
    run = pipeline.run(params={"item": [1]})
    assert run.outputs["sums"] == [11]
    assert run.outputs["pids"] != [os.getpid()]
    step_run = client.get_run(run.steps["work"].run_id or "")
    assert step_run["status"] == "FINISHED"
    assert step_run["metrics"] == {"plain1": 1.0, "ours1": 1.0}
    with pytest.raises(StepError, match="OwnError: own error 3") as caught:
        pipeline.run(params={"item": [3]})
    cause = caught.value.__cause__
    assert isinstance(cause, OwnError)
    assert cause.code == 3
    assert "in work" in "".join(cause.__notes__)
    failed = client.tracking.list_runs(limit=None)
    assert [r["status"] for r in failed if r["params"].get("item") == "[3]"] == ["FAILED", "FAILED"]


def test_a_process_that_dies_is_an_error_that_says_how(client: MLOpsClient) -> None:
    @step(isolate=True)
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(StepError, match="The process of the step 'die' ended by signal SIGKILL") as caught:
        client.create_pipeline("p").add_step(die).run()
    assert isinstance(caught.value.__cause__, PipelineError)
    assert caught.value.__cause__.details == {"exit_code": -9}


def test_what_cannot_travel_is_refused_with_a_reason(client: MLOpsClient) -> None:
    @step(isolate=True)
    def use(connection: Any) -> None: ...

    with pytest.raises(StepError, match="The step 'use' cannot run in a process of its own") as caught:
        client.create_pipeline("p").add_step(use).run(params={"connection": threading.Lock()})
    assert isinstance(caught.value.__cause__, PipelineError)


def test_ctrl_c_stops_the_processes_of_steps_side_by_side(
    client: MLOpsClient, interrupt_when: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    def endless(name: str) -> Any:
        def work() -> None:
            (tmp_path / name).write_text(str(os.getpid()))
            time.sleep(60)

        return step(work, name=name, inputs=[], isolate=True, retry=3)

    pipeline = client.create_pipeline("p").add_step(endless("a")).add_step(endless("b"))
    interrupt_when(lambda: all((tmp_path / name).exists() for name in "ab"))
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    assert not any(_lives(int((tmp_path / name).read_text())) for name in "ab")
    assert {run["status"] for run in client.tracking.list_runs(limit=None)} == {"KILLED"}


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
