"""The project's own MLflow store: one SQLite file beside its artifacts.

MLflow runs some fifty migrations to make an empty database, and two processes that do so at once for one path
break each other. So the migrations run once per MLflow version, into a template in the user's cache; a
project's database is a copy of it, linked into place whole or not at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mlops.errors import IntegrationError, WorkspaceNotFoundError
from mlops.files import locked
from mlops.integrations.mlflow_tracking.telemetry import import_mlflow
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import installed_version

logger = logging.getLogger(__name__)

TOOL: Final = "mlflow"
DATABASE: Final = "mlflow.db"
ARTIFACTS: Final = "artifacts"
PROJECT_TAG: Final = "mlops.project"
WORKSPACE_TAG: Final = "mlops.workspace_id"
# In a store of its own the project is MLflow's experiment 0, where code that names no experiment lands.
EXPERIMENT_ID: Final = "0"
_STORES: Final = (
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
)
# What ``reading_at_once`` keeps open.
_kept: ContextVar[dict[Path, sqlite3.Connection] | None] = ContextVar("kept", default=None)
# Read-only connections may not undo what a killed writer left.
_UNFINISHED: Final = (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY)
# Building the template is a few seconds of migrations, on a slow machine with cold imports half a minute.
TEMPLATE_LOCK_SECONDS: Final = 180.0
# Every column that MLflow fills with an absolute location.
LOCATION_COLUMNS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def database_path(workspace: ProjectWorkspace) -> Path:
    """Return the SQLite file of a workspace."""
    return workspace.mlflow_path.resolve() / DATABASE


def artifact_root(workspace: ProjectWorkspace) -> Path:
    """Return the directory below which a workspace keeps its artifacts."""
    return workspace.mlflow_path.resolve() / ARTIFACTS


def database_uri(path: Path) -> str:
    """Return a SQLite file's URI.

    Only what SQLAlchemy would misread is quoted, and then the driver is named: for a plain ``sqlite:///``
    MLflow makes the parent directory from the quoted text.
    """
    text = str(path)
    if "%" not in text and "?" not in text:
        return f"sqlite:///{text}"
    return f"sqlite+pysqlite:///{text.replace('%', '%25').replace('?', '%3F')}"


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells one file from another that took its place, or None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database read-only; a missing one is an error and is never created.

    A writer that was killed in the middle of a transaction leaves its journal, which SQLite rolls back before
    anything can be read. That is the one case in which the file is written here.
    """
    kept = _kept.get()
    if kept is None:
        with contextlib.closing(_open(path)) as connection:
            yield connection
        return
    connection = kept.get(path) or kept.setdefault(path, _open(path))
    try:
        yield connection
    finally:
        connection.rollback()


@contextlib.contextmanager
def reading_at_once() -> Iterator[None]:
    """Open each database once for all that is read of it meanwhile: most of a short read is the opening."""
    kept: dict[Path, sqlite3.Connection] = {}
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for connection in kept.values():
            connection.close()


def ensure(workspace: ProjectWorkspace, *, operation: str, timeout: float = 30.0) -> Path:
    """Return the workspace's database, made or re-pointed if need be; any number of processes may call this.

    Args:
        workspace: The workspace; its ``workspace.yaml`` must exist.
        operation: The calling method, for errors.
        timeout: Seconds to wait for another process that is moving or restoring the store.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
        IntegrationError: The database cannot be read.
    """
    path = database_path(workspace)
    if not workspace.metadata_file.is_file():
        raise WorkspaceNotFoundError(
            f"Workspace does not exist: {workspace.project_name}",
            operation=operation,
            workspace=workspace.project_name,
            hint="it was deleted or moved; open the project again",
        )
    if not path.exists():
        template = ensure_template(operation=operation, workspace=workspace.project_name)
        with workspace.lock(TOOL, timeout=timeout, operation=operation):
            recover(workspace)
            create(path, template, workspace)
    adopt(path, workspace, operation=operation, timeout=timeout)
    return path


def template_path() -> Path:
    """Return where the migrated, empty database of the installed MLflow is kept."""
    from platformdirs import user_cache_path

    return user_cache_path("mlops-workspaces") / f"mlflow-{installed_version(TOOL)}.db"


def ensure_template(*, operation: str, workspace: str) -> Path:
    """Return the template database, built by MLflow's own migrations if this version has none yet."""
    template = template_path()
    if template.exists():
        return template
    import_mlflow(operation=operation, workspace=workspace)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.utils.logging_utils import suppress_logs_in_thread

    lock = template.with_suffix(".lock")
    with locked(lock, timeout=TEMPLATE_LOCK_SECONDS, operation=operation, workspace=workspace):
        if template.exists():
            return template
        partial = template.with_name(f".{template.name}.{uuid.uuid4().hex}.tmp")
        uri = database_uri(partial)
        try:
            with suppress_logs_in_thread():
                SqlAlchemyStore(uri, str(partial.with_suffix(".artifacts")))
            forget(uri)
            with contextlib.closing(sqlite3.connect(partial)) as connection:
                connection.execute("VACUUM")
            partial.replace(template)
        finally:
            forget(uri)
            partial.unlink(missing_ok=True)
    return template


def create(path: Path, template: Path, workspace: ProjectWorkspace) -> bool:
    """Put a project's database in place if there is none; say whether this call did it."""
    path.parent.mkdir(exist_ok=True)
    staging = workspace.state_path / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    partial = staging / f"{workspace.id}.{uuid.uuid4().hex}.db"
    try:
        shutil.copyfile(template, partial)
        with contextlib.closing(sqlite3.connect(partial)) as connection, connection:
            label(connection, workspace, created=int(time.time() * 1000))
        _sync(partial)
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without hard links; the project's lock is held, so nobody is between these lines.
            if path.exists():
                return False
            partial.replace(path)
        return True
    finally:
        partial.unlink(missing_ok=True)


def label(connection: sqlite3.Connection, workspace: ProjectWorkspace, *, created: int | None = None) -> None:
    """Name experiment 0 after the project, give it the workspace's artifact root and mark whose it is."""
    location = f"{artifact_root(workspace).as_uri()}/{EXPERIMENT_ID}"
    now = int(time.time() * 1000)
    name = workspace.project_name
    # A person may have made an experiment of that name; the project's own takes precedence.
    connection.execute(
        "UPDATE experiments SET name = name || '-' || experiment_id WHERE name = ? AND experiment_id <> 0",
        (name,),
    )
    connection.execute(
        "UPDATE experiments SET name = ?, artifact_location = ?, last_update_time = ?"
        " WHERE experiment_id = 0",
        (name, location, now),
    )
    if created is not None:
        connection.execute("UPDATE experiments SET creation_time = ? WHERE experiment_id = 0", (created,))
    connection.executemany(
        "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, 0)"
        " ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value",
        [(PROJECT_TAG, name), (WORKSPACE_TAG, workspace.id)],
    )


def adopt(path: Path, workspace: ProjectWorkspace, *, operation: str, timeout: float = 30.0) -> bool:
    """Make a database that came here by a move, copy or rename this workspace's own; say whether it changed.

    Without this a copied project would write into the artifacts of the original, because MLflow stores
    absolute locations.

    Raises:
        IntegrationError: The file is not an MLflow database.
    """
    try:
        with reading(path) as connection:
            if _is_ours(connection, workspace):
                return False
        with (
            workspace.lock(TOOL, timeout=timeout, operation=operation),
            contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA busy_timeout = 20000")
            connection.execute("BEGIN IMMEDIATE")
            if not _is_ours(connection, workspace):
                repoint(connection, workspace)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise unreadable(path, error, operation=operation, workspace=workspace.project_name) from error
    forget(database_uri(path))
    return True


def repoint(connection: sqlite3.Connection, workspace: ProjectWorkspace) -> None:
    """Make every location and the experiment this workspace's own, in the caller's transaction."""
    present = artifact_root(workspace).as_uri()
    former = relocate(connection, present)
    label(connection, workspace)
    logger.info("Re-pointed the MLflow store of %s from %s to %s", workspace.project_name, former, present)


def relocate(connection: sqlite3.Connection, present: str) -> str:
    """Rewrite every location below the store's artifact root, in the caller's transaction.

    Args:
        connection: The store.
        present: The URI that takes the place of the present root's.

    Returns:
        The former root's URI.
    """
    (location,) = connection.execute(
        "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
    ).fetchone()
    former = str(location).rpartition("/")[0]
    for table, column in LOCATION_COLUMNS:
        # Names from a constant above; the values are bound.
        connection.execute(
            f"UPDATE {table} SET {column} = :present || substr({column}, length(:former) + 1)"  # noqa: S608
            f" WHERE {column} = :former OR substr({column}, 1, length(:former) + 1) = :former || '/'",
            {"present": present, "former": former},
        )
    return former


def recover(workspace: ProjectWorkspace) -> None:
    """Put back a store that a restore, cut off between its two renames, had moved aside."""
    previous = previous_store(workspace)
    if previous.exists() and not database_path(workspace).exists():
        target = workspace.mlflow_path.resolve()
        if target.is_dir():
            target.rmdir()
        previous.rename(target)


def previous_store(workspace: ProjectWorkspace) -> Path:
    """Return where a restore keeps the store it replaces until the new one is in place."""
    return workspace.state_path / "staging" / f"{workspace.id}.mlflow-previous"


def unreadable(path: Path, error: Exception, *, operation: str, workspace: str) -> IntegrationError:
    """Return the error for a database file that SQLite or its content refuses."""
    return IntegrationError(
        f"The MLflow database {path} cannot be read: {error}",
        tool=TOOL,
        operation=operation,
        workspace=workspace,
        hint="restore the project from an export, or move the file away to start with an empty store",
    )


def forget(uri: str) -> None:
    """Close what this process keeps open for a database: engines, stores and artifact repositories.

    MLflow caches all of them for the life of the process; after the file was deleted or replaced they would
    go on reading the old one.
    """
    for module in _STORES:
        store_class = _loaded(module, "SqlAlchemyStore")
        engine = store_class._engine_map.pop(uri, None) if store_class is not None else None
        if engine is not None:
            engine.dispose()
    stores = _loaded("mlflow.tracking._tracking_service.utils", "_tracking_store_registry")
    if stores is not None:
        type(stores)._get_store_with_resolved_uri.cache_clear()
    repositories = _loaded("mlflow.tracking._tracking_service.utils", "_artifact_repos_cache")
    if repositories is not None:
        repositories.clear()
    registries = _loaded("mlflow.tracking._model_registry.utils", "_model_registry_store_registry")
    if registries is not None:
        type(registries)._get_store_with_resolved_uri.cache_clear()


def leave_connections() -> None:
    """Give a forked child its own connections; SQLite breaks a file whose connection two processes use."""
    for module in _STORES:
        store_class = _loaded(module, "SqlAlchemyStore")
        for engine in [] if store_class is None else list(store_class._engine_map.values()):
            # Never freed: closing the parent's connection here could undo what the parent is writing.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine.pool))
            engine.dispose(close=False)


def _loaded(module: str, name: str) -> Any:
    # Another thread may be in the middle of the import: then there is nothing to forget yet.
    return getattr(sys.modules.get(module), name, None)


def _open(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "ro")
    try:
        # The first thing that is read makes SQLite look for such a journal; this reads least.
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) not in _UNFINISHED:
            connection.close()
            raise
        with contextlib.closing(_connect(path, "rw")) as recovering:
            recovering.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # MLflow's own connections wait as long for another writer.
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=20.0)


def _is_ours(connection: sqlite3.Connection, workspace: ProjectWorkspace) -> bool:
    row = connection.execute(
        "SELECT name, artifact_location FROM experiments WHERE experiment_id = 0"
    ).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("it has no experiment 0")
    return tuple(row) == (workspace.project_name, f"{artifact_root(workspace).as_uri()}/{EXPERIMENT_ID}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
