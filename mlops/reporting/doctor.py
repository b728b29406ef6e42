"""What is wrong in the projects of a base, and what can be put right: ``mlops doctor``.

Looking creates and changes nothing. With ``fix`` the runs that a killed process left open are ended, and a
damaged link log is rebuilt from the tools; whatever else is found needs a person's decision.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import MLOpsError, WorkspaceCorruptError
from mlops.integrations.mlflow_tracking import MLflowTracking, abandoned
from mlops.integrations.mlflow_tracking.processes import ProcessState
from mlops.workspace import links
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext, ToolState

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

# Enough to see what they have in common.
_SHOWN_LINKS: Final = 10


class Check(StrEnum):
    """What a finding is about."""

    CORRUPT = "corrupt-workspace"
    UNKNOWN_KEY = "unknown-key"
    NAME = "name-mismatch"
    SHARED_ID = "shared-id"
    LINK = "link-out-of-base"
    LINKS = "damaged-link-log"
    STORE = "store-unavailable"
    CRASHED_RUN = "crashed-run"
    OPEN_RUN = "open-run"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor noticed.

    Args:
        project: The project.
        check: What it is about.
        message: What is wrong, in one sentence.
        hint: The next step.
        problem: Whether it needs putting right; otherwise it is only worth knowing.
        fixed: Whether it was put right just now.
        details: The run, file or other projects concerned, as plain JSON values.
    """

    project: str
    check: Check
    message: str
    hint: str
    problem: bool = True
    fixed: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "check": str(self.check)}


def examine(
    manager: WorkspaceManager, project_name: str | None = None, *, fix: bool = False
) -> list[Finding]:
    """Return what is wrong in one project or in all, by project.

    Args:
        manager: The base.
        project_name: One project.
        fix: End the runs whose process is gone, and rebuild damaged link logs.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
    """
    workspaces = manager.list_workspaces()
    if project_name is not None and not any(w.project_name == project_name for w in workspaces):
        workspaces.append(manager.get_workspace(project_name))
    found: list[Finding] = []
    for workspace in workspaces:
        if project_name in (None, workspace.project_name):
            found += _symbolic(workspace, manager.base_path)
            found += _file(workspace)
            found += _shared_id(workspace, workspaces)
            if not workspace.error:
                found += _runs(workspace, manager, fix=fix)
                found += _link_log(workspace, manager, fix=fix)
    return found


def rebuild_links(manager: WorkspaceManager, project_name: str | None = None) -> dict[str, links.Rebuilt]:
    """Write the link log of one project or of all anew from what the tools know.

    Args:
        manager: The base.
        project_name: One project.

    Returns:
        What each log holds now, by project.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
    """
    if project_name is None:
        workspaces = [each for each in manager.list_workspaces() if not each.error]
    else:
        workspaces = [manager.get_workspace(project_name)]
    return {each.project_name: links.rebuild(_context(each, manager)) for each in workspaces}


def _file(workspace: ProjectWorkspace) -> Iterator[Finding]:
    name, path = workspace.project_name, workspace.metadata_file
    try:
        stored = ProjectWorkspace.load_metadata(workspace.root_path)
    except WorkspaceCorruptError as error:
        yield Finding(
            name, Check.CORRUPT, str(error), error.hint or f"repair {path}", details={"path": str(path)}
        )
        return
    if stored.project_name != workspace.root_path.name:
        yield Finding(
            name,
            Check.NAME,
            f"{path} is named {stored.project_name}, and its directory {workspace.root_path.name}",
            f"set project_name to {workspace.root_path.name} there, or rename the directory back",
            details={"path": str(path), "project_name": stored.project_name},
        )
    if stored.extra:
        keys = sorted(map(str, stored.extra))
        yield Finding(
            name,
            Check.UNKNOWN_KEY,
            f"{path} has keys this version does not know, and ignores: {', '.join(keys)}",
            "correct or remove them; what they hold may belong under metadata",
            details={"path": str(path), "keys": keys},
        )


def _shared_id(workspace: ProjectWorkspace, workspaces: Iterable[ProjectWorkspace]) -> Iterator[Finding]:
    by_id: dict[str, list[str]] = defaultdict(list)
    for each in workspaces:
        if not each.error:
            by_id[each.id].append(each.project_name)
    same = [other for other in by_id.get(workspace.id, ()) if other != workspace.project_name]
    if same and not workspace.error:
        yield Finding(
            workspace.project_name,
            Check.SHARED_ID,
            f"{workspace.metadata_file} has the id {workspace.id}, and so has {', '.join(same)}",
            "one is a copy of the other: give the copy an id of its own (python -c 'import uuid;"
            " print(uuid.uuid4())')",
            details={"id": workspace.id, "projects": same},
        )


def _link_log(workspace: ProjectWorkspace, manager: WorkspaceManager, *, fix: bool) -> Iterator[Finding]:
    _, damaged = links.logged(workspace)
    if not damaged:
        return
    path = links.log_file(workspace)
    rebuilt = links.rebuild(_context(workspace, manager)) if fix else None
    numbers = [line.number for line in damaged]
    yield Finding(
        workspace.project_name,
        Check.LINKS,
        f"{path} has {len(damaged)} lines that cannot be understood"
        + (f"; it was rebuilt and has {rebuilt.links} links now" if rebuilt else ""),
        "nothing is left to do" if rebuilt else "write it anew with: mlops doctor --rebuild-links",
        fixed=rebuilt is not None,
        details={"path": str(path), "lines": numbers[:_SHOWN_LINKS]},
    )


def _context(workspace: ProjectWorkspace, manager: WorkspaceManager) -> ToolContext:
    return ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)


def _symbolic(workspace: ProjectWorkspace, base: Path) -> Iterator[Finding]:
    root = base.resolve()
    leading_out = [
        (link, target)
        for link in _symbolic_links(workspace.root_path)
        if root not in (target := link.resolve()).parents
    ]
    if leading_out:
        link, target = leading_out[0]
        more = f", and {len(leading_out) - 1} more" if len(leading_out) > 1 else ""
        yield Finding(
            workspace.project_name,
            Check.LINK,
            f"{link} is a link out of {base}, to {target}{more}",
            "put what it points to in its place: there it is neither isolated nor removed with the project",
            details={"links": {str(at): str(to) for at, to in leading_out[:_SHOWN_LINKS]}},
        )


def _symbolic_links(root: Path) -> Iterator[Path]:
    if root.is_symlink():
        yield root
        return
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory, name)
            if path.is_symlink():
                yield path


def _runs(workspace: ProjectWorkspace, manager: WorkspaceManager, *, fix: bool) -> Iterator[Finding]:
    name = workspace.project_name
    try:
        tracking = MLflowTracking(_context(workspace, manager))
        health = tracking.health()
        if health.state is ToolState.UNAVAILABLE:
            yield Finding(
                name,
                Check.STORE,
                f"The runs cannot be looked at: {health.error}",
                f"make {health.location} reachable and readable, then look again",
                details={"location": health.location},
            )
        elif health.state is ToolState.READY:
            for run in abandoned.open_runs(tracking):
                yield from _run(tracking, run, fix=fix)
    except MLOpsError as error:
        yield Finding(
            name, Check.STORE, f"The runs cannot be looked at: {error}", error.hint or "see the message"
        )


def _run(tracking: MLflowTracking, run: abandoned.OpenRun, *, fix: bool) -> Iterator[Finding]:
    label = f"The run {run.run_name} ({run.run_id})"
    details = {"run_id": run.run_id, "host": run.host, "pid": run.pid, "process": str(run.process)}
    if run.process is ProcessState.GONE:
        ended = abandoned.end(tracking, run.run_id) if fix else None
        if fix and ended is None:
            return  # it ended, or was taken up again, meanwhile
        yield Finding(
            tracking.project,
            Check.CRASHED_RUN,
            f"{label} is RUNNING, and its process {run.pid} on this host is gone"
            + (f"; it is FAILED now, ended {ended:%Y-%m-%d %H:%M:%S} UTC" if ended else ""),
            "see how far it came, and start it again" if ended else "end it with: mlops doctor --fix",
            fixed=ended is not None,
            details=details | ({"ended_at": ended.isoformat()} if ended else {}),
        )
    elif run.process is ProcessState.UNKNOWN:
        where = f"process {run.pid} on {run.host}" if run.host else "a process that is not known"
        yield Finding(
            tracking.project,
            Check.OPEN_RUN,
            f"{label} is RUNNING in {where}, which cannot be checked from here: unknown",
            "look there; if nothing runs it any more, end it with:"
            f" client.tracking.client().set_terminated({run.run_id!r}, 'FAILED')",
            problem=False,
            details=details,
        )
