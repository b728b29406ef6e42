"""Checks that are killed while they are stored, run out of disk, or meet what others left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from mlops.errors import ConfigError, DataNotFoundError
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
from mlops.integrations.evidently_monitoring.project import SNAPSHOTS
from mlops.ui import EvidentlyUI
from tests.ui.checked import batch, check
from tests.ui.serving import ask, until

KILLS = 12
# Makes checks in forks of itself, so that each starts at once, and kills each at a moment of its own: some
# before the snapshot is written, some in the middle of it, some after it and before the history.
DRIVER = """
import os, random, signal, sys, time
from pathlib import Path
from mlops import WorkspaceManager
from mlops.client import MLOpsClient
from tests.ui.checked import batch

client = MLOpsClient("churn", workspace_manager=WorkspaceManager(Path(sys.argv[1])))
started = time.monotonic()
client.monitor_predictions(batch(300, 0))
started = time.monotonic()
client.monitor_predictions(batch(300, 0))
length = time.monotonic() - started
chance = random.Random(1)
for number in range(int(sys.argv[2])):
    done, tell = os.pipe()
    child = os.fork()
    if not child:
        for seed in range(100):
            client.monitor_predictions(batch(300, seed), latency_ms=float(seed))
            os.write(tell, b".")
        os._exit(0)
    # However busy the machine is, each gets one check through and dies in a later one.
    os.read(done, 1)
    time.sleep(length * chance.uniform(0, 2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(done)
    os.close(tell)
    print(number, flush=True)
    sys.stdin.readline()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_kills_brick_neither_the_workspace_nor_running_pages(base: Path, tmp_path: Path) -> None:
    manager = WorkspaceManager(base)
    (first,) = check(manager, "churn", shifts=(0.0,))
    workspace = manager.get_workspace("churn")
    port = free_port()
    # Evidently's own command on the project's folder, as a person types it.
    script = Path(sys.executable).with_name("evidently")
    plain = subprocess.Popen(
        [script, "ui", "--workspace", workspace.monitoring_path, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    root = Path(__file__).parents[2]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, base, str(KILLS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    directory = workspace.monitoring_path / str(workspace.evidently_project_id) / SNAPSHOTS
    try:
        with EvidentlyUI(manager) as ours:
            theirs = f"http://127.0.0.1:{port}"
            assert until(lambda: _answers(theirs), 120)
            assert driver.stdin is not None
            assert driver.stdout is not None
            for _ in range(KILLS):
                assert driver.stdout.readline(), "the driver of the kills failed"
                present = {path.stem for path in directory.iterdir()}
                for path in directory.iterdir():
                    json.loads(path.read_bytes())
                for url in (ours.url, theirs):
                    status, listed = ask(url, f"/api/projects/{workspace.evidently_project_id}/reports")
                    assert status == 200
                    if url == ours.url:
                        assert {report["id"] for report in listed} == present
                driver.stdin.write("\n")
                driver.stdin.flush()
            assert driver.wait(60) == 0
            assert len(present) > KILLS
            # A watcher of the file system learns of it a moment later.
            path = f"/api/projects/{workspace.evidently_project_id}/reports"
            assert until(lambda: {report["id"] for report in ask(theirs, path)[1]} == present)
    finally:
        for process in (plain, driver):
            process.kill()
            process.wait()
        for stream in (driver.stdin, driver.stdout):
            assert stream is not None
            stream.close()

    from evidently.ui.workspace import Workspace

    opened = Workspace(str(workspace.monitoring_path))
    (project,) = opened.list_projects()
    assert {str(run) for run in opened.list_runs(project.id)} == present
    client_history = [record["snapshot_id"] for record in _monitoring(manager).history()]
    assert set(client_history) <= present, "no line of the history leads nowhere"
    assert first.snapshot_id in client_history
    (after,) = check(manager, "churn", shifts=(3.0,))
    assert after.columns["age"].drifted


def test_a_full_disk_leaves_nothing_half_written(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = WorkspaceManager(base)
    check(manager, "churn", shifts=(0.0,))
    monitoring = _monitoring(manager)
    before = len(monitoring.history())
    real = os.fsync

    def full(descriptor: int) -> None:
        if "snapshot-" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            monitoring.monitor(batch(300, 5))
    assert len(monitoring.history()) == before
    assert len(_stored(monitoring)) == before
    assert not list((base / ".mlops" / "staging").glob("snapshot-*"))
    assert monitoring.monitor(batch(300, 5)).rows == 300


def test_what_killed_writers_left_is_removed_after_an_hour(base: Path) -> None:
    manager = WorkspaceManager(base)
    staging = base / ".mlops" / "staging"
    staging.mkdir(parents=True)
    for name, age in (("old", 7200), ("new", 60)):
        (staging / f"snapshot-{name}.json").write_text("{")
        os.utime(staging / f"snapshot-{name}.json", (time.time() - age,) * 2)
    check(manager, "churn", shifts=(0.0,))
    assert [path.name for path in staging.glob("snapshot-*")] == ["snapshot-new.json"]


def test_old_snapshots_are_thinned_and_their_numbers_stay(base: Path) -> None:
    manager = WorkspaceManager(base)
    manager.create_workspace("churn")
    manager.update_workspace_metadata("churn", retention={"snapshots": 3})
    made = check(manager, "churn", shifts=(0.0, 0.0, 0.0, 0.0, 2.0))
    monitoring = _monitoring(manager)
    assert _stored(monitoring) == [result.snapshot_id for result in made[-3:]]
    assert [record["snapshot_id"] for record in monitoring.history()] == [
        result.snapshot_id for result in reversed(made)
    ]
    assert monitoring.summary()["checks"] == 5
    with pytest.raises(DataNotFoundError, match=made[0].snapshot_id) as refused:
        monitoring.save_html(made[0].snapshot_id, base / "page.html")
    assert "retention" in str(refused.value.hint)


def test_snapshots_are_thinned_by_age_but_for_the_newest(base: Path) -> None:
    manager = WorkspaceManager(base)
    (old, *_) = check(manager, "churn", shifts=(0.0, 0.0))
    path = _monitoring(manager)
    directory = path.path / path.project_id / SNAPSHOTS
    # As if it had been made in 2020.
    (directory / f"{old.snapshot_id}.json").rename(directory / "016f5e66-e800-7000-8000-000000000000.json")
    (directory / "notes.json").write_text("mine")
    manager.update_workspace_metadata("churn", retention={"days": 30})
    check(manager, "churn", shifts=(0.0,))
    assert len(_stored(path)) == 3
    assert (directory / "notes.json").exists()
    assert not list(directory.glob("016f*"))
    manager.update_workspace_metadata("churn", retention={"days": 1e-9})
    (last,) = check(manager, "churn", shifts=(0.0,))
    assert _stored(path) == [last.snapshot_id, "notes"]


@pytest.mark.parametrize(
    "rule", [{"snapshots": 0}, {"snapshots": "many"}, {"days": -1}, {"days": True}, {"snapshot": 3}]
)
def test_rules_that_make_no_sense_are_refused_before_anything_is_stored(
    base: Path, rule: dict[str, object]
) -> None:
    manager = WorkspaceManager(base)
    workspace = manager.create_workspace("churn")
    with pytest.raises(ConfigError, match=f"retention.{next(iter(rule))}"):
        manager.update_workspace_metadata("churn", retention=rule)
    # As if somebody had written it into the file.
    workspace.retention = rule
    workspace.save_metadata()
    with pytest.raises(ConfigError, match=f"retention.{next(iter(rule))}") as refused:
        check(manager, "churn", shifts=(0.0,))
    assert "workspace.yaml" in str(refused.value.hint)
    assert _monitoring(manager).history() == []


def _monitoring(manager: WorkspaceManager) -> EvidentlyMonitoring:
    from mlops.client import MLOpsClient

    return MLOpsClient("churn", workspace_manager=manager).monitoring


def _stored(monitoring: EvidentlyMonitoring) -> list[str]:
    return sorted(path.stem for path in (monitoring.path / monitoring.project_id / SNAPSHOTS).iterdir())


def _answers(url: str) -> bool:
    try:
        return ask(url, "/api/projects/")[0] == 200
    except OSError:
        return False
