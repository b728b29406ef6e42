"""One firing carried out: claimed, tried as often as its schedule allows, and recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mlops.pipelines.step import MAX_BACKOFF_SECONDS
from mlops.scheduling.history import JobHistory, JobRun, JobStatus
from mlops.scheduling.schedule import Schedule
from mlops.scheduling.target import Target, execute, load, run_of
from mlops.workspace.model import ProjectWorkspace


def fire(
    schedule: Schedule,
    at: datetime,
    *,
    history: JobHistory,
    workspace: ProjectWorkspace | None,
    target: Target | None = None,
    stopping: threading.Event | None = None,
    forced: bool = False,
) -> JobRun | None:
    """Carry out a firing, unless another scheduler has it.

    Args:
        schedule: The schedule.
        at: When it was due.
        history: Where it is recorded.
        workspace: The project, or None.
        target: What runs; None for what the schedule names.
        stopping: Set when nothing more is to be started.
        forced: Run it also if a later one was claimed already.

    Returns:
        What became of it; None if another scheduler has it.
    """
    too_late = datetime.now(UTC) - at > timedelta(seconds=schedule.grace_seconds)
    with history.firing(schedule.name, at, too_late=too_late, forced=forced) as run:
        if run is None or run.status is not JobStatus.RUNNING:
            return run
        try:
            ended = _attempt(
                run, schedule, lambda: _execute(schedule, target, workspace), stopping or threading.Event()
            )
        except BaseException as error:
            # SystemExit of a job, or Ctrl-C: recorded, and for whoever called to decide.
            history.end(_ended(run, JobStatus.FAILED, attempts=max(run.attempts, 1), error=_text(error)))
            raise
        history.end(ended)
        return ended


def _execute(schedule: Schedule, target: Target | None, workspace: ProjectWorkspace | None) -> str | None:
    found = (
        load(schedule.target, schedule=schedule.name, project=schedule.project) if target is None else target
    )
    return execute(found, workspace)


def _attempt(
    run: JobRun, schedule: Schedule, work: Callable[[], str | None], stopping: threading.Event
) -> JobRun:
    for number in range(1, schedule.retries + 2):
        try:
            return _ended(run, JobStatus.FINISHED, attempts=number, run_id=work())
        except Exception as error:  # noqa: BLE001 - the job's outcome, which the history tells
            failed = _ended(run, JobStatus.FAILED, attempts=number, run_id=run_of(error), error=_text(error))
        delay = schedule.retry_delay * 2 ** (number - 1)
        longest = max(schedule.retry_delay, MAX_BACKOFF_SECONDS * 60)
        if number > schedule.retries or stopping.wait(min(delay, longest)):
            break
    return replace(failed, ended_at=datetime.now(UTC))


def _ended(run: JobRun, status: JobStatus, **values: object) -> JobRun:
    return replace(run, status=status, ended_at=datetime.now(UTC), **values)  # type: ignore[arg-type]


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
