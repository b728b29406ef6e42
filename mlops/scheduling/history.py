"""What became of each firing of a schedule, and who may carry it out.

A firing is claimed under a lock before anything runs, so of several schedulers of one project one runs it.
A schedule's own lock is held while its job runs, so no two of its jobs run at once; both locks end with their
process.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from mlops import jsonlines
from mlops.files import locked, write_atomic
from mlops.pipelines.catalogue import DIRECTORY
from mlops.workspace.model import ProjectWorkspace, lock_file

_LOCK: Final = "schedules"


class JobStatus(StrEnum):
    """How a firing ended, or that it has not yet."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    # The job fired before was still running.
    SKIPPED = "SKIPPED"
    # Nobody could start it within its grace.
    MISSED = "MISSED"
    # Its process ended in the midst of it.
    INTERRUPTED = "INTERRUPTED"


@dataclass(frozen=True, slots=True)
class JobRun:
    """One firing.

    Args:
        id: Its own id.
        schedule: The schedule.
        status: How it ended.
        scheduled_at: The time it was due, in UTC.
        started_at: When it started; for one that did not, when that was decided.
        ended_at: When it ended, or None.
        attempts: How often the job was tried.
        run_id: The MLflow run of the pipeline, or None.
        error: What it failed with, or None.
        process: Host, process id and start of the process it ran in.
    """

    id: str
    schedule: str
    status: JobStatus
    scheduled_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    attempts: int = 0
    run_id: str | None = None
    error: str | None = None
    process: tuple[str, int, float] | None = None

    @property
    def duration(self) -> float | None:
        """Seconds it took, with its retries; None while it runs."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "id": self.id,
            "schedule": self.schedule,
            "status": str(self.status),
            "scheduled_at": self.scheduled_at.isoformat(),
            "started_at": self.started_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "duration": self.duration,
            "attempts": self.attempts,
            "run_id": self.run_id,
            "error": self.error,
            "process": None if self.process is None else list(self.process),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobRun:
        """Read what ``to_dict`` returned."""
        ended, process = values["ended_at"], values["process"]
        return cls(
            values["id"],
            values["schedule"],
            JobStatus(values["status"]),
            datetime.fromisoformat(values["scheduled_at"]),
            datetime.fromisoformat(values["started_at"]),
            None if ended is None else datetime.fromisoformat(ended),
            values["attempts"],
            values["run_id"],
            values["error"],
            None if process is None else (process[0], process[1], process[2]),
        )


class JobHistory:
    """The firings of the schedules of one project.

    Args:
        directory: Where they are kept.
        lock: Gives the lock file of a name.
    """

    def __init__(self, directory: Path, lock: Callable[[str], Path]) -> None:
        self._directory = directory
        self._file = directory / "history.jsonl"
        self._lock = lock

    @classmethod
    def of(cls, workspace: ProjectWorkspace) -> JobHistory:
        """Return that of a project; nothing is created before something fires."""
        return cls(
            workspace.root_path / DIRECTORY / "schedules", lambda name: lock_file(workspace.root_path, name)
        )

    def last(self, schedule: str) -> datetime | None:
        """Return the time of the last firing of a schedule that was claimed, or None."""
        try:
            values = json.loads(self._claim(schedule).read_bytes())
            return datetime.fromisoformat(values["last"])
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def firing(
        self, schedule: str, at: datetime, *, too_late: bool = False, forced: bool = False
    ) -> Iterator[JobRun | None]:
        """Claim a firing, and hold the schedule's lock until the block ends.

        Args:
            schedule: The schedule.
            at: When it was due.
            too_late: Record it as missed instead of running it.
            forced: Claim it also if a later one was claimed already.

        Yields:
            The firing, whose status says whether it may run; None if another scheduler has it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            with locked(self._lock(_LOCK), operation="schedule"):
                last = self.last(schedule)
                if last is not None and at <= last and not forced:
                    run = None
                else:
                    run = self._begin(held, schedule, at, too_late=too_late)
                    write_atomic(self._claim(schedule), json.dumps({"last": max(at, last or at).isoformat()}))
                    jsonlines.append(self._file, [run.to_dict()])
            yield run

    def end(self, run: JobRun) -> None:
        """Record how a firing ended.

        Args:
            run: The firing, with its outcome.
        """
        with locked(self._lock(_LOCK), operation="schedule"):
            jsonlines.append(self._file, [run.to_dict()])

    def runs(self, schedule: str | None = None, *, limit: int | None = None) -> list[JobRun]:
        """Return the firings, newest first.

        Args:
            schedule: Only this one's.
            limit: At most so many; None for all.
        """
        found: dict[str, JobRun] = {}
        for line in jsonlines.read(self._file):
            if line.value is not None and schedule in (None, line.value["schedule"]):
                found[line.value["id"]] = JobRun.from_dict(line.value)
        newest = sorted(found.values(), key=lambda run: run.started_at, reverse=True)[:limit]
        return [
            replace(run, status=JobStatus.INTERRUPTED)
            if run.status is JobStatus.RUNNING and not _alive(run.process)
            else run
            for run in newest
        ]

    def _begin(self, held: contextlib.ExitStack, schedule: str, at: datetime, *, too_late: bool) -> JobRun:
        from filelock import FileLock, Timeout

        now = datetime.now(UTC)
        run = JobRun(uuid.uuid4().hex, schedule, JobStatus.RUNNING, at, now, process=_process())
        if too_late:
            return replace(run, status=JobStatus.MISSED, ended_at=now)
        try:
            held.enter_context(FileLock(self._lock(f"schedule-{schedule}"), timeout=0))
        except Timeout:
            return replace(
                run, status=JobStatus.SKIPPED, ended_at=now, error="the job before is still running"
            )
        return run

    def _claim(self, schedule: str) -> Path:
        return self._directory / f"{schedule}.json"


def _process() -> tuple[str, int, float]:
    import psutil

    return socket.gethostname(), os.getpid(), psutil.Process().create_time()


def _alive(process: tuple[str, int, float] | None) -> bool:
    """Say whether a process runs; of one on another machine that cannot be told, so it counts as alive."""
    import psutil

    if process is None or process[0] != socket.gethostname():
        return True
    try:
        # A second of tolerance: the start is computed from the boot time, which is corrected now and then.
        return abs(psutil.Process(process[1]).create_time() - process[2]) < 1
    except psutil.NoSuchProcess:
        return False
