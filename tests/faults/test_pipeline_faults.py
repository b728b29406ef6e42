"""Pipelines when processes are killed, disks are full, and several run at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from mlops import MLOpsClient

OPEN = """
import os, sys, time
from pathlib import Path
from mlops import MLOpsClient, step
client = MLOpsClient("churn", base_path=sys.argv[1])
"""


def child(base: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN + textwrap.dedent(code), str(base), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


PIPELINE = """
def load():
    return {"rows": [1, 2, 3]}
def train(load):
    if sys.argv[2] == "stop":
        print("mark", flush=True)
        time.sleep(60)
    return sum(load["rows"])
pipeline = client.create_pipeline("p").add_step(load).add_step(train)
"""


def test_a_killed_run_can_be_resumed_and_nothing_stored_is_lost(base: Path) -> None:
    process = child(base, PIPELINE + "pipeline.run()", "stop")
    assert process.stdout is not None
    assert process.stdout.readline() == "mark\n", process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    client = MLOpsClient("churn", base_path=base)
    (killed,) = client.list_runs("p")
    assert killed["status"] == "RUNNING"
    code = PIPELINE + (
        "run = pipeline.run(resume=sys.argv[3])\n"
        "print(run.outputs['train'], run.steps['load'].cached, run.steps['train'].cached)"
    )
    resumed = child(base, code, "go", killed["run_id"])
    out, err = resumed.communicate(timeout=120)
    assert out == "6 True False\n", err


def test_a_step_of_its_own_process_dies_with_the_pipeline(base: Path) -> None:
    code = """
    @step(isolate=True)
    def work():
        print(os.getpid(), flush=True)
        time.sleep(120)
    client.create_pipeline("p").add_step(work).run()
    """
    process = child(base, code)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert psutil.pid_exists(pid)
    process.kill()
    process.wait()
    process.stdout.close()
    if process.stderr is not None:
        process.stderr.close()
    until = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the step's process outlived the pipeline"
        time.sleep(0.05)


def test_processes_that_run_the_same_pipeline_at_once_disturb_nothing(base: Path) -> None:
    code = """
    @step(cache=True)
    def load(n):
        return list(range(n))
    def total(load):
        return sum(load)
    pipeline = client.create_pipeline("p").add_step(load).add_step(total)
    for n in range(1, 5):
        assert pipeline.run(params={"n": n}).outputs["total"] == n * (n - 1) // 2
    """
    processes = [child(base, code) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=200) == ("", "")
    client = MLOpsClient("churn", base_path=base)
    assert client.get_pipelines() == ["p"]
    assert [run["status"] for run in client.list_runs("p")] == ["FINISHED"] * 8
    assert not list((client.workspace_path / "pipelines").rglob(".*.tmp"))


def test_a_full_disk_fails_the_step_and_leaves_no_half_output(base: Path) -> None:
    code = """
    import resource
    from mlops import StepError
    def small():
        return 1
    def big(small):
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        return os.urandom(4_000_000)
    pipeline = client.create_pipeline("p").add_step(small).add_step(big)
    try:
        pipeline.run()
    except StepError as error:
        print(error.step, type(error.__cause__).__name__)
    """
    out, err = child(base, code).communicate(timeout=120)
    assert out == "big OSError\n", err
    client = MLOpsClient("churn", base_path=base)
    stored = [path for path in (client.workspace_path / "pipelines" / "objects").rglob("*") if path.is_file()]
    assert [path.read_text() for path in stored] == ["1"]
    assert {run["status"] for run in client.list_runs("p")} == {"FAILED"}


@pytest.mark.parametrize("place", ["objects", "cache", "definitions"])
def test_a_file_where_a_directory_belongs_is_an_error_of_the_system(base: Path, place: str) -> None:
    from mlops import StepError, step

    client = MLOpsClient("churn", base_path=base)
    pipeline = client.create_pipeline("p").add_step(step(lambda: 1, name="one", cache=True))
    blocked = client.workspace_path / "pipelines" / place
    if blocked.is_dir():
        import shutil

        shutil.rmtree(blocked)
    blocked.write_text("")
    with pytest.raises((StepError, OSError)):
        pipeline.run()
    assert blocked.read_text() == ""
