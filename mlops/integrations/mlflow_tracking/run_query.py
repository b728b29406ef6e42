"""Which runs are asked for, in what order; the same question to SQLite and to MLflow's API."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mlops.errors import IntegrationError

STATUSES: Final = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
ATTRIBUTES: Final = ("start_time", "end_time", "duration", "run_name", "status")
_ORDER: Final = re.compile(
    r"\A(?P<field>(?:metrics|params)\.(?P<key>.+?)|\w+?)(?:\s+(?P<way>ASC|DESC))?\Z",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A question for runs.

    Args:
        pipeline: Only runs of this pipeline.
        status: Only runs with this status.
        field: What to sort by: one of ``ATTRIBUTES``, ``metrics`` or ``params``.
        key: The metric's or parameter's name.
        descending: Largest, or latest, first.
        limit: At most so many; None for all.
        steps: Whether the runs of single steps of pipelines, and those that monitoring made, are among them.
        offset: Leave out so many of the first.
        parent: Only runs nested in this run.
    """

    pipeline: str | None = None
    status: str | None = None
    field: str = "start_time"
    key: str | None = None
    descending: bool = True
    limit: int | None = None
    steps: bool = True
    offset: int = 0
    parent: str | None = None

    @property
    def by_start(self) -> bool:
        """Whether this is the plain question, newest first."""
        return self.field == "start_time" and self.descending


def parse(
    *,
    pipeline: str | None,
    status: str | None,
    order_by: str | None,
    limit: int | None,
    workspace: str,
    operation: str,
    steps: bool = True,
    offset: int = 0,
    parent: str | None = None,
) -> RunQuery:
    """Check what the caller asked for.

    Args:
        pipeline: A pipeline's name, or None.
        status: A status in any case, or None.
        order_by: ``start_time``, ``metrics.accuracy DESC`` and the like; ascending unless it says DESC, and
            None for newest first.
        limit: A number of at least 0, or None.
        workspace: The project, for errors.
        operation: The calling method, for errors.
        steps: Whether the runs of single steps of pipelines, and those that monitoring made, are among them.
        offset: A number of at least 0: so many of the first are left out.
        parent: The id of the run they are nested in, or None.

    Raises:
        IntegrationError: Naming the argument and what it accepts.
    """

    def wrong(message: str, hint: str) -> IntegrationError:
        return IntegrationError(message, tool="mlflow", operation=operation, workspace=workspace, hint=hint)

    for name, number in (("limit", limit), ("offset", offset)):
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
            other = ", or None for all" if name == "limit" else ""
            raise wrong(
                f"{name} must be a whole number of at least 0{other}, not {number!r}", f"pass {name}=100"
            )
    if status is not None and status.upper() not in STATUSES:
        raise wrong(f"There is no run status {status!r}", f"statuses are: {', '.join(STATUSES)}")
    wanted = RunQuery(
        pipeline=pipeline,
        status=status.upper() if status else None,
        limit=limit,
        steps=steps,
        offset=offset,
        parent=parent,
    )
    if order_by is None:
        return wanted
    match = _ORDER.match(order_by.strip())
    field = match["field"].partition(".")[0] if match else ""
    if match is None or (match["key"] is None and field not in ATTRIBUTES):
        raise wrong(
            f"Runs cannot be ordered by {order_by!r}",
            f"use metrics.NAME, params.NAME or one of {', '.join(ATTRIBUTES)}, with ASC or DESC behind it",
        )
    key = match["key"].strip("`\"'") if match["key"] else None
    descending = (match["way"] or "ASC").upper() == "DESC"
    return replace(wanted, field=field, key=key, descending=descending)


def in_order(query: RunQuery) -> Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]:
    """Return the function that sorts runs as asked; those without the value come last, newest first."""

    def value(run: dict[str, Any]) -> Any:
        found = run[query.field].get(query.key) if query.key is not None else run[query.field]
        missing = found is None or (isinstance(found, float) and math.isnan(found))
        return None if missing else found

    def sort(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        newest_first = sorted(runs, key=lambda run: run["run_id"])
        newest_first.sort(key=lambda run: run["start_time"], reverse=True)
        having = [run for run in newest_first if value(run) is not None]
        having.sort(key=value, reverse=query.descending)
        return having + [run for run in newest_first if value(run) is None]

    return sort
