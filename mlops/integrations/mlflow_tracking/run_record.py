"""The form in which the library gives runs, datasets and metric values, whoever stores them."""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from mlops.integrations.mlflow_tracking.run_query import STATUSES

PIPELINE_TAG: Final = "mlops.pipeline"
PARENT_TAG: Final = "mlflow.parentRunId"
_INPUT_CONTEXT: Final = "mlflow.data.context"


class MetricPoint(NamedTuple):
    """One value of a metric of a run.

    Args:
        step: The training step.
        timestamp: Milliseconds since the epoch.
        value: The value; NaN and infinities occur.
    """

    step: int
    timestamp: int
    value: float


def record(
    run_id: str,
    name: str | None,
    status: str,
    start: int | None,
    end: int | None,
    *,
    params: dict[str, str],
    metrics: dict[str, float],
    tags: dict[str, str],
) -> dict[str, Any]:
    """Return one run in the form the library gives runs in; times are milliseconds since the epoch."""
    return {
        "run_id": run_id,
        "run_name": name or "",
        "pipeline_name": tags.get(PIPELINE_TAG),
        "status": status,
        "start_time": moment(start),
        "end_time": moment(end),
        "duration": None if start is None or not end else (end - start) / 1000,
        "params": params,
        "metrics": {key: restored(value) for key, value in metrics.items()},
        "tags": tags,
    }


def dataset(name: str, digest: str, kind: str, source: str, tags: dict[str, str]) -> dict[str, Any]:
    """Return one use of a dataset in the form the library gives it in."""
    try:
        parsed = json.loads(source)
    except ValueError:
        parsed = None
    return {
        "name": name,
        "digest": digest,
        "source": parsed if isinstance(parsed, dict) else {"uri": source},
        "source_type": kind,
        "context": tags.get(_INPUT_CONTEXT),
        "tags": {key: value for key, value in tags.items() if key != _INPUT_CONTEXT},
    }


def moment(milliseconds: int | None) -> datetime | None:
    """Return a time of MLflow's, aware; it writes none as zero."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def restored(value: float) -> float:
    """Return a stored value as it was logged: MLflow stores an infinity as the largest float."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def ordered(counts: dict[str, int]) -> dict[str, int]:
    """Return counts by status in the order of a run's life."""
    known = {status: counts[status] for status in STATUSES if status in counts}
    return known | {status: counts[status] for status in sorted(counts) if status not in known}
