"""When a project's schedules fire next, and how they fired last: both as of now, never remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mlops.errors import ScheduleError
from mlops.reporting.facts import ScheduleFacts, Trouble
from mlops.workspace.model import ProjectWorkspace


def read(
    workspace: ProjectWorkspace, entries: Sequence[Mapping[str, Any]], *, now: datetime
) -> tuple[tuple[ScheduleFacts, ...], tuple[Trouble, ...]]:
    """Return a project's schedules by name, and what is wrong with those that never run.

    Args:
        workspace: The project; only its name and directory are used.
        entries: The section ``schedules`` of its ``workspace.yaml``.
        now: The moment that the next firings come after, aware.
    """
    from mlops.scheduling.history import JobHistory, JobRun
    from mlops.scheduling.schedule import Schedule

    found: list[ScheduleFacts] = []
    troubles: list[Trouble] = []
    last: dict[str, JobRun] = {}
    for run in JobHistory.of(workspace).runs():
        last.setdefault(run.schedule, run)
    for entry in sorted(entries, key=lambda each: str(each.get("name"))):
        try:
            schedule = Schedule.from_stored(entry, project=workspace.project_name)
            following = None if schedule.paused else schedule.next_after(now)
        except ScheduleError as error:
            troubles.append(Trouble("schedules", "corrupt", str(error)))
            continue
        ran = last.get(schedule.name)
        found.append(
            ScheduleFacts(
                schedule.name,
                schedule.target,
                schedule.when,
                schedule.paused,
                following,
                None if ran is None else str(ran.status),
                None if ran is None else ran.started_at,
            )
        )
    return tuple(found), tuple(troubles)
