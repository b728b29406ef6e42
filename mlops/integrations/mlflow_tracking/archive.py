"""Copies of a project's MLflow store: consistent while runs are logging, and usable at another path."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ArchiveError
from mlops.integrations.mlflow_tracking import provenance, server, store

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

# Instead of a database: a project on a server has its runs listed here, which are the server's to keep, and
# one that was never tracked says so, which tells its copy from a damaged one.
REMOTE: Final = "tracking.json"
# Stands in a copy for the place of the artifacts, so that it does not name the machine it was made on.
_NOWHERE: Final = "workspace:/mlflow/artifacts"


def export(tracking: MLflowTracking, destination: Path) -> None:
    """Write the store into a directory: the database first, so that all it refers to is in the copy.

    Args:
        tracking: The project's adapter.
        destination: An existing directory.

    Raises:
        ArchiveError: The copy cannot be written.
    """
    try:
        if not tracking.embedded:
            content = {"uri": server.redact(tracking.uri), "runs": tracking.list_runs(limit=None)}
            (destination / REMOTE).write_text(json.dumps(content, default=_text, indent=1), encoding="utf-8")
            return
        if not tracking.database.exists():
            (destination / REMOTE).write_text(json.dumps({"uri": None, "runs": []}), encoding="utf-8")
            return
        with (
            store.reading(tracking.database) as source,
            contextlib.closing(sqlite3.connect(destination / store.DATABASE)) as target,
        ):
            source.backup(target)
            with target:
                store.relocate(target, _NOWHERE)
            # Pages that are no longer used would keep what was deleted.
            target.execute("VACUUM")
        if tracking.artifact_root.is_dir():
            shutil.copytree(tracking.artifact_root, destination / store.ARTIFACTS, symlinks=True)
    except (OSError, sqlite3.Error, shutil.Error) as error:
        raise ArchiveError(
            f"The MLflow store of {tracking.project} cannot be exported to {destination}: {error}",
            operation="export",
            workspace=tracking.project,
            hint="check that the directory is empty and has room, then export again",
        ) from error


def restore(tracking: MLflowTracking, source: Path) -> None:
    """Replace the store by an exported copy, whose locations become this workspace's.

    The copy is checked and completed beside the store and then takes its place; until that has happened the
    present store is kept, and ``store.recover`` brings it back after a crash in between.

    Args:
        tracking: The project's adapter.
        source: What ``export`` wrote.

    Raises:
        ArchiveError: It is not a copy of a store; the present one is left as it is.
    """
    workspace = tracking.context.workspace
    if (source / REMOTE).is_file() and not (source / store.DATABASE).exists():
        return
    _check(source / store.DATABASE, tracking.project)
    staging = workspace.state_path / "staging" / f"{workspace.id}.{uuid.uuid4().hex}.mlflow"
    staging.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, staging, symlinks=True)
        with contextlib.closing(sqlite3.connect(staging / store.DATABASE)) as connection, connection:
            store.repoint(connection, workspace)
        provenance.share(staging / store.ARTIFACTS)
        # Not flushed: what is in memory belongs to runs of the store that goes.
        tracking.discard_pending()
        timeout = tracking.context.settings.lock_timeout
        with workspace.lock(store.TOOL, timeout=timeout, operation="restore"):
            _replace(tracking, staging)
    except (OSError, sqlite3.Error, shutil.Error) as error:
        raise ArchiveError(
            f"The MLflow store of {tracking.project} cannot be restored from {source}: {error}",
            operation="restore",
            workspace=tracking.project,
            hint="check the copy and the free space; the present store is unchanged",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    tracking.forget()


def _replace(tracking: MLflowTracking, staging: Path) -> None:
    workspace = tracking.context.workspace
    previous = store.previous_store(workspace)
    target = workspace.mlflow_path.resolve()
    store.recover(workspace)
    if previous.exists():
        shutil.rmtree(previous)
    if target.exists():
        target.rename(previous)
    try:
        staging.rename(target)
    except OSError:
        if previous.exists():
            previous.rename(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _check(path: Path, project: str) -> None:
    problem = "the file is missing"
    if path.is_file():
        try:
            with store.reading(path) as connection:
                (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0")
                problem = "" if state == "ok" else str(state)
        except sqlite3.Error as error:
            problem = str(error)
    if problem:
        raise ArchiveError(
            f"{path} is not an MLflow database: {problem}",
            operation="restore",
            workspace=project,
            hint="pass the directory that an export wrote",
        )


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
