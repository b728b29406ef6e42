"""What a report keeps of the one before, and that every change is noticed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from mlops import StatusReport, WorkspaceManager
from mlops.jsonlines import append
from mlops.reporting import collecting
from mlops.reporting.facts import ProjectReport
from mlops.reporting.helpers import Helpers
from mlops.reporting.memory import FRESH_NANOSECONDS, Memory
from tests.reporting.demo import build_demo


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A demo base of this module's own, so old that its facts are kept; each test has a project to change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        base = build_demo(tmp_path_factory.mktemp("settled") / "base", cache=shared_cache)
    for change in CHANGES:
        shutil.copytree(base / "churn", base / change)
    for name in ("served", "forgotten", "racing"):
        shutil.copytree(base / "churn", base / name)
    time.sleep(FRESH_NANOSECONDS / 1e9 + 0.1)
    return base


def collect(base: Path, *names: str) -> tuple[ProjectReport, ...]:
    return StatusReport.collect(base, projects=names or None).projects


def _edit_quota(root: Path) -> None:
    WorkspaceManager(root.parent).update_workspace_metadata(root.name, quota={"hard": "1 kB"})


def _append_check(root: Path) -> None:
    file = root / "monitoring" / "history.jsonl"
    append(file, [json.loads(file.read_bytes().splitlines()[-1])])


def _acknowledge(root: Path) -> None:
    file = root / "monitoring" / "alerts.jsonl"
    raised = [json.loads(line) for line in file.read_bytes().splitlines()]
    at = datetime.now(UTC).isoformat()
    events = [
        {"event": "acknowledged", "at": at, "id": each["id"], "by": None, "note": None} for each in raised
    ]
    append(file, events)


def _finish_run(root: Path) -> None:
    with sqlite3.connect(root / "mlflow" / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET status = 'FAILED' WHERE name = 'stopped'")
    connection.close()


def _write_ahead(root: Path) -> None:
    """Add to the log of a database in WAL mode, as a server may keep it; the file itself stays as it is."""
    connection = sqlite3.connect(root / "mlflow" / "mlflow.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE runs SET status = 'FAILED' WHERE name = 'stopped'")
    _open.append(connection)


def _same_size_and_time(root: Path) -> None:
    file = root / "dvc" / "ledger.jsonl"
    stat = file.stat()
    text = file.read_text().replace("train.csv", "trial.csv")
    file.write_text(text.replace('"event":"pushed"', '"event":"pulled"'))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _own_file(root: Path) -> None:
    (root / "outputs" / "deep").mkdir()
    (root / "outputs" / "deep" / "own.bin").write_bytes(b"x" * 5000)


def _overwrite_artifact(root: Path) -> None:
    file = next(root.glob("mlflow/artifacts/**/summary.txt"))
    file.write_text("y" * 7000)


def _remove_bento(root: Path) -> None:
    shutil.rmtree(next(root.glob("models/bentos/*/1")))


CHANGES: dict[str, tuple[Callable[[Path], object], Callable[[ProjectReport], object]]] = {
    "quota": (_edit_quota, lambda project: [row.state for row in project.storage.quota]),
    "history": (_append_check, lambda project: project.monitoring.checks),
    "alerts": (_acknowledge, lambda project: len(project.monitoring.open_alerts)),
    "runs": (_finish_run, lambda project: project.runs.by_status),
    "wal": (_write_ahead, lambda project: project.runs.by_status),
    "ledger": (_same_size_and_time, lambda project: project.data.unpushed),
    "outputs": (_own_file, lambda project: project.storage.by_directory["outputs"]),
    "artifact": (_overwrite_artifact, lambda project: project.storage.total_bytes),
    "bento": (_remove_bento, lambda project: project.models.deployments),
}
_open: list[sqlite3.Connection] = []


def test_what_did_not_change_is_not_read_again(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collect(settled)

    def never(root: Path) -> None:
        raise AssertionError(f"{root} was read again")

    monkeypatch.setattr(collecting.storage, "walk", never)
    assert collect(settled) == first
    with pytest.raises(AssertionError, match="was read again"):
        StatusReport.collect(settled, cache=False)


@pytest.mark.parametrize("name", list(CHANGES))
def test_every_change_is_noticed(settled: Path, name: str) -> None:
    change, shown = CHANGES[name]
    (before,) = collect(settled, name)
    change(settled / name)
    try:
        (after,) = collect(settled, name)
        assert shown(after) != shown(before)
        (fresh,) = StatusReport.collect(settled, projects=[name], cache=False).projects
        assert after == fresh
    finally:
        while _open:
            _open.pop().close()


def test_what_is_new_gone_or_renamed_is_noticed(settled: Path) -> None:
    names = {each.project_name for each in collect(settled)}
    shutil.move(settled / "forgotten", settled / "renamed")
    shutil.copytree(settled / "quiet", settled / "added")
    after = {each.project_name: each for each in collect(settled)}
    assert after.keys() == names - {"forgotten"} | {"renamed", "added"}
    assert after["renamed"].models.deployments[0].model == "classifier"


def test_a_server_that_starts_or_ends_is_seen_at_once(settled: Path) -> None:
    (before,) = collect(settled, "served")
    assert before.models.deployments[0].urls == ()
    home = settled / ".mlops" / "serving" / "served" / "home"
    home.mkdir(parents=True)
    # As `serve` records it; this process stands for the server's.
    record = {
        "tag": before.models.deployments[0].tag,
        "url": "http://127.0.0.1:41233",
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
    }
    (home / "server.json").write_text(json.dumps(record))
    (running,) = collect(settled, "served")
    assert running.models.deployments[0].urls == ("http://127.0.0.1:41233",)
    (home / "server.json").unlink()
    assert collect(settled, "served") == (before,)


def test_days_and_firings_move_on_although_nothing_changed(settled: Path) -> None:
    manager = WorkspaceManager(settled)
    now = datetime.now(UTC)

    def at(moment: datetime) -> ProjectReport:
        with Helpers() as helpers:
            (found,) = collecting.collect(
                manager, helpers, projects=["churn"], cache=True, progress=None, now=moment
            )
        return found

    today, later = at(now), at(now + timedelta(days=31))
    assert sum(today.runs.earlier.values()) == 1
    assert (later.runs.by_day, sum(later.runs.earlier.values())) == ({}, 6)
    firings = [each.schedules[1].next_at for each in (today, later)]
    assert firings[0] is not None
    assert firings[1] is not None
    assert timedelta(days=30) <= firings[1] - firings[0] <= timedelta(days=32)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"no database"),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: file.write_bytes(b""),
    ],
)
def test_a_damaged_cache_is_made_anew(settled: Path, damage: Callable[[Path], object]) -> None:
    expected = collect(settled)
    damage(_cache_of(settled))
    assert collect(settled) == expected
    assert collect(settled) == expected
    with sqlite3.connect(_cache_of(settled)) as connection:
        assert connection.execute("SELECT count(*) FROM projects").fetchone()[0] > 5
    connection.close()


def test_a_damaged_entry_of_the_cache_is_read_again(settled: Path) -> None:
    expected = collect(settled)
    for damage in ("[", "[1, 2]", "{}", '["churn", "ready"', "null"):
        with sqlite3.connect(_cache_of(settled)) as connection:
            connection.execute("UPDATE projects SET report = ?", (damage,))
        connection.close()
        assert collect(settled) == expected


def test_another_version_of_the_library_forgets_all(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(settled)
    read: list[Path] = []
    walk = collecting.storage.walk
    monkeypatch.setattr(collecting.storage, "walk", lambda root: read.append(root) or walk(root))
    monkeypatch.setattr("mlops.__version__", "99.0")
    collect(settled, "churn")
    assert [root.name for root in read] == ["churn"]


def test_two_reports_at_once_and_a_writer(settled: Path) -> None:
    code = (
        "import sys; from mlops import StatusReport\n"
        "for _ in range(3): print(StatusReport.collect(sys.argv[1]).project('racing').storage.total_bytes)"
    )
    command = [sys.executable, "-c", code, str(settled)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    file = settled / "racing" / "outputs" / "grows"
    sizes = set()
    until = time.monotonic() + 120
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < until
        with file.open("ab") as stream:
            stream.write(b"z" * 100)
        sizes.add(file.stat().st_size)
        time.sleep(0.01)
    assert [process.returncode for process in processes] == [0, 0]
    (now,) = collect(settled, "racing")
    assert now.storage.by_directory["outputs"] == file.stat().st_size
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()


def test_a_cache_that_cannot_be_written_is_done_without(
    settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collect(settled, "quiet")
    (tmp_path / "file").write_text("not a directory")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert collect(settled, "quiet") == expected


def _cache_of(base: Path) -> Path:
    return Memory(base)._path
