"""The projects of a base under the names that MLflow's workspaces can have."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlops import names
from mlops.errors import IntegrationError, MLOpsError, WorkspaceCorruptError, WorkspaceNotFoundError
from mlops.integrations.mlflow_tracking.server import redact
from mlops.ui.scope import Scope
from mlops.workspace import WorkspaceManager, base
from mlops.workspace.model import METADATA_FILE, ProjectWorkspace
from mlops.workspace.opening import resolve_for

# MLflow's own rule (mlflow/store/workspace/abstract_store.py): Kubernetes names of 2 to 63 characters.
_SLUG: Final = re.compile(r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])\Z")
_RESERVED: Final = frozenset({"workspaces", "api", "ajax-api", "static-files", "default"})
# A project's name has at most 40 characters, so a longer slug cannot be another project's.
_UNUSUAL: Final = "the-mlops-project-with-the-reserved-name-"


def workspace_slug(project: str) -> str:
    """Return the name of a project's entry in the workspace picker.

    Args:
        project: The project's name. ``_`` becomes ``-``; a name that MLflow reserves, or one of a single
            character, is put behind a prefix that makes it longer than any project's name.
    """
    slug = names.slug(project)
    return slug if _SLUG.match(slug) and slug not in _RESERVED else f"{_UNUSUAL}{slug}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One project as the picker shows it.

    Args:
        slug: Its name there.
        workspace: The project; one that cannot be read has ``error``.
        remote: Where it keeps its runs instead of in its workspace, without credentials; None for there.
        problem: Why it cannot be opened; None if it can.
    """

    slug: str
    workspace: ProjectWorkspace
    remote: str | None = None
    problem: str | None = None

    @property
    def note(self) -> str:
        """What the description says beyond the project's own, or nothing."""
        if self.problem:
            return f"[cannot be opened: {self.problem}]"
        return f"[runs are on {self.remote}]" if self.remote else ""

    @property
    def description(self) -> str:
        """The project's description, with the note."""
        return " ".join(filter(None, (self.workspace.description, self.note)))


class Projects:
    """The projects that one MLflow UI shows, read afresh whenever a file has changed.

    Args:
        scope: The base, and the one project of it to show if there is only one.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.manager = WorkspaceManager(scope.base, scope.root)
        self._read: dict[str, tuple[tuple[int, ...], Entry]] = {}
        self._by_slug: dict[str, str] = {}
        self._lock = threading.Lock()

    def entries(self) -> list[Entry]:
        """Return every project, sorted by name; one that cannot be read is among them and says why.

        A directory whose name no project may have is left out.
        """
        roots = {root.name: root for root in base.project_directories(self.scope.base)}
        if self.scope.project is not None:
            roots = {name: root for name, root in roots.items() if name == self.scope.project}
        found = [self._entry(root) for name, root in roots.items() if names.PROJECT_NAME.match(name)]
        present = [entry for entry in found if entry is not None]
        with self._lock:
            self._by_slug = {entry.slug: entry.workspace.project_name for entry in present}
            for name in self._read.keys() - roots.keys():
                del self._read[name]
        return present

    def entry(self, slug: str) -> Entry:
        """Return the project of an entry.

        Args:
            slug: The entry's name.

        Raises:
            WorkspaceNotFoundError: There is none, or it was deleted.
        """
        name = self._by_slug.get(slug)
        known = None if name is None else self._entry(self.scope.base / name)
        if known is not None:
            return known
        for entry in self.entries():
            if entry.slug == slug:
                return entry
        raise WorkspaceNotFoundError(
            f"Workspace {slug!r} not found in {self.scope.base}",
            operation="entry",
            workspace=slug,
            hint="mlops list shows the projects; this page shows those that exist now",
        )

    def opened(self, slug: str) -> ProjectWorkspace:
        """Return the project of an entry if its runs are in its own workspace.

        Args:
            slug: The entry's name.

        Raises:
            WorkspaceNotFoundError: There is none.
            WorkspaceCorruptError: Its file cannot be read.
            IntegrationError: Its runs are on a server.
            IsolationError: Its directory is a link that leads out of the base.
        """
        entry = self.entry(slug)
        project = entry.workspace.project_name
        if entry.problem:
            raise WorkspaceCorruptError(
                f"Project {project!r} cannot be opened: {entry.problem}",
                operation="opened",
                workspace=project,
                hint=f"repair {entry.workspace.metadata_file}; the other projects are not affected",
            )
        if entry.remote:
            raise IntegrationError(
                f"Project {project!r} keeps its runs on {entry.remote}, not in its workspace",
                tool="mlflow",
                operation="opened",
                workspace=project,
                hint="open that server's own pages",
            )
        base.project_root(self.scope.base, project, operation="opened")
        return entry.workspace

    def _entry(self, root: Path) -> Entry | None:
        try:
            status = (root / METADATA_FILE).stat()
        except OSError:
            return None
        signature = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._read.get(root.name)
        if known is not None and known[0] == signature:
            return known[1]
        slug = workspace_slug(root.name)
        try:
            workspace = ProjectWorkspace.load_metadata(root, project_name=root.name)
            settings = resolve_for(workspace, root=self.scope.root).settings
        except WorkspaceNotFoundError:
            return None
        except WorkspaceCorruptError as error:
            broken = ProjectWorkspace(root.name, root, error=str(error))
            entry = Entry(slug, broken, problem=str(error.details.get("reason", error)))
        except MLOpsError as error:
            entry = Entry(slug, workspace, problem=str(error))
        else:
            uri = settings.mlflow_tracking_uri
            entry = Entry(slug, workspace, remote=None if uri is None else redact(uri))
        with self._lock:
            self._read[root.name] = (signature, entry)
        return entry
