"""Runs that a process left open when it was killed: found, and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops.errors import DataNotFoundError
from mlops.integrations.mlflow_tracking import processes
from mlops.integrations.mlflow_tracking.processes import ProcessState
from mlops.integrations.mlflow_tracking.run_record import PARENT_TAG

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is RUNNING by what the store says.

    Args:
        run_id: Its id.
        run_name: Its name.
        started_at: When it was started, aware, or None.
        process: Whether the process that runs it exists.
        host: The host it runs on, or "" if that is not known.
        pid: The process id there, or "".
    """

    run_id: str
    run_name: str
    started_at: datetime | None
    process: ProcessState
    host: str = ""
    pid: str = ""


def open_runs(tracking: MLflowTracking) -> list[OpenRun]:
    """Return the project's runs that are RUNNING, newest first; nothing is created or changed.

    A run that plain MLflow code started inside one of ours names no process; it is its parent's.

    Args:
        tracking: The project's adapter.
    """
    running = tracking.list_runs(status="RUNNING", limit=None)
    known = {run["run_id"]: run["tags"] for run in running}
    return [_described(run, _process_tags(tracking, run["tags"], known)) for run in running]


def end(tracking: MLflowTracking, run_id: str) -> datetime | None:
    """End a run as FAILED if it is RUNNING and its process is gone.

    The run ends when its last metric was logged, or now if it has none. Its tag ``mlops.closed_by`` says that
    it did not end by itself.

    Args:
        tracking: The project's adapter.
        run_id: The run.

    Returns:
        When the run ended, aware, or None if it is not RUNNING any more or its process may be at work.

    Raises:
        DataNotFoundError: The project has no such run.
        IntegrationError: The store refuses the change.
    """
    found = tracking.get_run(run_id)
    tags = _process_tags(tracking, found["tags"], {})
    if found["status"] != "RUNNING" or processes.state(tags) is not ProcessState.GONE:
        return None
    client = tracking.client(operation="doctor")
    with tracking.translated("doctor"):
        ended = _last_metric(client, found) or datetime.now(UTC)
        # First the tag: a run without its end can be ended again, an end without its reason stays so.
        client.set_tag(
            run_id,
            processes.CLOSED_TAG,
            f"mlops doctor: the process {tags[processes.PID_TAG]} on {tags[processes.HOST_TAG]}"
            " ended without ending the run",
        )
        client.set_terminated(run_id, "FAILED", int(ended.timestamp() * 1000))
    return ended


def _described(run: Mapping[str, Any], tags: Mapping[str, str]) -> OpenRun:
    return OpenRun(
        run_id=run["run_id"],
        run_name=run["run_name"],
        started_at=run["start_time"],
        process=processes.state(tags),
        host=tags.get(processes.HOST_TAG, ""),
        pid=tags.get(processes.PID_TAG, ""),
    )


def _process_tags(
    tracking: MLflowTracking, tags: Mapping[str, str], known: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    """Return the tags that name the process: the run's own, else those of the nearest run above."""
    seen: set[str] = set()
    while processes.PID_TAG not in tags:
        parent = tags.get(PARENT_TAG)
        if parent is None or parent in seen:
            return {}
        seen.add(parent)
        try:
            tags = known[parent] if parent in known else tracking.get_run(parent)["tags"]
        except DataNotFoundError:
            return {}
    return tags


def _last_metric(client: Any, run: Mapping[str, Any]) -> datetime | None:
    times = [
        point.timestamp for key in run["metrics"] for point in client.get_metric_history(run["run_id"], key)
    ]
    return datetime.fromtimestamp(max(times) / 1000, UTC) if times else None
