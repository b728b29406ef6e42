from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import (
    ArchiveError,
    IntegrationError,
    IntegrationUnavailableError,
    WorkspaceNotFoundError,
)
from mlops.integrations.mlflow_tracking import MLflowTracking, store
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolAdapter, ToolContext, ToolState

MakeContext = Callable[..., ToolContext]

CHILD = """
import sys
from pathlib import Path
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

def adapter(root):
    return MLflowTracking(ToolContext(ProjectWorkspace.load_metadata(Path(root)), resolve().settings))
"""


def child(code: str, *args: object, cache: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {}),
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def experiment_zero(path: Path) -> tuple[str, str]:
    with store.reading(path) as connection:
        row = connection.execute(
            "SELECT name, artifact_location FROM experiments WHERE experiment_id = 0"
        ).fetchone()
    return tuple(row)


def reopened(root: Path, name: str | None = None) -> MLflowTracking:
    workspace = ProjectWorkspace.load_metadata(root, project_name=name)
    return MLflowTracking(ToolContext(workspace, resolve().settings))


def test_building_and_looking_import_nothing_heavy_and_create_nothing(context: ToolContext) -> None:
    code = """
    import os
    tracking = adapter(sys.argv[1])
    assert tracking.health().state == "not-created", tracking.health()
    assert tracking.summary()["runs"] == 0 and tracking.summary()["last_run"] is None
    assert tracking.list_runs() == [] and list(tracking.links()) == []
    assert tracking.usage().files == 0
    assert tracking.uri.startswith("sqlite:///") and tracking.active_run is None
    loaded = {"mlflow", "sqlalchemy", "pandas", "numpy", "pyarrow"} & set(sys.modules)
    assert not loaded, loaded
    assert os.listdir(Path(sys.argv[1]) / "mlflow") == []
    """
    finish(child(code, context.workspace.root_path))


def test_it_fulfils_the_protocol(context: ToolContext) -> None:
    assert isinstance(MLflowTracking(context), ToolAdapter)


def test_ensure_names_experiment_zero_and_keeps_artifacts_in_the_workspace(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.ensure()
    tracking.ensure()
    assert experiment_zero(tracking.database) == (
        "churn",
        (context.workspace.mlflow_path / "artifacts").as_uri() + "/0",
    )
    experiment = tracking.client().get_experiment("0")
    assert experiment.tags == {"mlops.project": "churn", "mlops.workspace_id": context.workspace.id}
    assert tracking.health().state is ToolState.READY
    assert not any(Path.cwd().iterdir())


def test_four_processes_make_one_template_and_one_store(context: ToolContext, tmp_path: Path) -> None:
    cache = tmp_path / "empty-cache"
    code = """
    tracking = adapter(sys.argv[1])
    with tracking.start_run() as run:
        run.log_param("p", 1)
    print(run.run_id)
    """
    racing = [child(code, context.workspace.root_path, cache=cache) for _ in range(4)]
    ids = {finish(process).strip() for process in racing}
    assert len(ids) == 4
    assert {run["run_id"] for run in MLflowTracking(context).list_runs()} == ids
    assert not list((context.workspace.state_path / "staging").iterdir())
    names = {path.name for path in (cache / "mlops-workspaces").iterdir()}
    assert names == {store.template_path().name, store.template_path().with_suffix(".lock").name}


@pytest.mark.parametrize(
    ("moment", "empty_cache"),
    [("shutil.copyfile", False), ("os.link", False), ("pathlib.Path.replace", True)],
)
def test_a_kill_while_creating_leaves_nothing_half(
    context: ToolContext, tmp_path: Path, moment: str, empty_cache: bool
) -> None:
    MLflowTracking(context).ensure()  # so that the template is in the shared cache
    store.database_path(context.workspace).unlink()
    process = child(
        """
        import os, pathlib, shutil, signal
        owner, _, name = sys.argv[2].rpartition(".")
        setattr(eval(owner), name, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
        adapter(sys.argv[1]).ensure()
        """,
        context.workspace.root_path,
        moment,
        cache=tmp_path / "empty-cache" if empty_cache else None,
    )
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not store.database_path(context.workspace).exists()
    tracking = MLflowTracking(context)
    with tracking.start_run():
        tracking.log_metric("a", 1)
    assert tracking.summary()["runs_by_status"] == {"FINISHED": 1}


@pytest.mark.parametrize("folder", ["with space", "ü", "ha#sh", "que?ry", "per%41cent", "a&b+c"])
def test_any_path_works(tmp_path: Path, folder: str) -> None:
    workspace = ProjectWorkspace("churn", tmp_path / folder / "churn")
    workspace.ensure_directories()
    workspace.save_metadata()
    tracking = MLflowTracking(ToolContext(workspace, resolve().settings))
    with tracking.start_run() as run:
        run.log_text("hello", "note.txt")
        run.log_metric("m", 1.5)
    assert (workspace.mlflow_path / "artifacts" / "0" / run.run_id / "artifacts" / "note.txt").is_file()
    assert tracking.get_run(run.run_id)["metrics"] == {"m": 1.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder, "cwd"])


def test_a_copy_works_and_never_touches_the_original(context: ToolContext, base: Path) -> None:
    original = MLflowTracking(context)
    with original.start_run("first") as run:
        run.log_text("original", "note.txt")
    copy_root = base / "copy"
    shutil.copytree(context.workspace.root_path, copy_root)
    copy = reopened(copy_root, "copy")
    before = {p: p.read_bytes() for p in context.workspace.mlflow_path.rglob("*") if p.is_file()}

    # The same run id is continued in one process, which MLflow's cache of artifact locations would confuse.
    with copy.start_run(run_id=run.run_id) as again:
        again.log_text("copy", "note.txt")
        again.log_metric("m", 1)
        import mlflow

        mlflow.log_text("plain", "plain.txt")
    with copy.start_run("second"):
        copy.log_text("new", "new.txt")

    after = {p: p.read_bytes() for p in context.workspace.mlflow_path.rglob("*") if p.is_file()}
    assert after == before
    assert (copy_root / "mlflow/artifacts/0" / run.run_id / "artifacts/note.txt").read_text() == "copy"
    assert [r["run_name"] for r in copy.list_runs()] == ["second", "first"]
    assert [r["run_name"] for r in original.list_runs()] == ["first"]
    assert experiment_zero(copy.database)[0] == "copy"
    assert copy.client().get_experiment("0").tags["mlops.project"] == "copy"


def test_a_moved_workspace_keeps_its_artifacts(context: ToolContext, base: Path) -> None:
    tracking = MLflowTracking(context)
    with tracking.start_run() as run:
        run.log_text("kept", "note.txt")
    tracking.close()
    context.workspace.root_path.rename(base / "renamed")
    moved = reopened(base / "renamed", "renamed")
    moved.ensure()
    assert moved.client().get_run(run.run_id).info.artifact_uri.startswith(moved.artifact_root.as_uri())
    path = moved.client().download_artifacts(run.run_id, "note.txt", str(base))
    assert Path(path).read_text() == "kept"
    assert not context.workspace.root_path.exists()


def test_a_deleted_workspace_is_not_recreated(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.ensure()
    shutil.rmtree(context.workspace.root_path)
    for call in (tracking.ensure, tracking.client, lambda: tracking.start_run().__enter__()):
        with pytest.raises(WorkspaceNotFoundError, match="churn"):
            call()
    assert not context.workspace.root_path.exists()


def test_a_project_of_the_same_name_starts_empty(make_context: MakeContext) -> None:
    first = make_context("churn")
    tracking = MLflowTracking(first)
    with tracking.start_run("old"):
        tracking.log_metric("m", 1)
    shutil.rmtree(first.workspace.root_path)
    second = MLflowTracking(make_context("churn"))
    assert second.list_runs() == []
    with second.start_run("new"):
        second.log_metric("m", 2)
    # The adapter of the deleted project notices as well.
    for adapter in (second, tracking):
        assert [run["run_name"] for run in adapter.list_runs()] == ["new"]
    with tracking.start_run("from the old adapter"):
        pass
    assert second.summary()["runs"] == 2


def test_a_corrupt_database_is_reported_and_left_alone(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.database.write_bytes(b"not a database" * 100)
    health = tracking.health()
    assert health.state is ToolState.UNAVAILABLE
    assert str(tracking.database) in (health.error or "")
    for call in (tracking.summary, tracking.ensure, tracking.client):
        with pytest.raises(IntegrationError, match=r"mlflow\.db cannot be read") as caught:
            call()
        assert caught.value.hint
        assert caught.value.workspace == "churn"
    assert tracking.database.read_bytes() == b"not a database" * 100


def test_a_database_of_another_mlflow_is_named_as_such(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.ensure()
    with contextlib.closing(sqlite3.connect(tracking.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '000000000000'")
    tracking.close()
    with pytest.raises(IntegrationError, match="out-of-date database schema") as caught:
        tracking.client()
    assert "mlflow db upgrade" in (caught.value.hint or "")


def test_a_dead_server_is_reported_at_once_and_without_credentials(make_context: MakeContext) -> None:
    for uri in ("http://ann:s3cret@127.0.0.1:9", "postgresql://ann:s3cret@127.0.0.1:9/db"):
        tracking = MLflowTracking(make_context("churn", mlflow_tracking_uri=uri))
        started = time.monotonic()
        health = tracking.health()
        with pytest.raises(IntegrationUnavailableError, match=r"127\.0\.0\.1") as caught:
            tracking.client()
        with pytest.raises(IntegrationUnavailableError):
            tracking.summary()
        assert time.monotonic() - started < 10
        assert health.state is ToolState.UNAVAILABLE
        assert health.error
        for text in (health.location, health.error, str(caught.value), *caught.value.__notes__):
            assert "s3cret" not in text
            assert "ann:" not in text


def test_export_and_restore_at_another_path(
    context: ToolContext, make_context: MakeContext, base: Path
) -> None:
    tracking = MLflowTracking(context)
    with tracking.start_run("kept", params={"p": 1}) as run:
        run.log_metric("m", 2)
        run.log_text("kept", "note.txt")
        copy = base / "copy"
        copy.mkdir()
        tracking.export(copy)  # while the run is open
    with tracking.start_run("later"):
        pass
    other = MLflowTracking(make_context("other"))
    with other.start_run("replaced"):
        pass
    other.restore(copy)
    assert [r["run_name"] for r in other.list_runs()] == ["kept"]
    assert other.list_runs()[0]["metrics"] == {"m": 2.0}
    assert other.client().get_experiment("0").name == "other"
    path = other.client().download_artifacts(run.run_id, "note.txt", str(base))
    assert Path(path).read_text() == "kept"
    assert other.client().get_run(run.run_id).info.artifact_uri.startswith(other.artifact_root.as_uri())
    assert [r["run_name"] for r in tracking.list_runs()] == ["later", "kept"]
    assert not list((other.context.workspace.state_path / "staging").iterdir())


def test_a_project_that_was_never_tracked_can_be_exported(
    context: ToolContext, make_context: MakeContext, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    tracking = MLflowTracking(context)
    tracking.export(copy)
    assert not tracking.database.exists()
    other = MLflowTracking(make_context("other"))
    other.restore(copy)
    assert other.health().state is ToolState.NOT_CREATED


def test_restoring_something_else_changes_nothing(context: ToolContext, tmp_path: Path) -> None:
    tracking = MLflowTracking(context)
    with tracking.start_run("mine"):
        pass
    (tmp_path / "bad").mkdir()
    with pytest.raises(ArchiveError, match="is missing"):
        tracking.restore(tmp_path / "bad")
    (tmp_path / "bad" / "mlflow.db").write_bytes(b"x" * 5000)
    with pytest.raises(ArchiveError, match="not an MLflow database"):
        tracking.restore(tmp_path / "bad")
    assert [r["run_name"] for r in tracking.list_runs()] == ["mine"]


def test_a_restore_cut_off_between_its_renames_loses_nothing(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    with tracking.start_run("mine"):
        pass
    tracking.close()
    previous = store.previous_store(context.workspace)
    previous.parent.mkdir(parents=True, exist_ok=True)
    context.workspace.mlflow_path.rename(previous)
    tracking.ensure()
    assert [r["run_name"] for r in tracking.list_runs()] == ["mine"]


def test_mlflow_is_imported_without_reporting(context: ToolContext, tmp_path: Path) -> None:
    code = """
    import os
    before = dict(os.environ)
    tracking = adapter(sys.argv[1])
    with tracking.start_run():
        tracking.log_metric("m", 1)
    import mlflow.telemetry.client as telemetry
    assert telemetry.get_telemetry_client() is None
    for each in (os.environ, before):
        each.pop("_RJEM_MALLOC_CONF", None)  # set by Polars, which MLflow imports where it is installed
    assert dict(os.environ) == before, set(os.environ) ^ set(before)
    """
    home = tmp_path / "home"
    home.mkdir()
    names = ("DO_NOT_TRACK", "PYTEST_CURRENT_TEST", "CI", "MLFLOW_DISABLE_TELEMETRY")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "-c", CHILD + textwrap.dedent(code), str(context.workspace.root_path)],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not list(home.rglob("telemetry.json"))
