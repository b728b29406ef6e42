"""The open databases of the projects: few at a time, always the file that is there now."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import store
from mlops.ui.projects import Projects
from mlops.workspace.model import ProjectWorkspace

# An open pair of stores costs about 1 MB; its connections are closed after every request (see server.py).
MAX_OPEN: Final = 64


@dataclass(frozen=True, slots=True)
class StorePair:
    """MLflow's two stores over one project's database.

    Args:
        uri: The database's URI.
        identity: Which file it is.
        tracking: Runs, experiments and logged models.
        registry: Registered models.
    """

    uri: str
    identity: tuple[int, int] | None
    tracking: Any
    registry: Any


class OpenStores:
    """The stores of the projects that were used last.

    Args:
        projects: The projects.
        limit: How many stay open.
    """

    def __init__(self, projects: Projects, *, limit: int = MAX_OPEN) -> None:
        self.projects = projects
        self._limit = limit
        self._open: OrderedDict[Path, StorePair] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}
        self._blanks: tempfile.TemporaryDirectory[str] | None = None

    def get(self, slug: str, *, writing: bool) -> StorePair:
        """Return a project's stores.

        A project without a database is created one by the first write; until then it reads as empty, from an
        empty database outside the workspace.

        Args:
            slug: The project's entry in the picker.
            writing: Whether the call may write.

        Raises:
            WorkspaceNotFoundError: There is no such project.
            IntegrationError: Its database cannot be used.
        """
        workspace = self.projects.opened(slug)
        path = store.database_path(workspace)
        # A restore that was cut off has moved the database aside; opening the project brings it back.
        if not writing and store.identity(path) is None and not store.previous_store(workspace).exists():
            return self._opened(self._blank_path(workspace), workspace, blank=True)
        return self._opened(path, workspace, blank=False)

    def count(self) -> int:
        """Return how many pairs of stores are open."""
        return len(self._open)

    def close(self) -> None:
        """Close everything that is open; the stores can be used again."""
        with self._lock:
            pairs = list(self._open.values())
            self._open.clear()
            blanks, self._blanks = self._blanks, None
        for pair in pairs:
            store.forget(pair.uri)
        if blanks is not None:
            blanks.cleanup()

    def _opened(self, path: Path, workspace: ProjectWorkspace, *, blank: bool) -> StorePair:
        found = self._current(path)
        if found is not None:
            return found
        with self._lock:
            opening = self._opening.setdefault(path, threading.Lock())
        with opening:
            found = self._current(path)
            if found is not None:
                return found
            if blank:
                self._make_blank(path, workspace)
            else:
                store.ensure(workspace, operation="open")
            pair = _open(path, workspace)
        with self._lock:
            self._opening.pop(path, None)
            self._open[path] = pair
            surplus = [self._open.popitem(last=False) for _ in range(len(self._open) - self._limit)]
        for _, old in surplus:
            store.forget(old.uri)
        return pair

    def _current(self, path: Path) -> StorePair | None:
        identity = store.identity(path)
        with self._lock:
            pair = self._open.get(path)
            if pair is None:
                return None
            if identity is not None and pair.identity == identity:
                self._open.move_to_end(path)
                return pair
            # Deleted, restored or replaced since: what is open is another file.
            del self._open[path]
        store.forget(pair.uri)
        return None

    def _blank_path(self, workspace: ProjectWorkspace) -> Path:
        with self._lock:
            if self._blanks is None:
                self._blanks = tempfile.TemporaryDirectory(prefix="mlops-ui-")
        return Path(self._blanks.name) / f"{workspace.project_name}-{workspace.id}.db"

    def _make_blank(self, path: Path, workspace: ProjectWorkspace) -> None:
        template = store.ensure_template(operation="open", workspace=workspace.project_name)
        partial = path.with_suffix(".partial")
        shutil.copyfile(template, partial)
        created = int(workspace.created_at.timestamp() * 1000)
        with contextlib.closing(sqlite3.connect(partial)) as connection, connection:
            store.label(connection, workspace, created=created)
        partial.replace(path)


def _open(path: Path, workspace: ProjectWorkspace) -> StorePair:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    uri = store.database_uri(path)
    store.forget(uri)
    identity = store.identity(path)
    with _usable(path, uri, workspace):
        tracking = _tracking_class()(uri, store.artifact_root(workspace).as_uri())
        return StorePair(uri, identity, tracking, SqlAlchemyStore(uri))


def _tracking_class() -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    class ProjectStore(SqlAlchemyStore):  # type: ignore[misc]
        """A project's tracking store, whose artifacts stay in the project."""

        def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
            """Create an experiment; a place of its own for its artifacts could be another project's."""
            if artifact_location:
                raise MlflowException.invalid_parameter_value(
                    "artifact_location cannot be chosen here: a project's artifacts are kept in its workspace"
                )
            return str(super().create_experiment(name, None, tags))

    return ProjectStore


@contextlib.contextmanager
def _usable(path: Path, uri: str, workspace: ProjectWorkspace) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        store.forget(uri)
        raise store.unreadable(path, error, operation="open", workspace=workspace.project_name) from error
    except MlflowException as error:
        store.forget(uri)
        raise IntegrationError(
            f"The MLflow database of project {workspace.project_name!r} cannot be opened: {error.message}",
            tool=store.TOOL,
            operation="open",
            workspace=workspace.project_name,
            hint=f"back {path} up, then run: mlflow db upgrade '{uri}'",
        ) from error
