"""Thresholds that turn a check into an alert."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from mlops.integrations.evidently_monitoring.results import Alert

# Half of the columns: Evidently's own default for a drifted dataset (evidently/metrics/column_statistics.py).
DRIFT_SHARE: Final = 0.5
# A tenth of the reference's value. Evidently's automatic tests allow a fifth (evidently/metrics/
# classification.py), either way; a model that lost a tenth of its accuracy is worth a look.
PERFORMANCE_DROP: Final = 0.1
# Lower is better for these; for every other metric higher is.
ERRORS: Final = frozenset({"mae", "rmse", "mape"})
# A metric that is zero in the reference has no relative change.
_TINY: Final = 1e-12


def find(
    *,
    model: str | None,
    snapshot_id: str,
    at: datetime,
    drift_share: float,
    drift_threshold: float,
    n_drifted: int,
    n_columns: int,
    performance: Mapping[str, float | None],
    reference_performance: Mapping[str, float | None],
    missing_columns: list[str],
    performance_drop: float = PERFORMANCE_DROP,
) -> tuple[Alert, ...]:
    """Return the alerts a check raises.

    Args:
        model: The model checked.
        snapshot_id: The check.
        at: When it was made.
        drift_share: Share of columns that drifted.
        drift_threshold: The share from which that is an alert.
        n_drifted: Number of drifted columns.
        n_columns: Number of compared columns.
        performance: Metrics of the batch.
        reference_performance: Metrics of the reference.
        missing_columns: Columns of the reference that the batch does not have.
        performance_drop: Relative loss against the reference from which a metric is an alert.
    """
    found: list[Alert] = []

    def alert(kind: str, metric: str, value: float, threshold: float, message: str) -> None:
        found.append(Alert(kind, model, value, threshold, snapshot_id, at, message, metric))

    if n_columns and drift_share >= drift_threshold:
        alert(
            "drift",
            "drift.share",
            drift_share,
            drift_threshold,
            f"{n_drifted} of {n_columns} columns drifted ({drift_share:.0%}; alert at {drift_threshold:.0%})",
        )
    for metric, value in performance.items():
        expected = reference_performance.get(metric)
        if value is None or expected is None or abs(expected) < _TINY:
            continue
        loss = (value - expected) / abs(expected) * (1 if metric in ERRORS else -1)
        if loss > performance_drop:
            sign = 1 if metric in ERRORS else -1
            limit = expected + sign * performance_drop * abs(expected)
            alert(
                "performance",
                metric,
                value,
                limit,
                f"{metric} is {value:.4g}, {loss:.0%} worse than the reference's {expected:.4g}",
            )
    if missing_columns:
        names = ", ".join(missing_columns[:10])
        alert(
            "schema",
            "missing_columns",
            float(len(missing_columns)),
            0.0,
            f"{len(missing_columns)} columns of the reference are not in the batch: {names}",
        )
    return tuple(found)
