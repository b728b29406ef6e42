"""The schedules in a project's ``workspace.yaml``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops.errors import ScheduleError
from mlops.scheduling.schedule import Schedule
from mlops.workspace.model import ProjectWorkspace


def read(workspace: ProjectWorkspace) -> tuple[dict[str, Schedule], dict[str, ScheduleError]]:
    """Return a project's schedules by name, as they are stored now, and those that make no sense.

    Args:
        workspace: The project.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
        WorkspaceCorruptError: It cannot be read.
    """
    found: dict[str, Schedule] = {}
    wrong: dict[str, ScheduleError] = {}
    for entry in _load(workspace).schedules:
        name = str(entry.get("name"))
        try:
            found[name] = Schedule.from_stored(entry, project=workspace.project_name)
        except ScheduleError as error:
            wrong[name] = error
    return found, wrong


def find(workspace: ProjectWorkspace, name: str, *, operation: str) -> Schedule:
    """Return one schedule.

    Args:
        workspace: The project.
        name: The schedule.
        operation: The calling method, for errors.

    Raises:
        ScheduleError: There is none of that name, or it makes no sense.
    """
    found, wrong = read(workspace)
    if name in wrong:
        raise wrong[name]
    if name not in found:
        raise missing(name, found, project=workspace.project_name, operation=operation)
    return found[name]


def put(workspace: ProjectWorkspace, schedule: Schedule, *, operation: str) -> Schedule:
    """Store a schedule; one of that name is replaced, and goes on resting if it was paused.

    Args:
        workspace: The project.
        schedule: The schedule.
        operation: The calling method, for errors.

    Returns:
        What is stored: the same as before, with its age, where nothing changes.
    """
    kept = schedule

    def edit(entries: list[dict[str, Any]]) -> bool:
        nonlocal kept
        new = schedule.to_stored()
        for position, old in enumerate(entries):
            if old.get("name") != schedule.name:
                continue
            same = ("created_at", "since", "paused")
            new |= {key: old[key] for key in same if key in old}
            if new.items() <= old.items():
                kept = Schedule.from_stored(old, project=workspace.project_name)
                return False
            new |= {key: schedule.to_stored()[key] for key in ("created_at", "since")}
            entries[position] = new
            kept = Schedule.from_stored(new, project=workspace.project_name)
            return True
        entries.append(new)
        return True

    _change(workspace, edit, operation=operation)
    return kept


def update(workspace: ProjectWorkspace, name: str, values: dict[str, Any], *, operation: str) -> None:
    """Change keys of one stored schedule.

    Args:
        workspace: The project.
        name: The schedule.
        values: Its new values by key.
        operation: The calling method, for errors.

    Raises:
        ScheduleError: There is none of that name.
    """

    def edit(entries: list[dict[str, Any]]) -> bool:
        _entry(entries, name, workspace, operation).update(values)
        return True

    _change(workspace, edit, operation=operation)


def remove(workspace: ProjectWorkspace, name: str, *, operation: str) -> None:
    """Remove one stored schedule, also one that makes no sense.

    Args:
        workspace: The project.
        name: The schedule.
        operation: The calling method, for errors.

    Raises:
        ScheduleError: There is none of that name.
    """

    def edit(entries: list[dict[str, Any]]) -> bool:
        entries.remove(_entry(entries, name, workspace, operation))
        return True

    _change(workspace, edit, operation=operation)


def missing(name: str, known: Any, *, project: str | None, operation: str) -> ScheduleError:
    """Return the error for a schedule that does not exist."""
    return ScheduleError(
        f"There is no schedule {name!r}" + (f" in the project {project!r}" if project else ""),
        operation=operation,
        workspace=project,
        hint=f"there are: {', '.join(sorted(known)) or 'none'}",
    )


def _entry(entries: list[dict[str, Any]], name: str, workspace: ProjectWorkspace, operation: str) -> Any:
    for entry in entries:
        if str(entry.get("name")) == name:
            return entry
    known = [str(entry.get("name")) for entry in entries]
    raise missing(name, known, project=workspace.project_name, operation=operation)


def _load(workspace: ProjectWorkspace) -> ProjectWorkspace:
    return ProjectWorkspace.load_metadata(workspace.root_path, project_name=workspace.project_name)


def _change(
    workspace: ProjectWorkspace, edit: Callable[[list[dict[str, Any]]], bool], *, operation: str
) -> None:
    workspace.require_present(operation=operation)
    with workspace.lock(operation=operation):
        current = _load(workspace)
        if edit(current.schedules):
            current.check_serializable()
            current.save_metadata()
