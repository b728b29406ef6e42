from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops import PipelineScheduler
from tests.scheduling.working_directory import scheduler_of

COMMAND = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path"]
WORK = """
import time
def mark():
    with open("mark", "a") as stream:
        stream.write("x")
def slow():
    mark()
    time.sleep(2)
    mark()
def fail():
    raise RuntimeError("no data today")
"""


def mlops(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, str(base), "schedule", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def scheduler(base: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineScheduler:
    """A project whose schedules name functions of a module in the working directory."""
    return scheduler_of(base, WORK, monkeypatch)


def wait_for(path: Path, content: str) -> None:
    until = time.monotonic() + 60
    while not path.exists() or not path.read_text().startswith(content):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_schedules_are_listed_paused_run_and_removed(base: Path, scheduler: PipelineScheduler) -> None:
    scheduler.schedule_daily(name="night", pipeline="scheduled_work:mark", hour=2, timezone="Europe/Berlin")
    shown = mlops(base, "list")
    assert shown.returncode == 0, shown.stderr
    assert "0 2 * * * (Europe/Berlin)" in shown.stdout
    assert mlops(base, "pause", "churn", "night").stdout == "night is paused\n"
    (listed,) = json.loads(mlops(base, "list", "churn", "--json").stdout)
    assert (listed["project"], listed["paused"], listed["next_run"]) == ("churn", True, None)
    assert mlops(base, "run", "churn", "night", "--due").stdout == "night is not due\n"
    assert mlops(base, "resume", "churn", "night").returncode == 0
    ran = mlops(base, "run", "churn", "night")
    assert ran.returncode == 0, ran.stderr
    assert Path("mark").read_text() == "x"
    (run,) = json.loads(mlops(base, "history", "churn", "--json").stdout)
    assert (run["status"], run["attempts"]) == ("FINISHED", 1)
    assert "FINISHED" in mlops(base, "history", "churn", "night").stdout
    assert mlops(base, "remove", "churn", "night").returncode == 0
    assert json.loads(mlops(base, "list", "--json").stdout) == []


def test_failures_are_exit_codes_and_nothing_is_created(base: Path, scheduler: PipelineScheduler) -> None:
    scheduler.schedule_interval(name="bad", pipeline="scheduled_work:fail", seconds=5)
    failed = mlops(base, "run", "churn", "bad")
    assert failed.returncode == 1
    assert "RuntimeError: no data today" in failed.stdout
    unknown = mlops(base, "pause", "churn", "absent")
    assert unknown.returncode == 1
    assert "there are: bad" in unknown.stderr
    for arguments in (["list", "nobody"], ["history", "nobody"], ["run", "nobody", "x"]):
        missing = mlops(base, *arguments)
        assert missing.returncode == 1
        assert "Traceback" not in missing.stderr
    assert not (base / "nobody").exists()
    assert mlops(base, "export", "--format", "cron").returncode == 1
    assert "OnUnitActiveSec=5s" in mlops(base, "export", "--format", "systemd").stdout
    assert mlops(base, "export", "--format", "k8s").returncode == 1
    assert mlops(base, "export", "--format", "nonsense").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_runs_until_a_signal_and_lets_jobs_end(
    base: Path, scheduler: PipelineScheduler, number: signal.Signals
) -> None:
    scheduler.schedule_interval(name="slow", pipeline="scheduled_work:slow", seconds=1)
    process = subprocess.Popen(
        [*COMMAND, str(base), "schedule", "start"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(Path("mark"), "x")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "Running 1 schedule of 1 project " in out
    marks = Path("mark").read_text()
    assert len(marks) % 2 == 0, "a job was cut off"
    assert scheduler.history()[-1].status == "FINISHED"
    assert not any(run.status in ("RUNNING", "INTERRUPTED") for run in scheduler.history())
