"""The files of one JSON object per line: lines that cannot be understood, and what a killed writer left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops import jsonlines
from mlops.client import model_metrics
from mlops.files import locked, write_atomic
from mlops.integrations.dvc_data.ledger import FILE_NAME as LEDGER
from mlops.integrations.evidently_monitoring import alert_log, history, reference
from mlops.integrations.evidently_monitoring.frames import TOOL as EVIDENTLY
from mlops.pipelines.catalogue import DIRECTORY
from mlops.reporting.doctor.finding import SHOWN, Check, Finding
from mlops.reporting.doctor.subject import Subject
from mlops.reporting.wording import counted
from mlops.workspace import links
from mlops.workspace.model import ProjectWorkspace, lock_file
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

# Kept beside a log: the lines that were taken out of it.
_SUFFIX: Final = ".damaged"


@dataclass(frozen=True, slots=True)
class _Log:
    """A log of a project.

    Args:
        path: The file.
        lock: Holds the lock of its writers.
        separable: Whether lines can be taken out of it: the others do not depend on them.
    """

    path: Path
    lock: Callable[[], AbstractContextManager[None]]
    separable: bool = True


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the logs of a project, the link log among them."""
    yield from _link_log(subject)
    for log in _logs(subject.workspace):
        damaged = [line.number for line in jsonlines.read(log.path) if line.value is None]
        if damaged and log.separable:
            yield _damaged(subject, log, damaged)
        if _torn(log.path):
            yield _cut_off(subject, log)


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
    root = manager.location.root
    contexts = [ToolContext(each, resolve_for(each, root=root).settings) for each in workspaces]
    return {each.workspace.project_name: links.rebuild(each) for each in contexts}


def _logs(workspace: ProjectWorkspace) -> Iterator[_Log]:
    def lock(name: str = "workspace") -> Callable[[], AbstractContextManager[None]]:
        return lambda: workspace.lock(name, operation="doctor")

    monitoring = workspace.monitoring_path
    yield _Log(workspace.dvc_path / LEDGER, lock("dvc"), separable=False)
    yield _Log(monitoring / history.HISTORY_FILE, lock(EVIDENTLY))
    yield _Log(monitoring / alert_log.ALERTS_FILE, lock(EVIDENTLY))
    yield _Log(monitoring / "reference" / reference.HISTORY_FILE, lock(EVIDENTLY))
    yield _Log(workspace.root_path / model_metrics.FILE_NAME, lock())
    yield _Log(
        workspace.root_path / DIRECTORY / "schedules" / "history.jsonl",
        lambda: locked(lock_file(workspace.root_path, "schedules"), operation="doctor"),
    )


def _link_log(subject: Subject) -> Iterator[Finding]:
    _, damaged = links.logged(subject.workspace)
    if not damaged:
        return
    path = links.log_file(subject.workspace)
    yield subject.finding(
        Check.LINKS,
        f"{path} has {counted(len(damaged), 'line')} that cannot be understood",
        "write it anew with: mlops doctor --rebuild-links",
        repair=lambda: f"it was rebuilt and has {links.rebuild(subject.context).links} links now",
        path=str(path),
        lines=[line.number for line in damaged[:SHOWN]],
    )


def _damaged(subject: Subject, log: _Log, numbers: list[int]) -> Finding:
    aside = log.path.with_name(log.path.name + _SUFFIX)

    def set_aside() -> str | None:
        with log.lock():
            *lines, torn = log.path.read_bytes().split(b"\n")
            wrong = {line.number for line in jsonlines.read(log.path) if line.value is None}
            if not wrong:
                return None
            # First the copy: a process that is killed in between leaves the lines in both.
            former = aside.read_bytes() if aside.exists() else b""
            taken = b"".join(line + b"\n" for number, line in enumerate(lines, 1) if number in wrong)
            write_atomic(aside, former + taken)
            kept = b"".join(line + b"\n" for number, line in enumerate(lines, 1) if number not in wrong)
            write_atomic(log.path, kept + torn)
        return f"what cannot is in {aside.name} beside it now"

    return subject.finding(
        Check.LOG,
        f"{log.path} has {counted(len(numbers), 'line')} that cannot be understood, first line {numbers[0]}",
        f"repair them by hand, or let mlops doctor --fix move them to {aside.name}",
        repair=set_aside,
        path=str(log.path),
        lines=numbers[:SHOWN],
    )


def _cut_off(subject: Subject, log: _Log) -> Finding:
    def cut() -> str | None:
        with log.lock():
            torn = _torn(log.path)
            if torn:
                content = log.path.read_bytes()
                write_atomic(log.path, content[: len(content) - torn])
        return "the rest of it was removed" if torn else None

    return subject.finding(
        Check.LOG,
        f"{log.path} ends in a line that a killed process did not complete; nobody reads it",
        "the next writer removes it, and so does: mlops doctor --fix",
        problem=False,
        repair=cut,
        path=str(log.path),
    )


def _torn(path: Path) -> int:
    """Return how many bytes there are behind the last whole line of a file."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return len(content) - (content.rfind(b"\n") + 1)
