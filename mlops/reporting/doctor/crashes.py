"""What processes left open that were killed: runs, jobs of schedules, and the records of servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlops.integrations.bentoml_serving import BentoServing
from mlops.integrations.bentoml_serving.starting import serving_directory
from mlops.integrations.mlflow_tracking import MLflowTracking, abandoned
from mlops.integrations.mlflow_tracking.processes import ProcessState
from mlops.reporting.doctor.finding import Check, Finding, named
from mlops.reporting.doctor.subject import Subject
from mlops.scheduling.history import JobHistory, JobRun, JobStatus
from mlops.workspace.scratch import is_held, sweep

# A directory is made, and claimed at once: what is so old and unclaimed has lost its owner.
_CLAIMED_SECONDS: Final = 60.0


def runs(subject: Subject) -> Iterator[Finding]:
    """Yield the runs that are RUNNING without a process that is known to be at work on them."""
    tracking = MLflowTracking(subject.context)
    if tracking.embedded and not tracking.database.exists():
        return
    for run in abandoned.open_runs(tracking):
        label = f"The run {run.run_name} ({run.run_id})"
        details: dict[str, Any] = {
            "run_id": run.run_id,
            "host": run.host,
            "pid": run.pid,
            "process": str(run.process),
        }
        if run.process is ProcessState.GONE:

            def end(run_id: str = run.run_id) -> str | None:
                ended = abandoned.end(tracking, run_id)
                # It ended, or was taken up again, meanwhile.
                return None if ended is None else f"it is FAILED now, ended {ended:%Y-%m-%d %H:%M:%S} UTC"

            yield subject.finding(
                Check.CRASHED_RUN,
                f"{label} is RUNNING, and its process {run.pid} on this host is gone",
                "end it with: mlops doctor --fix",
                repair=end,
                **details,
            )
        elif run.process is ProcessState.UNKNOWN:
            where = f"process {run.pid} on {run.host}" if run.host else "a process that is not known"
            yield subject.finding(
                Check.OPEN_RUN,
                f"{label} is RUNNING in {where}, which cannot be checked from here: unknown",
                "look there; if nothing runs it any more, end it with:"
                f" client.tracking.client().set_terminated({run.run_id!r}, 'FAILED')",
                problem=False,
                **details,
            )


def jobs(subject: Subject) -> Iterator[Finding]:
    """Yield the jobs of schedules that are recorded as running, and whose process is gone."""
    recorded = JobHistory.of(subject.workspace)
    for job in _cut_off(recorded):

        def end(job: JobRun = job) -> str | None:
            if all(each.id != job.id for each in _cut_off(recorded)):
                return None
            recorded.end(replace(job, status=JobStatus.INTERRUPTED, ended_at=datetime.now(UTC)))
            return "it is recorded as INTERRUPTED now"

        pid = "" if job.process is None else f" {job.process[1]}"
        yield subject.finding(
            Check.JOB,
            f"A job of the schedule {job.schedule}, due {job.scheduled_at:%Y-%m-%d %H:%M} UTC, is recorded as"
            f" running, and its process{pid} is gone",
            f"record that with: mlops doctor --fix; run it again with: mlops schedule run {job.schedule}",
            repair=end,
            job=job.id,
            schedule=job.schedule,
        )


def servers(subject: Subject) -> Iterator[Finding]:
    """Yield what servers that were killed left: their homes, with the record of where they answered."""
    root = serving_directory(subject.workspace)
    store = BentoServing(subject.context).store
    left = abandoned_claims(root)

    def clear() -> str | None:
        with store.lock("doctor"):
            sweep(root)
        return "it was removed" if any(not path.exists() for path in left) else None

    if left:
        yield subject.finding(
            Check.CLAIM,
            f"A server is gone, and has left its home: {named(left)}",
            "remove it with: mlops doctor --fix; the next server does so too",
            repair=clear,
            paths=[str(path) for path in left],
        )


def abandoned_claims(root: Path) -> list[Path]:
    """Return the directories below one that a process had claimed and no process holds any more.

    Args:
        root: Where ``scratch.claim`` makes them; it may be missing.
    """
    if not root.is_dir():
        return []
    before = time.time() - _CLAIMED_SECONDS
    found = []
    for path in sorted(root.iterdir()):
        # Its owner may be removing it at this moment.
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and path.stat().st_mtime < before and not is_held(path):
                found.append(path)
    return found


def _cut_off(recorded: JobHistory) -> list[JobRun]:
    # What is recorded as INTERRUPTED has its end; one that is only found to be has none.
    return [job for job in recorded.runs() if job.status is JobStatus.INTERRUPTED and job.ended_at is None]
