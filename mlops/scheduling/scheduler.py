"""PipelineScheduler: pipelines run at set times, in this process or by ``mlops schedule start``."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from mlops.errors import ScheduleError, WorkspaceError
from mlops.pipelines.pipeline import Pipeline
from mlops.scheduling import job, stored, target
from mlops.scheduling.history import JobHistory, JobRun, JobStatus
from mlops.scheduling.schedule import GRACE_SECONDS, RETRY_DELAY_SECONDS, Schedule, zone_of
from mlops.scheduling.verbs import ScheduleVerbs
from mlops.workspace.manager import WorkspaceManager
from mlops.workspace.model import ProjectWorkspace

_log: Final = logging.getLogger(__name__)

# How soon a running scheduler sees what another process changed; pausing and removing count at once.
REFRESH_SECONDS: Final = 1.0


class PipelineScheduler(ScheduleVerbs):
    """Runs pipelines of a project at set times; each firing is recorded in the project.

    Every ``schedule_...`` method takes the keyword arguments

    * ``name``: letters, digits, ``_``, ``.`` and ``-``; a schedule of that name is replaced,
    * ``pipeline_func``: a function without parameters, or ``pipeline``: a ``Pipeline``; either can be given
      as ``"module:name"``. A pipeline that the function returns without having run it is run,
    * ``timezone``: whose clock is meant, such as ``"Europe/Berlin"``; by default this machine's,
    * ``retries`` and ``retry_delay``: how often a failed job is tried again, and the seconds before the first
      of these, which double for each further one,
    * ``grace_seconds``: how late a firing may still start, a day by default. Of several that were missed the
      last is made up,

    and returns the ``Schedule``. It is stored in the project if another process can import what it runs;
    otherwise, as for a lambda, a nested function or a function of a script, it ends with this process, which
    is logged as a warning and is what ``persistent`` of the schedule says.

    A job never runs beside itself: a firing that finds the one before still at work is recorded as skipped.
    Several schedulers of one project, in one process or several, carry out each firing once.

    When clocks change, a time that is skipped is taken as much later (02:30 becomes 03:30), and one that
    comes twice is taken once; intervals and crons for every hour follow the time that really passes.

    Args:
        project: A client, a ``Project``, a workspace or a project's name. Without one nothing is stored, and
            schedules and their history end with this object.
        base_path: The directory that holds the projects, for a project given by its name.
        max_workers: How many jobs run at once.
        on_end: Called with each firing after it ended, in the job's thread.

    Raises:
        WorkspaceNotFoundError: There is no such project.
    """

    def __init__(
        self,
        project: Any = None,
        *,
        base_path: Path | str | None = None,
        max_workers: int = 10,
        on_end: Callable[[JobRun], object] | None = None,
    ) -> None:
        self._workspace = _workspace_of(project, base_path)
        self._own: dict[str, tuple[Schedule, target.Target]] = {}
        self._max_workers = max_workers
        self._on_end = on_end
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._scheduler: Any = None
        self._registered: dict[str, Schedule] = {}
        self._seen: object = None
        if self._workspace is not None:
            self._history = JobHistory.of(self._workspace)
        else:
            directory = Path(tempfile.mkdtemp(prefix="mlops-schedules-"))
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
            self._history = JobHistory(directory, lambda name: directory / f"{name}.lock")

    @property
    def project(self) -> str | None:
        """The project's name, or None."""
        return None if self._workspace is None else self._workspace.project_name

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._scheduler is not None

    def list(self) -> tuple[Schedule, ...]:
        """Return the schedules by name: those stored in the project, and those of this object.

        Entries of ``workspace.yaml`` that make no sense are in ``errors``.
        """
        with self._lock:
            found = {name: schedule for name, (schedule, _) in self._own.items()}
        if self._workspace is not None:
            found |= stored.read(self._workspace)[0]
        return tuple(found[name] for name in sorted(found))

    def errors(self) -> dict[str, ScheduleError]:
        """Return what is wrong with entries of ``workspace.yaml`` that never run, by name."""
        return {} if self._workspace is None else stored.read(self._workspace)[1]

    def pause(self, name: str) -> None:
        """Let a schedule rest, also in other processes; a job that is running goes on.

        Raises:
            ScheduleError: There is none of that name.
        """
        self._change(name, "pause", paused=True)

    def resume(self, name: str) -> None:
        """Wake a schedule; what it would have run meanwhile is not made up.

        Raises:
            ScheduleError: There is none of that name.
        """
        self._change(name, "resume", paused=False, since=datetime.now(UTC))

    def remove(self, name: str) -> None:
        """Remove a schedule; a job that is running goes on, and its history stays.

        Raises:
            ScheduleError: There is none of that name.
        """
        with self._lock:
            if self._own.pop(name, None) is None:
                if self._workspace is None:
                    raise stored.missing(name, self._own, project=None, operation="remove")
                stored.remove(self._workspace, name, operation="remove")
            self._refresh(force=True)

    def history(self, name: str | None = None, *, limit: int | None = 100) -> tuple[JobRun, ...]:
        """Return what fired, newest first, also of schedules that were removed.

        Args:
            name: Only this schedule's.
            limit: At most so many; None for all.
        """
        return tuple(self._history.runs(name, limit=limit))

    def run(self, name: str, *, due: bool = False) -> JobRun | None:
        """Run a schedule's job now, in this thread, with its retries.

        Args:
            name: The schedule; it may be paused.
            due: Run it only if it is due: not paused, and its last firing not carried out by anyone yet.
                That is what an exported schedule calls.

        Returns:
            What became of it; None if it was not due.

        Raises:
            ScheduleError: There is none of that name, or its job is still running.
        """
        schedule, what = self._find(name, "run")
        if not due:
            run = self._fire(schedule, what, datetime.now(UTC), forced=True)
            if run is not None and run.status is JobStatus.SKIPPED:
                raise ScheduleError(
                    f"The job of the schedule {name!r} is still running",
                    operation="run",
                    workspace=self.project,
                    hint=f"wait for it to end; history({name!r}) shows it",
                )
            return run
        at = None if schedule.paused else _last_due(schedule, self._after(schedule))
        return None if at is None else self._fire(schedule, what, at)

    def start(self) -> Self:
        """Run the schedules in the background of this process until ``stop``.

        Schedules that other processes add, change, pause or remove meanwhile are seen.
        """
        from mlops.scheduling import apscheduling

        with self._lock:
            if self._scheduler is None:
                self._stopping.clear()
                self._scheduler = apscheduling.start(
                    self._fired, self._max_workers, refresh=self._refresh, seconds=REFRESH_SECONDS
                )
                self._refresh(force=True)
        return self

    def stop(self, *, wait: bool = True) -> None:
        """Start no more jobs; those that are waiting to be tried again end as failed.

        Args:
            wait: Wait for the jobs that are running. They end with the process otherwise.
        """
        self._stopping.set()
        with self._lock:
            scheduler, self._scheduler = self._scheduler, None
            self._registered.clear()
        if scheduler is not None:
            scheduler.shutdown(wait=wait)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _add(self, name: str, options: dict[str, Any], **timing: Any) -> Schedule:
        what = _target_of(name, options)
        reference = what if isinstance(what, str) else target.reference_of(what)
        persistent = reference is not None and self._workspace is not None
        schedule = Schedule(
            name=name,
            target=reference or target.described(what),  # type: ignore[arg-type]
            project=self.project,
            timezone=zone_of(options.pop("timezone", None), schedule=name),
            persistent=persistent,
            retries=options.pop("retries", 0),
            retry_delay=options.pop("retry_delay", RETRY_DELAY_SECONDS),
            grace_seconds=options.pop("grace_seconds", GRACE_SECONDS),
            **timing,
        )
        if options:
            raise ScheduleError(
                f"The schedule {name!r} has no option {next(iter(options))!r}",
                operation="schedule",
                workspace=self.project,
                hint="options are: pipeline_func, pipeline, timezone, retries, retry_delay, grace_seconds",
            )
        loaded = target.load(what, schedule=name, project=self.project) if isinstance(what, str) else what
        with self._lock:
            if persistent and self._workspace is not None:
                schedule = stored.put(self._workspace, schedule, operation="schedule")
                self._own.pop(name, None)
            else:
                if self._workspace is not None and name in stored.read(self._workspace)[0]:
                    raise ScheduleError(
                        f"The project {self.project!r} has a stored schedule {name!r} already",
                        operation="schedule",
                        workspace=self.project,
                        hint=f"remove it first: remove({name!r}), or choose another name",
                    )
                self._own[name] = (schedule, loaded)
                _log.warning(
                    "The schedule %r ends with this process: %s",
                    name,
                    f"{schedule.target} cannot be imported by name"
                    if reference is None
                    else "its scheduler has no project to store it in",
                )
            self._refresh(force=True)
        return schedule

    def _change(self, name: str, operation: str, **values: Any) -> None:
        with self._lock:
            if name in self._own:
                schedule, what = self._own[name]
                self._own[name] = (schedule.changed(**values), what)
            elif self._workspace is None:
                raise stored.missing(name, self._own, project=None, operation=operation)
            else:
                plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}
                stored.update(self._workspace, name, plain, operation=operation)
            self._refresh(force=True)

    def _find(self, name: str, operation: str) -> tuple[Schedule, target.Target | None]:
        with self._lock:
            if name in self._own:
                return self._own[name]
        if self._workspace is None:
            raise stored.missing(name, self._own, project=None, operation=operation)
        return stored.find(self._workspace, name, operation=operation), None

    def _after(self, schedule: Schedule) -> datetime:
        last = self._history.last(schedule.name)
        earliest = datetime.now(UTC) - timedelta(seconds=schedule.grace_seconds)
        return max(schedule.since, earliest, *([] if last is None else [last]))

    def _refresh(self, *, force: bool = False) -> None:
        """Register with APScheduler what is not yet, or not any more, as it is stored."""
        from mlops.scheduling import apscheduling

        with self._lock:
            scheduler = self._scheduler
            if scheduler is None:
                return
            seen = None if self._workspace is None else _state_of(self._workspace.metadata_file)
            if seen == self._seen and not force:
                return
            self._seen = seen
            found = {name: schedule for name, (schedule, _) in self._own.items()}
            try:
                stored_ones, wrong = ({}, {}) if self._workspace is None else stored.read(self._workspace)
            except WorkspaceError as error:
                # Deleted, or being edited by hand: what is registered is looked up again before it runs.
                _log.warning("The schedules cannot be read: %s", error)
                return
            for problem in wrong.values():
                _log.warning("A schedule is left out: %s", problem)
            found |= stored_ones
            wanted = {name: schedule for name, schedule in found.items() if not schedule.paused}
            for name in self._registered.keys() - wanted.keys():
                if scheduler.get_job(name) is not None:
                    scheduler.remove_job(name)
                del self._registered[name]
            for name, schedule in wanted.items():
                if self._registered.get(name) != schedule:
                    apscheduling.register(scheduler, schedule, self._after(schedule))
                    self._registered[name] = schedule

    def _fired(self, name: str, at: datetime) -> None:
        if self._stopping.is_set():
            return
        try:
            schedule, what = self._find(name, "start")
        except (ScheduleError, WorkspaceError):
            # Removed, or broken by hand, since it was registered; refreshing tells.
            return
        if not schedule.paused:
            self._fire(schedule, what, at)

    def _fire(
        self, schedule: Schedule, what: target.Target | None, at: datetime, *, forced: bool = False
    ) -> JobRun | None:
        run = job.fire(
            schedule,
            at,
            history=self._history,
            workspace=self._workspace,
            target=what,
            stopping=self._stopping,
            forced=forced,
        )
        if run is not None:
            if run.status is JobStatus.FAILED:
                _log.warning("The scheduled job %r failed: %s", schedule.name, run.error)
            if self._on_end is not None:
                self._on_end(run)
        return run


def _workspace_of(project: Any, base_path: Path | str | None) -> ProjectWorkspace | None:
    if project is None or isinstance(project, ProjectWorkspace):
        return project
    if isinstance(project, str):
        return WorkspaceManager(base_path).get_workspace(project)
    # A client has a workspace, a Project has a client.
    found = getattr(getattr(project, "client", project), "workspace", None)
    if not isinstance(found, ProjectWorkspace):
        raise ScheduleError(
            f"{project!r} is no project",
            operation="PipelineScheduler",
            hint="pass a client, a Project or a project's name",
        )
    return found


def _target_of(name: str, options: dict[str, Any]) -> target.Target | str:
    given = [options.pop(key) for key in ("pipeline_func", "pipeline") if key in options]
    if len(given) != 1 or not (isinstance(given[0], str | Pipeline) or callable(given[0])):
        raise ScheduleError(
            f"The schedule {name!r} needs one thing to run",
            operation="schedule",
            hint="pass pipeline_func=function, pipeline=pipeline, or either as 'module:name'",
        )
    found: target.Target | str = given[0]
    return found


def _last_due(schedule: Schedule, after: datetime) -> datetime | None:
    now = datetime.now(UTC)
    due, following = None, schedule.next_after(after)
    while following is not None and following <= now:
        due, following = following, schedule.next_after(following)
    return due


def _state_of(path: Path) -> object:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
