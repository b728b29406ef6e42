"""Looking for a thing in one project or in all projects of a base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlops.errors import ConfigError, DataNotFoundError, WorkspaceError
from mlops.lineage.graph import Graph
from mlops.lineage.records import ProjectRecords
from mlops.lineage.resolution import resolve
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.lineage.references import Ref
    from mlops.workspace import WorkspaceManager
    from mlops.workspace.model import ProjectWorkspace

# What a person can choose from at a glance.
_SHOWN: Final = 10


class Projects:
    """The projects of a base, opened when a chain leads to them.

    Args:
        manager: The base.
        context: A project that is open already, with the settings in force for it.
    """

    def __init__(self, manager: WorkspaceManager, *, context: ToolContext | None = None) -> None:
        self._manager = manager
        self._own = None if context is None else ProjectRecords(context)
        self.graph = Graph(self._records)

    def find(self, text: str, *, project: str | None = None, operation: str = "trace") -> list[Ref]:
        """Return what a text means, at most one thing per project.

        Args:
            text: What ``resolution.resolve`` takes.
            project: Look in this project only; by default in the open one, or else in all.
            operation: The calling method, for errors.

        Raises:
            WorkspaceNotFoundError: There is no project of that name.
            DataNotFoundError: No project has such a thing.
            ConfigError: It can mean several things of one project.
        """
        names = self._names(project)
        found: list[Ref] = []
        errors: dict[str, str] = {}
        for name in names:
            records = self.graph.records(name)
            if records is None:
                continue
            refs = resolve(text, records)
            if len(refs) > 1:
                shown = ", ".join(ref.within(name) for ref in refs[:_SHOWN])
                raise ConfigError(
                    f"{text!r} can mean {len(refs)} things in {name}: {shown}",
                    operation=operation,
                    workspace=name,
                    details={"references": [ref.within(name) for ref in refs]},
                    hint="name one of them, kind included",
                )
            found += refs
            errors |= {f"{name}/{tool}": error for tool, error in records.errors.items()}
        if not found:
            where = names[0] if len(names) == 1 else f"any of the {len(names)} projects"
            unread = f"; not everything could be read: {'; '.join(errors.values())}" if errors else ""
            raise DataNotFoundError(
                f"{text!r} is nothing that {where} knows{unread}",
                tool="mlops",
                operation=operation,
                workspace=names[0] if len(names) == 1 else None,
                details={"errors": errors},
                hint="give a run id, a file or its md5, project.model:version, a Bento tag or a snapshot id; "
                "what was never added or logged has no lineage",
            )
        return found

    def _names(self, project: str | None) -> list[str]:
        if project is not None:
            if self._own is None or self._own.project != project:
                self._manager.get_workspace(project)
            return [project]
        if self._own is not None:
            return [self._own.project]
        return [w.project_name for w in self._manager.list_workspaces() if not w.error]

    def _records(self, name: str) -> ProjectRecords | None:
        if self._own is not None and name == self._own.project:
            return self._own
        try:
            workspace = self._manager.get_workspace(name)
        except WorkspaceError:
            # A chain may lead to a project that was deleted, or that another base has.
            return None
        return ProjectRecords(self._context(workspace))

    def _context(self, workspace: ProjectWorkspace) -> ToolContext:
        settings = resolve_for(workspace, root=self._manager.location.root).settings
        return ToolContext(workspace, settings)
