"""What the doctor finds in a base, and the runs it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.cli import main
from mlops.errors import WorkspaceNotFoundError
from mlops.integrations.mlflow_tracking import processes
from mlops.reporting.doctor import Check, Finding, examine

# Opens runs and waits to be killed: a nested plain MLflow run in one with a metric, and one without any.
TRAIN = """
import sys, time
import mlflow
from mlops import MLOpsClient
client = MLOpsClient.from_project("churn", base_path=sys.argv[1])
client.start_run("quiet").__enter__()
with client.start_run("training", nested=True) as run, mlflow.start_run(run_name="child", nested=True):
    run.log_metric("loss", 0.5)
    client.tracking.flush()
    print("ready", flush=True)
    time.sleep(600)
"""


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def checks(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.project, str(finding.check)) for finding in findings]


Doctor = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def doctor(base: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """The command, in this process."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--base-path", str(base), "doctor", *arguments])
        printed = capsys.readouterr()
        code = int(ended.value.code or 0)
        return subprocess.CompletedProcess(["doctor", *arguments], code, printed.out, printed.err)

    return run


def test_runs_of_a_killed_process_are_found_and_ended(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    manager = WorkspaceManager(base)
    with subprocess.Popen([sys.executable, "-c", TRAIN, str(base)], stdout=subprocess.PIPE) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == b"ready\n"
        with client.start_run("mine") as mine:
            # Whoever is at work is left alone.
            assert examine(manager, fix=True) == []
            training.send_signal(signal.SIGKILL)
            time.sleep(0.2)  # killed, and still in the process table until it is waited for
            killed = datetime.now(UTC)
            found = examine(manager)
            assert checks(found) == [("churn", "crashed-run")] * 3
    before = files(base)
    found = examine(manager)
    assert checks(found) == [("churn", "crashed-run")] * 3
    assert {finding.details["pid"] for finding in found} == {str(training.pid)}
    assert files(base) == before

    fixed = examine(manager, fix=True)
    assert all(finding.fixed for finding in fixed)
    assert len(fixed) == 3
    runs = {run["run_name"]: run for run in client.list_runs()}
    assert {name: run["status"] for name, run in runs.items()} == {
        "quiet": "FAILED",
        "training": "FAILED",
        "child": "FAILED",
        "mine": "FINISHED",
    }
    (point,) = client.tracking.client().get_metric_history(runs["training"]["run_id"], "loss")
    assert runs["training"]["end_time"].timestamp() * 1000 == point.timestamp
    assert runs["training"]["metrics"] == {"loss": 0.5}
    assert runs["quiet"]["end_time"] > killed
    for name in ("quiet", "training", "child"):
        assert f"the process {training.pid}" in runs[name]["tags"][processes.CLOSED_TAG]
    assert processes.CLOSED_TAG not in client.tracking.get_run(mine.run_id)["tags"]
    assert examine(manager) == []

    # Taken up again, it is an ordinary run.
    with client.start_run(run_id=runs["training"]["run_id"]) as again:
        client.log_metric("loss", 0.25, step=1)
        assert examine(manager) == []
    resumed = client.tracking.get_run(again.run_id)
    assert (resumed["status"], resumed["metrics"]) == ("FINISHED", {"loss": 0.25})
    assert processes.CLOSED_TAG not in resumed["tags"]


def test_a_run_of_code_that_knows_nothing_of_projects_is_ended_too(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    code = """
import mlflow, os
mlflow.start_run(run_name="plain")
mlflow.log_metric("m", 1)
os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base), "env"]
    settings = subprocess.run([*command, "churn"], capture_output=True, text=True, check=True).stdout
    script = f"{settings}\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, check=False).returncode == -9
    (run,) = client.list_runs()
    assert (run["run_name"], run["status"]) == ("plain", "RUNNING")
    (finding,) = examine(WorkspaceManager(base), fix=True)
    assert (finding.check, finding.fixed) == (Check.CRASHED_RUN, True)
    assert client.list_runs()[0]["status"] == "FAILED"


def test_the_command_exits_1_until_everything_is_fixed(base: Path, doctor: Doctor) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    MLOpsClient.from_project("fraud", base_path=base)
    assert doctor().returncode == 0
    run_id = client.tracking.client().create_run("0", run_name="lost", tags=gone()).info.run_id

    reported = doctor("churn", "--json")
    assert reported.returncode == 1, reported.stderr
    (finding,) = json.loads(reported.stdout)
    assert [*finding] == ["project", "check", "message", "hint", "problem", "fixable", "fixed", "details"]
    assert (finding["check"], finding["problem"], finding["fixed"]) == ("crashed-run", True, False)
    assert finding["fixable"] is True
    assert finding["details"]["run_id"] == run_id
    assert doctor("fraud").returncode == 0
    text = doctor()
    assert text.returncode == 1
    assert f"problem: churn: The run lost ({run_id}) is RUNNING" in text.stdout
    assert "mlops doctor --fix" in text.stdout
    assert text.stdout.endswith("1 problem; --fix puts it right.\n")

    mended = doctor("--fix")
    assert mended.returncode == 0, mended.stderr
    assert mended.stdout.startswith("fixed: churn: ")
    assert mended.stdout.endswith("\n1 fixed.\n")
    assert client.list_runs()[0]["status"] == "FAILED"
    assert "Nothing is wrong" in doctor("--deep").stdout
    missing = doctor("nothing")
    assert (missing.returncode, "Workspace does not exist" in missing.stderr) == (1, True)


def gone(**changes: str) -> dict[str, str]:
    """The tags of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    own = processes.own_tags()
    return {**own, processes.PID_TAG: str(process.pid), processes.STARTED_TAG: "1.0", **changes}


def test_what_runs_elsewhere_or_by_itself_is_unknown_and_never_ended(base: Path, doctor: Doctor) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    store = client.tracking.client()
    store.create_run("0", run_name="elsewhere", tags=gone(**{processes.HOST_TAG: "gpu-7"}))
    store.create_run("0", run_name="plain")
    store.create_run("0", run_name="orphan", tags={"mlflow.parentRunId": "0" * 32})

    found = examine(WorkspaceManager(base), "churn", fix=True)
    assert checks(found) == [("churn", "open-run")] * 3
    assert not any(finding.problem or finding.fixed for finding in found)
    by_message = " ".join(finding.message for finding in found)
    assert "on gpu-7, which cannot be checked from here: unknown" in by_message
    assert {run["status"] for run in client.list_runs()} == {"RUNNING"}
    told = doctor()
    assert told.returncode == 0
    assert told.stdout.endswith("\n3 notes.\n")


def test_a_process_id_that_was_given_again_is_another_process() -> None:
    own = processes.own_tags()
    assert processes.state(own) is processes.ProcessState.ALIVE
    later = own | {processes.STARTED_TAG: str(float(own[processes.STARTED_TAG]) - 60)}
    assert processes.state(later) is processes.ProcessState.GONE
    for odd in ({}, own | {processes.PID_TAG: "x"}, own | {processes.HOST_TAG: "other"}):
        assert processes.state(odd) is processes.ProcessState.UNKNOWN


def test_damaged_and_misplaced_workspaces_are_reported_and_left_alone(base: Path, tmp_path: Path) -> None:
    manager = WorkspaceManager(base)
    for name in ("copied", "good", "linked", "odd", "torn"):
        manager.create_workspace(name)
    (base / "copy").mkdir()
    (base / "copy" / "workspace.yaml").write_bytes((base / "copied" / "workspace.yaml").read_bytes())
    with (base / "odd" / "workspace.yaml").open("a") as stream:
        stream.write("mlflow_uri: http://ml.example\n")
    (base / "torn" / "workspace.yaml").write_text("torn: [")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data.csv").write_text("a\n")
    (base / "linked" / "outputs").rmdir()
    (base / "linked" / "outputs").symlink_to(tmp_path / "elsewhere")
    (base / "good" / "outputs" / "inside").symlink_to(base / "good" / "workspace.yaml")
    (base / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "workspace.yaml").write_bytes((base / "good" / "workspace.yaml").read_bytes())
    before = files(base)

    found = examine(manager, fix=True)
    assert files(base) == before
    assert sorted(checks(found)) == [
        ("copied", "shared-id"),
        ("copy", "name-mismatch"),
        ("copy", "shared-id"),
        ("good", "shared-id"),
        ("linked", "link-out-of-base"),
        ("linked", "shared-store"),
        ("odd", "unknown-key"),
        ("outside", "link-out-of-base"),
        ("outside", "name-mismatch"),
        ("outside", "shared-id"),
        ("outside", "shared-store"),
        ("torn", "corrupt-workspace"),
    ]
    assert all(finding.problem and finding.hint and not finding.fixed for finding in found)
    by_check = {finding.check: finding for finding in found}
    assert by_check[Check.UNKNOWN_KEY].details["keys"] == ["mlflow_uri"]
    assert "not valid YAML" in by_check[Check.CORRUPT].message
    (link,) = next(f for f in found if f.project == "linked").details["links"].items()
    assert link == (str(base / "linked" / "outputs"), str(tmp_path / "elsewhere"))
    assert [f.project for f in examine(manager, "odd")] == ["odd"]
    json.dumps([finding.to_dict() for finding in found])
    with pytest.raises(WorkspaceNotFoundError, match="did you mean 'good'"):
        examine(manager, "goood")


def test_a_store_that_cannot_be_read_is_a_problem_and_hides_no_other(base: Path) -> None:
    broken = MLOpsClient.from_project("broken", base_path=base)
    broken.tracking.ensure()
    broken.close()
    broken.tracking.database.write_bytes(b"no database" * 1000)
    MLOpsClient.from_project("served", base_path=base, mlflow_tracking_uri="http://127.0.0.1:9")
    fine = MLOpsClient.from_project("fine", base_path=base)
    fine.tracking.client().create_run("0", tags=gone())

    found = examine(WorkspaceManager(base))
    assert checks(found) == [
        ("broken", "store-unavailable"),
        ("fine", "crashed-run"),
        ("served", "store-unavailable"),
    ]
    assert "127.0.0.1:9" in found[2].message
    assert "mlflow_tracking_uri" in found[2].hint


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs kill -9")
def test_what_a_kill_in_the_middle_of_a_write_left_can_be_read(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    with client.start_run("before", params={"a": 1}):
        pass
    client.close()
    # A write that spills into the file before its end: SQLite has to undo it from the journal.
    code = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 5")
connection.executemany("INSERT INTO experiments (experiment_id, name) VALUES (?, ?)",
                       [(number, str(number) * 500) for number in range(10, 1000)])
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(client.tracking.database)], check=False)
    assert Path(f"{client.tracking.database}-journal").exists()
    assert [run["run_name"] for run in client.list_runs()] == ["before"]
    assert examine(WorkspaceManager(base)) == []
