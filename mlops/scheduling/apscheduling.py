"""APScheduler, told when schedules fire and given what runs then; imported when a scheduler starts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from mlops.scheduling.schedule import Schedule

_MOMENT: Final = timedelta(microseconds=1)
# A job's own lock decides whether it may run beside another; this only has to be out of the way.
_INSTANCES: Final = 1000
# No schedule can have that name.
_REFRESH: Final = "/refresh"


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]
    """When a schedule fires.

    Args:
        schedule: The schedule.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next firing, in UTC: clocks of two zones would be compared without their changes."""
        return self.schedule.next_after((previous_fire_time or now - _MOMENT).astimezone(UTC))


class JobExecutor(ThreadPoolExecutor):  # type: ignore[misc]
    """Runs jobs in threads, and tells each when it was due.

    Args:
        run: Called with a schedule's name and the time it was due; of several missed ones only the last.
        max_workers: How many at once.
    """

    def __init__(self, run: Callable[[str, datetime], object], max_workers: int) -> None:
        super().__init__(max_workers, pool_kwargs={"thread_name_prefix": "mlops-schedule"})
        self._run = run

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        def ended(future: Future[object]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                self._run_job_error(job.id, error, error.__traceback__)
            else:
                self._run_job_success(job.id, [])

        self._pool.submit(self._run, job.id, run_times[-1]).add_done_callback(ended)


def start(
    run: Callable[[str, datetime], object],
    max_workers: int,
    *,
    refresh: Callable[[], object],
    seconds: float,
) -> Any:
    """Return a started scheduler without schedules.

    Args:
        run: Called in a thread with a schedule's name and the time it was due.
        max_workers: How many jobs run at once.
        refresh: Called again and again, in a thread of its own.
        seconds: How often.
    """
    executors = {"default": JobExecutor(run, max_workers), _REFRESH: ThreadPoolExecutor(1)}
    scheduler = BackgroundScheduler(executors=executors, timezone=UTC, daemon=True)
    options = {"coalesce": True, "misfire_grace_time": None}
    scheduler.add_job(refresh, "interval", id=_REFRESH, executor=_REFRESH, seconds=seconds, **options)
    scheduler.start()
    return scheduler


def register(scheduler: Any, schedule: Schedule, after: datetime) -> None:
    """Register a schedule, or replace it.

    Args:
        scheduler: What ``start`` returned.
        schedule: The schedule.
        after: Firings up to then do not count; those since then that were missed are made up, once.
    """
    first = schedule.next_after(after)
    if first is None:
        return
    scheduler.add_job(
        _never_called,
        ScheduleTrigger(schedule),
        id=schedule.name,
        next_run_time=first,
        replace_existing=True,
        coalesce=True,
        max_instances=_INSTANCES,
        misfire_grace_time=None,
    )


def _never_called() -> None:
    """Stand for the job: the executor looks it up by its id."""
