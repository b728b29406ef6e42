from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import (
    ArchiveError,
    DataIntegrityError,
    IntegrationUnavailableError,
    IsolationError,
    WorkspaceLockedError,
    WorkspaceNotFoundError,
)
from mlops.integrations.dvc_data import DataState, DVCData
from mlops.workspace.tools import ToolAdapter, ToolContext, ToolState

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def data(context: ToolContext) -> DVCData:
    return DVCData(context)


def tree(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def test_reading_creates_nothing(data: DVCData) -> None:
    assert isinstance(data, ToolAdapter)
    before = tree(data.context.workspace.root_path.parent)
    health = data.health()
    assert (health.state, health.tool, health.error) == (ToolState.NOT_CREATED, "dvc", None)
    summary = data.summary()
    assert (summary["datasets"], summary["versions"], summary["bytes"], summary["unpushed"]) == (0, 0, 0, 0)
    assert data.status() == data.datasets() == data.history() == data.pull() == list(data.links()) == []
    assert data.push().versions == ()
    assert data.verify().ok
    assert data.usage().files == 0
    data.close()
    assert tree(data.context.workspace.root_path.parent) == before


def test_ensure_is_quick_and_repeatable(make_context: MakeContext) -> None:
    took = []
    for number in range(5):
        data = DVCData(make_context(f"project-{number}"))
        start = time.perf_counter()
        data.ensure()
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02
    config = data.context.workspace.dvc_path / ".dvc" / "config"
    before = config.stat()
    data.ensure()
    assert config.stat().st_mtime_ns == before.st_mtime_ns
    assert data.health().state is ToolState.READY


def test_counts_are_exact(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    for content in ("1", "22", "1"):
        source.write_text(content)
        data.add(source)
    (tmp_path / "set").mkdir()
    for name in ("x", "y"):
        (tmp_path / "set" / name).write_text("333")
    data.add(tmp_path / "set")
    data.push(source)
    summary = data.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert {key: summary[key] for key in ("datasets", "versions", "bytes", "files", "unpushed")} == {
        "datasets": 2,
        "versions": 3,
        "bytes": 7,
        "files": 3,
        "unpushed": 2,
    }
    assert len(data.history(source)) == 3


def test_status_tells_clean_modified_and_missing(data: DVCData, tmp_path: Path) -> None:
    for name in ("clean", "modified", "missing", "moved"):
        (tmp_path / name).write_text(name)
        data.add(tmp_path / name)
    (tmp_path / "modified").write_text("other!!!")
    (tmp_path / "missing").unlink()
    # A copy with the same time and size, as a move between disks makes, is no change.
    shutil.copy2(tmp_path / "moved", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "moved")
    states = {status.path.name: status.state for status in data.status()}
    assert states == {
        "clean": DataState.CLEAN,
        "modified": DataState.MODIFIED,
        "missing": DataState.MISSING,
        "moved": DataState.CLEAN,
    }


def test_status_takes_no_lock(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    with data.context.workspace.lock("dvc"):
        assert len(data.status()) == data.summary()["datasets"] == 1
        assert data.health().state is ToolState.READY


def test_a_held_lock_is_an_error_in_time(make_context: MakeContext, tmp_path: Path) -> None:
    data = DVCData(make_context(lock_timeout=0.1))
    (tmp_path / "a.csv").write_text("1")
    with (
        data.context.workspace.lock("dvc"),
        pytest.raises(WorkspaceLockedError) as caught,
    ):
        data.add(tmp_path / "a.csv")
    assert caught.value.operation == "add"
    assert data.add(tmp_path / "a.csv").size == 1


def test_health_names_what_is_damaged(data: DVCData, make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    data.push()
    vault = data.context.workspace.dvc_path

    shutil.rmtree(vault / "remote")
    health = data.health()
    assert health.state is ToolState.UNAVAILABLE
    assert "remote directory" in str(health.error)
    assert data.push().objects == 1
    assert data.health().state is ToolState.READY

    for content in (b"\xff\xfe", b"", b"[core]\n"):
        (vault / ".dvc" / "config").write_bytes(content)
        health = data.health()
        assert health.state is ToolState.UNAVAILABLE
        assert ".dvc/config is damaged" in str(health.error)
        with pytest.raises(IntegrationUnavailableError, match="damaged"):
            data.push()
    (vault / ".dvc" / "config").unlink()
    assert data.push().objects == 0

    ledger = vault / "ledger.jsonl"
    good = ledger.read_bytes()
    ledger.write_bytes(b'{"event":"added"}\n' + good)
    assert "Line 1" in str(data.health().error)
    with pytest.raises(DataIntegrityError, match=r"Line 1 of .*ledger\.jsonl"):
        data.status()
    ledger.write_bytes(good)
    outside = DVCData(make_context(dvc_remote_path=str(tmp_path / "mnt")))
    assert str(tmp_path / "mnt") in str(outside.health().error)


def test_a_torn_line_does_not_count_and_is_removed(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    ledger = data.context.workspace.dvc_path / "ledger.jsonl"
    good = ledger.read_bytes()
    for torn in (b'{"event":"added","name":"b', b"x" * 200_000):
        ledger.write_bytes(good + torn)
        assert data.summary()["versions"] == 1
        (tmp_path / "a.csv").write_text(f"{len(torn)}")
        data.add(tmp_path / "a.csv")
        assert data.summary()["versions"] == 2
        assert torn not in ledger.read_bytes()


def test_a_hostile_ledger_cannot_name_a_place_outside(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    ledger = data.context.workspace.dvc_path / "ledger.jsonl"
    event = json.loads(ledger.read_text())
    event["source"] = {"anchor": "workspace", "location": "../../evil.csv"}
    ledger.write_text(json.dumps(event) + "\n")
    with pytest.raises(DataIntegrityError, match="bad location"):
        data.pull()
    (tmp_path / "elsewhere").mkdir()
    (data.context.workspace.outputs_path / "link").symlink_to(tmp_path / "elsewhere")
    event["source"] = {"anchor": "workspace", "location": "outputs/link/evil.csv"}
    ledger.write_text(json.dumps(event) + "\n")
    with pytest.raises(IsolationError):
        data.pull()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_workspace_that_is_gone_is_not_made_again(data: DVCData, tmp_path: Path) -> None:
    shutil.rmtree(data.context.workspace.root_path)
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(WorkspaceNotFoundError):
        data.add(tmp_path / "a.csv")
    assert not data.context.workspace.root_path.exists()


def test_a_vault_travels_through_an_export(data: DVCData, make_context: MakeContext, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    own = data.context.workspace.outputs_path / "own.csv"
    source.write_text("first")
    own.write_text("own")
    first = data.add(source)
    data.add(own)
    data.push()
    source.write_text("second")
    data.add(source)
    exported = tmp_path / "export"
    exported.mkdir()
    data.export(exported)

    other = DVCData(make_context("fraud"))
    (tmp_path / "b.csv").write_text("replaced")
    other.add(tmp_path / "b.csv")
    other.push()
    other.restore(exported)
    names = [version.name for version in data.datasets()]
    assert [version.name for version in other.datasets()] == names
    assert other.summary()["unpushed"] == data.summary()["unpushed"] == 1
    assert other.verify().ok
    objects = {
        path.name for path in (other.context.workspace.dvc_path / ".dvc/cache").rglob("*") if path.is_file()
    }
    assert len(objects) == 3
    other.pull("workspace:outputs/own.csv")
    assert (other.context.workspace.outputs_path / "own.csv").read_text() == "own"
    with pytest.raises(IsolationError, match=r"a\.csv"):
        other.pull(first.name, version=first)
    other.pull(first.name, version=first, destination=tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "first"
    # An export says nothing of the machine it was made on, so a place outside is asked for even there.
    shutil.rmtree(data.context.workspace.dvc_path)
    data.restore(exported)
    with pytest.raises(IsolationError, match=r"a\.csv"):
        data.pull(first.name, version=first)
    assert data.pull(first.name, version=first, destination=source)[0].md5 == first.md5
    assert source.read_text() == "first"


def test_only_an_exported_vault_is_restored(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ArchiveError, match="empty directory"):
        data.export(tmp_path / "full")
    for source in (tmp_path / "full", tmp_path / "nope", tmp_path / "a.csv"):
        with pytest.raises(ArchiveError):
            data.restore(source)
    assert data.verify().ok
    assert data.summary()["versions"] == 1
