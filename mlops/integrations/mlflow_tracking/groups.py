"""The runs that one command started, found by the tag they share, and finished when the command is over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.mlflow_tracking import queries, store
from mlops.integrations.mlflow_tracking.runs import FAILED, FINISHED, KILLED

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

GROUP_TAG: Final = "mlops.run_group"
RUNNING: Final = "RUNNING"
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a group.

    Args:
        run_id: The run.
        status: MLflow's status.
        ended_at: When it ended, in milliseconds since the epoch, or None.
    """

    run_id: str
    status: str
    ended_at: int | None


def members(tracking: MLflowTracking, group: str) -> list[Member]:
    """Return the runs of a group; in a workspace's own store MLflow is not imported for it.

    On a server only the project's experiment is searched.

    Args:
        tracking: The project's adapter.
        group: The value of the tag.

    Raises:
        IntegrationError: The store cannot be read.
    """
    if tracking.embedded:
        if not tracking.database.exists():
            return []
        if queries.known_schema(tracking.database):
            with store.reading(tracking.database) as connection:
                rows = connection.execute(
                    "SELECT r.run_uuid, r.status, r.end_time"
                    " FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid"
                    " WHERE t.key = ? AND t.value = ? AND r.lifecycle_stage = 'active'"
                    " ORDER BY r.start_time, r.run_uuid",
                    (GROUP_TAG, group),
                ).fetchall()
            return [Member(str(run_id), str(status), end or None) for run_id, status, end in rows]
    return _search(tracking, group)


def finish(
    tracking: MLflowTracking, found: Iterable[Member], *, stopped: bool, signalled_at: int | None
) -> dict[str, str]:
    """Give the runs that a command left behind the status they earned.

    A run that is still open is FAILED, or KILLED if the command was stopped. A run that ended while the
    command was being stopped is KILLED as well: MLflow itself reports it as FAILED when a block is left by an
    interrupt, and as FINISHED when the interpreter exits.

    Args:
        tracking: The project's adapter.
        found: The group.
        stopped: Whether somebody stopped the command.
        signalled_at: When it was told to stop, in milliseconds since the epoch, or None.

    Returns:
        The new statuses by run id.

    Raises:
        IntegrationError: The store refuses.
    """
    changed: dict[str, str] = {}
    for member in found:
        cut_off = stopped and signalled_at is not None and (member.ended_at or 0) >= signalled_at
        if member.status == RUNNING:
            status = KILLED if stopped else FAILED
            with tracking.calling("run", member.run_id) as client:
                client.set_terminated(member.run_id, status)
            changed[member.run_id] = status
        elif cut_off and member.status in (FAILED, FINISHED):
            with tracking.calling("run", member.run_id) as client:
                client.update_run(member.run_id, status=KILLED)
            changed[member.run_id] = KILLED
    return changed


def record_inputs(
    tracking: MLflowTracking, found: Iterable[Member], datasets: Iterable[Mapping[str, Any]]
) -> None:
    """Record versions of datasets as inputs of runs that do not have them yet.

    Args:
        tracking: The project's adapter.
        found: The runs.
        datasets: ``name``, ``digest`` and ``source`` of each.

    Raises:
        IntegrationError: The store refuses.
    """
    wanted = list(datasets)
    for member in found:
        present = {(use["name"], use["digest"]) for use in tracking.datasets(member.run_id)}
        missing = [use for use in wanted if (use["name"], use["digest"]) not in present]
        if not missing:
            continue
        with tracking.calling("run", member.run_id) as client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            inputs = [
                DatasetInput(
                    Dataset(
                        name=use["name"],
                        digest=use["digest"],
                        source_type="dvc",
                        source=json.dumps(use["source"], sort_keys=True),
                    ),
                    tags=[InputTag("mlflow.data.context", "training")],
                )
                for use in missing
            ]
            client.log_inputs(member.run_id, inputs)


def _search(tracking: MLflowTracking, group: str) -> list[Member]:
    client = tracking.client(operation="run")
    with tracking.translated("run"):
        experiments = (
            [e.experiment_id for e in client.search_experiments(max_results=_PAGE)]
            if tracking.embedded
            else [tracking.experiment_id]
        )
        condition = f"tags.`{GROUP_TAG}` = '{group}'"
        found: list[Member] = []
        token: str | None = None
        while True:
            page = client.search_runs(
                experiments, filter_string=condition, max_results=_PAGE, page_token=token
            )
            found += [Member(r.info.run_id, r.info.status, r.info.end_time or None) for r in page]
            token = page.token
            if not token:
                return found
