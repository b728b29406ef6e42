"""What killed processes left half-way: found, and put right twice over without harm."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.files import write_atomic
from mlops.integrations.bentoml_serving.starting import serving_directory
from mlops.integrations.evidently_monitoring.project import project_id
from mlops.reporting.doctor import Finding, examine, logs
from mlops.scheduling.history import JobHistory, JobStatus
from mlops.workspace import links
from mlops.workspace.scratch import claim, hold

DAY = 86_400


@pytest.fixture
def manager(base: Path) -> WorkspaceManager:
    manager = WorkspaceManager(base)
    manager.create_workspace("churn")
    return manager


def age(path: Path, seconds: float) -> None:
    """Make a file, or a directory with all that is in it, so old."""
    moment = time.time() - seconds
    for each in [path, *(path.rglob("*") if path.is_dir() else ())]:
        os.utime(each, (moment, moment), follow_symlinks=False)


def names(base: Path) -> dict[str, bytes]:
    return {str(p.relative_to(base)): p.read_bytes() if p.is_file() else b"" for p in base.rglob("*")}


def cured(manager: WorkspaceManager, *expected: tuple[str, str]) -> list[Finding]:
    """Find exactly this, without a change; put it right; then nothing is left, and a second time is safe."""
    before = names(manager.base_path)
    found = examine(manager)
    assert [(f.project, str(f.check)) for f in found] == list(expected), found
    assert all(f.fixable for f in found)
    assert names(manager.base_path) == before
    done = examine(manager, fix=True)
    assert [f.fixed for f in done] == [True] * len(expected), done
    assert examine(manager, fix=True) == []
    return done


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        pass
    return process.pid


def test_staging_is_swept_only_where_nobody_can_be_at_work(manager: WorkspaceManager, base: Path) -> None:
    staging = base / ".mlops" / "staging"
    identity = manager.get_workspace("churn").id
    here = socket.gethostname()
    kept = [
        staging / "reference-0123",
        staging / f"churn.dvc.{here}.{os.getpid()}.0123",
        staging / f"churn.dvc.elsewhere.{dead_pid()}.0123",
        staging / "restore-0123" / "old",
    ]
    swept = [
        staging / "reference-4567",
        staging / f"churn.dvc.{here}.{dead_pid()}.4567",
        staging / f"{identity}.4567.mlflow",
    ]
    for path in (*kept, *swept):
        path.mkdir(parents=True)
        (path / "file").write_text("x")
    (staging / "snapshot-1.json").write_text("{")
    for path in (swept[0], swept[2], staging / "snapshot-1.json", staging / "restore-0123"):
        age(path, 2 * DAY)
    # A long copy goes on: something in it is new, however old the directory is.
    age(kept[0], 2 * DAY)
    (kept[0] / "deep").mkdir()
    age(staging / "reference-0123" / "file", 2 * DAY)
    done = cured(manager, ("churn", "leftover"), ("", "leftover"))
    assert [len(finding.details["paths"]) for finding in done] == [2, 2]
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in (*swept, staging / "snapshot-1.json"))
    # What is of the whole base is not told of one project; what a process holds is not left, however old.
    age(kept[0], 2 * DAY)
    held = staging / f"{identity}.89ab.step"
    held.mkdir()
    age(held, 2 * DAY)
    descriptor = hold(held)
    assert examine(manager, "churn") == []
    assert [finding.project for finding in examine(manager)] == [""]
    os.close(descriptor)
    assert {finding.project for finding in examine(manager)} == {"", "churn"}


def test_files_that_were_never_completed_are_removed_but_for_the_users(
    manager: WorkspaceManager, base: Path
) -> None:
    name = f".table.csv.{'0' * 32}.tmp"
    left = base / "churn" / "dvc" / name
    new, own = base / "churn" / "monitoring" / name, base / "churn" / "outputs" / name
    for path in (left, new, own):
        path.write_text("half")
    for path in (left, own):
        age(path, 2 * DAY)
    cured(manager, ("churn", "leftover"))
    assert [path.exists() for path in (left, new, own)] == [False, True, True]


@pytest.mark.parametrize(
    ("place", "check"),
    [
        (lambda base: base / "churn" / "models" / "staging", ("churn", "leftover")),
        (lambda base: base / ".mlops" / "staging" / "workspaces", ("", "leftover")),
        (lambda base: base / ".mlops" / "serving" / "churn", ("churn", "stale-claim")),
    ],
    ids=["models", "copies", "servers"],
)
def test_directories_that_lost_their_owner_are_removed(
    manager: WorkspaceManager, base: Path, place: Callable[[Path], Path], check: tuple[str, str]
) -> None:
    root = place(base)
    root.mkdir(parents=True)
    held, descriptor = claim(root, "classifier")
    lost, released = claim(root, "classifier")
    os.close(released)
    (lost / "server.json").write_text(json.dumps({"pid": dead_pid()}))
    age(held, 3600)
    assert examine(manager) == []  # its owner may be about to hold it
    age(lost, 3600)
    (done,) = cured(manager, check)
    assert done.details["paths"] == [str(lost)]
    assert (held.exists(), lost.exists()) == (True, False)
    os.close(descriptor)
    assert serving_directory(manager.get_workspace("churn")).parent.name == "serving"


def test_a_renaming_that_was_cut_off_is_finished(manager: WorkspaceManager, base: Path) -> None:
    workspace = manager.get_workspace("churn")
    links.record(workspace, [links.Link("model:churn.m:1", "bento:churn.m:1", "packaged-as")], operation="t")
    # As a process leaves it that is killed right after it renamed the directory.
    note = {
        "to": "attrition",
        "former_name": "churn",
        "former_root": str(base / "churn"),
        "former_prefix": "churn.",
    }
    (base / "churn" / ".renaming.json").write_text(json.dumps(note))
    (base / "churn").rename(base / "attrition")
    cured(manager, ("attrition", "interrupted-rename"))
    assert not (base / "attrition" / ".renaming.json").exists()
    (link,) = links.logged(manager.get_workspace("attrition"))[0]
    assert link.source == "model:attrition.m:1"


def test_monitoring_data_that_a_restore_had_moved_aside_comes_back(
    manager: WorkspaceManager, base: Path
) -> None:
    workspace = manager.get_workspace("churn")
    client = MLOpsClient("churn", workspace_manager=manager)
    client.monitoring.ensure()
    before = names(workspace.monitoring_path)
    aside = base / ".mlops" / "staging" / "restore-0123"
    aside.mkdir(parents=True)
    workspace.monitoring_path.rename(aside / "old")
    cured(manager, ("churn", "interrupted-restore"))
    assert names(workspace.monitoring_path) == before
    assert (workspace.monitoring_path / project_id(workspace)).is_dir()
    # Where there is something in its place, nobody but a person can tell which of the two is right.
    (aside / "old" / project_id(workspace)).mkdir(parents=True)
    (note,) = examine(manager, fix=True)
    assert (str(note.check), note.problem, note.fixable) == ("interrupted-restore", False, False)
    assert (aside / "old").exists()


def test_a_job_that_was_killed_is_recorded_as_interrupted(manager: WorkspaceManager) -> None:
    history = JobHistory.of(manager.get_workspace("churn"))
    due = datetime.now(UTC) - timedelta(hours=1)
    with history.firing("alive", due) as alive:
        assert alive is not None
        with history.firing("night", due) as run:
            assert run is not None
            assert run.process is not None
        host, _, started = run.process
        # As it is told when the process that began it is gone.
        history.end(replace(run, process=(host, dead_pid(), started)))
        (done,) = cured(manager, ("churn", "crashed-job"))
        assert done.details == {"job": run.id, "schedule": "night"}
        (recorded,) = history.runs("night")
        assert recorded.status is JobStatus.INTERRUPTED
        assert recorded.ended_at is not None
        assert history.runs("alive")[0].status is JobStatus.RUNNING


LOGS = {
    "model_metrics.jsonl": {"at": "2026-01-01T00:00:00+00:00"},
    "monitoring/history.jsonl": {"model": None},
    "monitoring/alerts.jsonl": {"event": "unknown"},
    "pipelines/schedules/history.jsonl": None,
}


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, manager: WorkspaceManager, base: Path) -> Iterator[Path]:
    path = base / "churn" / request.param
    path.parent.mkdir(parents=True, exist_ok=True)
    value = LOGS[request.param]
    path.write_text("" if value is None else json.dumps(value) + "\n")
    yield path


def test_damaged_lines_of_logs_are_moved_aside(manager: WorkspaceManager, log: Path) -> None:
    whole = log.read_bytes()
    log.write_bytes(b"\x00\x00\r\x00\n" + whole + b"[1]\n")
    (done,) = cured(manager, ("churn", "damaged-log"))
    assert done.details["lines"][0] == 1
    assert log.read_bytes() == whole
    aside = log.with_name(log.name + ".damaged")
    assert aside.read_bytes() == b"\x00\x00\r\x00\n[1]\n"
    log.write_bytes(whole + b"{\n")
    cured(manager, ("churn", "damaged-log"))
    assert aside.read_bytes() == b"\x00\x00\r\x00\n[1]\n{\n"


def test_a_line_that_a_killed_writer_did_not_complete_is_a_note(manager: WorkspaceManager, log: Path) -> None:
    whole = log.read_bytes()
    with log.open("ab") as stream:
        stream.write(b'{"event": "se')
    (note,) = examine(manager)
    assert (str(note.check), note.problem) == ("damaged-log", False)
    cured(manager, ("churn", "damaged-log"))
    assert log.read_bytes() == whole


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("pipelines/schedules/history.jsonl", '{"schedule": "night"}\n', "schedules"),
        ("monitoring/reference/history.jsonl", '{"model": "m"}\n', "monitoring"),
        ("pipelines/versions/train/v1.json", "[]", None),
        (".renaming.json", "{", None),
    ],
)
def test_files_of_another_form_than_ours_are_findings_too(
    manager: WorkspaceManager, base: Path, file: str, content: str, what: str | None
) -> None:
    path = base / "churn" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    (finding,) = examine(manager, fix=True)
    assert (finding.project, finding.fixed, finding.problem) == ("churn", False, True)
    if what is not None:
        assert finding.message.startswith(f"The {what} of churn cannot be looked at: ")
    assert path.read_text() == content


def test_a_repair_that_fails_says_so_and_can_be_tried_again(manager: WorkspaceManager, base: Path) -> None:
    log = base / "churn" / "monitoring" / "history.jsonl"
    log.write_text("no json\n")
    # Nothing can be written where a directory is in the way.
    (log.with_name("history.jsonl.damaged")).mkdir()
    (failed,) = examine(manager, fix=True)
    assert (failed.fixed, failed.fixable, failed.problem) == (False, True, True)
    assert "it could not be put right" in failed.message
    assert log.read_text() == "no json\n"
    log.with_name("history.jsonl.damaged").rmdir()
    cured(manager, ("churn", "damaged-log"))


def test_a_repair_that_is_cut_off_loses_nothing(
    manager: WorkspaceManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = base / "churn" / "monitoring" / "alerts.jsonl"
    log.write_text('no json\n{"event": "unknown"}\n')
    aside = log.with_name("alerts.jsonl.damaged")

    def cut(path: Path, content: bytes) -> None:
        if path == log:
            raise KeyboardInterrupt
        write_atomic(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(logs, "write_atomic", cut)
        with pytest.raises(KeyboardInterrupt):
            examine(manager, fix=True)
    assert log.read_text() == 'no json\n{"event": "unknown"}\n'
    cured(manager, ("churn", "damaged-log"))
    assert log.read_text() == '{"event": "unknown"}\n'
    assert set(aside.read_text().splitlines()) == {"no json"}


def test_two_doctors_at_once_put_everything_right_together(manager: WorkspaceManager, base: Path) -> None:
    for number in range(8):
        manager.create_workspace(f"p-{number}")
        (base / f"p-{number}" / "model_metrics.jsonl").write_text("no json\n")
        (base / f"p-{number}" / "monitoring" / "history.jsonl").write_text('{"model": null}\n{"torn')
    with ThreadPoolExecutor(3) as pool:
        told = [*pool.map(lambda _: examine(WorkspaceManager(base), fix=True), range(3))]
    assert not [f for found in told for f in found if f.problem and not f.fixed]
    assert examine(manager) == []
    for number in range(8):
        assert (base / f"p-{number}" / "model_metrics.jsonl.damaged").read_text() == "no json\n"
        assert (base / f"p-{number}" / "monitoring" / "history.jsonl").read_text() == '{"model": null}\n'
