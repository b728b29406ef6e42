"""Schedulers that are killed, that compete, and whose project goes away."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops import PipelineScheduler
from mlops.scheduling.history import JobStatus
from mlops.workspace import WorkspaceManager
from tests.scheduling.working_directory import scheduler_of

COMMAND = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path"]
WORK = """
import os, time
def mark():
    with open("mark", "a") as stream:
        stream.write(f"{os.getpid()}\\n")
def hang():
    mark()
    time.sleep(600)
"""


@pytest.fixture
def scheduler(base: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineScheduler:
    return scheduler_of(base, WORK, monkeypatch)


def start(base: Path) -> subprocess.Popen[str]:
    command = [*COMMAND, str(base), "schedule", "start"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Running"), process.communicate()
    return process


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(number)
    process.communicate(timeout=60)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def marks() -> list[str]:
    path = Path("mark")
    return path.read_text().splitlines() if path.exists() else []


def test_two_processes_never_fire_a_job_twice(base: Path, scheduler: PipelineScheduler) -> None:
    names = [f"job{number}" for number in range(4)]
    for name in names:
        scheduler.schedule_interval(name=name, pipeline="scheduled_work:mark", seconds=1)
    processes = [start(base), start(base)]
    try:
        wait_until(lambda: len(set(marks())) == 2 and len(marks()) >= 24)
    finally:
        for process in processes:
            end(process)
    runs = scheduler.history(limit=None)
    fired = Counter((run.schedule, run.scheduled_at) for run in runs)
    assert set(fired.values()) == {1}
    assert len([run for run in runs if run.attempts]) == len(marks())
    assert {run.schedule for run in runs} == set(names)


def test_a_killed_scheduler_leaves_its_job_interrupted_and_blocks_nothing(
    base: Path, scheduler: PipelineScheduler
) -> None:
    scheduler.schedule_interval(name="hang", pipeline="scheduled_work:hang", seconds=1)
    process = start(base)
    wait_until(marks)
    assert scheduler.history()[-1].status is JobStatus.RUNNING
    end(process, signal.SIGKILL)
    before = scheduler.history()
    assert before[-1].status is JobStatus.INTERRUPTED
    scheduler.schedule_interval(name="hang", pipeline="scheduled_work:mark", seconds=1)
    with scheduler:
        wait_until(lambda: scheduler.history()[0].status is JobStatus.FINISHED)
    assert before[-1] in scheduler.history(limit=None)


def test_a_torn_line_of_the_history_costs_nothing(scheduler: PipelineScheduler, base: Path) -> None:
    scheduler.schedule_interval(name="x", pipeline="scheduled_work:mark", hours=1)
    scheduler.run("x")
    file = base / "churn" / "pipelines" / "schedules" / "history.jsonl"
    with file.open("a") as stream:
        stream.write('{"id": "torn')
    assert len(scheduler.history()) == 1
    scheduler.run("x")
    assert [run.status for run in scheduler.history()] == [JobStatus.FINISHED] * 2


def test_a_deleted_project_is_not_created_again(scheduler: PipelineScheduler, base: Path) -> None:
    scheduler.schedule_interval(name="x", pipeline="scheduled_work:mark", seconds=1)
    with scheduler:
        wait_until(marks)
        WorkspaceManager(base).delete_workspace("churn", force=True)
        time.sleep(0.3)
        count = len(marks())
        time.sleep(2)
        assert len(marks()) == count
    assert not (base / "churn").exists()
    assert scheduler.history() == ()


def test_a_full_disk_loses_no_schedule(
    scheduler: PipelineScheduler, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.schedule_interval(name="x", pipeline="scheduled_work:mark", seconds=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("mlops.files.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            scheduler.schedule_daily(name="y", pipeline="scheduled_work:mark", hour=1)
        with pytest.raises(OSError, match="No space"):
            scheduler.run("x")
    assert marks() == []
    assert [schedule.name for schedule in scheduler.list()] == ["x"]
    run = scheduler.run("x")
    assert run is not None
    assert run.status is JobStatus.FINISHED
