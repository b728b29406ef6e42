"""Workspaces that travel: exported, imported, renamed and cloned."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import WorkspaceCorruptError, WorkspaceExistsError
from mlops.files import sync_directory
from mlops.workspace import base, renaming, trash
from mlops.workspace.catalog import WorkspaceCatalog
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.workspace.archive import Progress


class TravellingWorkspaces(WorkspaceCatalog):
    """The half of ``WorkspaceManager`` that makes projects of others."""

    def export_workspace(
        self,
        project_name: str,
        path: Path | str,
        *,
        include_data: bool = True,
        progress: Progress | None = None,
    ) -> Path:
        """Write everything a project holds into one file, from which ``import_workspace`` makes it again.

        Runs may go on: what each tool holds is copied as it is at one moment. Credentials, paths of this
        machine and links out of the workspace are left out; the archive's manifest says what was. Runs and
        models on a tracking server stay there, and only a list of the runs is stored.

        Args:
            project_name: The project.
            path: The archive, conventionally ``<name>.tar.zst``; an existing file is replaced.
            include_data: Whether to store the content of data versions; without it they can be pulled only
                where their remote can be reached.
            progress: Called as ``progress(done, total)`` with bytes.

        Returns:
            The archive's absolute path.

        Raises:
            WorkspaceNotFoundError: There is no such workspace.
            ArchiveError: The archive cannot be written; a former one is unchanged.
        """
        from mlops.workspace import transfer

        operation = "export_workspace"
        workspace = self._load(project_name, operation)
        target = Path(path).expanduser().absolute()
        base.prepare(self.base_path)
        self._finish_renaming(workspace, operation)
        context = renaming.context_of(self, workspace)
        transfer.export(context, target, include_data=include_data, progress=progress, operation=operation)
        return target

    def import_workspace(
        self,
        path: Path | str,
        *,
        project_name: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> ProjectWorkspace:
        """Make a project of an archive, after everything in it was compared with its hash.

        Models are programs: import only archives of people whose code you would run.

        Args:
            path: What ``export_workspace`` wrote.
            project_name: Another name, which the experiment, registered models, Bentos and the link log then
                get too.
            force: Move a project of that name to the trash first.
            progress: Called as ``progress(done, total)`` with bytes.

        Returns:
            The project; its id is the original's, unless that is in this base.

        Raises:
            ArchiveError: The file is damaged, of a newer format or no archive; nothing was changed.
            WorkspaceExistsError: There is a project of that name, and ``force`` is not set.
            WorkspaceError: The project to replace is in use.
        """
        from mlops.workspace import transfer
        from mlops.workspace.unpacking import Reader

        operation = "import_workspace"
        source = Path(path).expanduser().absolute()
        name = project_name or Reader(source, operation).manifest().project_name
        root = base.project_root(self.base_path, name, operation=operation)
        self._refuse_present(root, force, operation)
        base.prepare(self.base_path)
        replaced = name if force else None
        with transfer.imported(
            self, source, name, replaced=replaced, progress=progress, operation=operation
        ) as staged:
            return self._place(staged, force=force, operation=operation)

    def rename_workspace(self, old: str, new: str) -> ProjectWorkspace:
        """Give a project another name, and everything in its tools that carries the name.

        That is its MLflow experiment, registered models, Bento models and Bentos, Evidently project and link
        log. If the process is killed, the project can be opened under one of the two names, and what is left
        to do is then done. A DVC remote outside the workspace has the project's name in its path: push again
        to fill the new one.

        Args:
            old: The present name.
            new: The new one, which is free.

        Raises:
            WorkspaceNotFoundError: There is no such workspace.
            WorkspaceExistsError: The new name is taken.
            WorkspaceError: A run is open or a server runs in the project; the message says which.
            InvalidModelNameError: With the new name, a model's would be too long; nothing was changed.
        """
        operation = "rename_workspace"
        source = base.project_root(self.base_path, old, operation=operation)
        target = base.project_root(self.base_path, new, operation=operation)
        if not renaming.was(target, old):
            self._require_present(old, source, operation)
        base.prepare(self.base_path)
        with contextlib.ExitStack() as held:
            for name in self._lock_order(old, new):
                held.enter_context(self._lock(name, operation))
            if not renaming.was(target, old) or source.exists():
                self._require_present(old, source, operation)
                self._refuse_present(target, False, operation, renamed=old)
                self._load(old, operation)
                renaming.finish(self, source)
                renaming.rename(self, source, target, operation=operation)
            else:  # begun by a process that was killed
                renaming.finish(self, target)
        self.workspaces.pop(old, None)
        return self._remember(self._load(new, operation))

    def clone_workspace(self, source: str, new: str, *, with_runs: bool = True) -> ProjectWorkspace:
        """Make an independent copy of a project under another name and id.

        The copy shares no file with the original. What the original keeps on a tracking server or in a remote
        outside its workspace is not copied.

        Args:
            source: The project.
            new: The copy's name.
            with_runs: Whether to copy everything; otherwise only the configuration, the data versions and the
                files in ``outputs``.

        Raises:
            WorkspaceNotFoundError: There is no such workspace.
            WorkspaceExistsError: The new name is taken.
            ArchiveError: The copy cannot be made; nothing was changed.
        """
        from mlops.workspace import transfer

        operation = "clone_workspace"
        workspace = self._load(source, operation)
        root = base.project_root(self.base_path, new, operation=operation)
        self._refuse_present(root, False, operation)
        base.prepare(self.base_path)
        self._finish_renaming(workspace, operation)
        context = renaming.context_of(self, workspace)
        with transfer.cloned(self, context, new, with_runs=with_runs, operation=operation) as staged:
            return self._place(staged, force=False, operation=operation)

    def _place(self, staged: ProjectWorkspace, *, force: bool, operation: str) -> ProjectWorkspace:
        """Put a finished workspace where it is seen, in one rename."""
        name = staged.project_name
        root = self.base_path / name
        with self._lock(name, operation):
            self._refuse_present(root, force, operation)
            if root.exists():
                with contextlib.suppress(WorkspaceCorruptError):
                    present = renaming.context_of(self, self._load(name, operation))
                    renaming.refuse_in_use(present, operation=operation)
                trash.discard(root, purge=False)
            staged.root_path.rename(root)
            sync_directory(self.base_path)
            workspace = self._load(name, operation)
            # Places that tools store are those of the directory it was put together in.
            renaming.adopt(renaming.context_of(self, workspace), staged, moved=False)
        return self._remember(workspace)

    def _refuse_present(self, root: Path, force: bool, operation: str, *, renamed: str | None = None) -> None:
        base.refuse_collision(self.base_path, root.name, operation=operation, besides=renamed)
        is_workspace = (root / "workspace.yaml").exists()
        if root.exists() and not (force and is_workspace):
            raise WorkspaceExistsError(
                f"Workspace already exists: {root.name!r} in {self.base_path}"
                if is_workspace
                else f"There is something else at {root}",
                operation=operation,
                workspace=root.name,
                hint="pass another name as project_name (--as), or force to replace that project"
                if is_workspace and operation == "import_workspace"
                else "choose another name, or move away what is there",
            )

    def _finish_renaming(self, workspace: ProjectWorkspace, operation: str) -> None:
        if renaming.pending(workspace.root_path):
            with self._lock(workspace.project_name, operation):
                renaming.finish_when_opened(self, workspace.root_path)
