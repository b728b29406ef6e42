"""What of a check is an alert, by the thresholds in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mlops.integrations.evidently_monitoring.results import Alert, ColumnDrift, Measured
from mlops.integrations.evidently_monitoring.thresholds import Thresholds
from mlops.plurals import counted

# Lower is better for these; for every other metric higher is.
ERRORS: Final = frozenset({"mae", "rmse", "mape"})
# A metric that is zero in the reference has no relative change.
_TINY: Final = 1e-12

# Takes kind, metric, value, limit, message and, for an alert about one column, the column.
_Raise = Callable[..., None]
# What makes two alerts of a model the same one: kind, metric, column.
Key = tuple[str, str, str | None]


def key(alert: Alert) -> Key:
    """Return what an alert of a model is the same by."""
    return alert.kind, alert.metric, alert.column


@dataclass(frozen=True, slots=True)
class Findings:
    """The numbers of a check that thresholds are about.

    Args:
        rows: Rows of the batch.
        drift_share: Share of columns that drifted, 0 to 1.
        n_drifted: Number of drifted columns.
        n_compared: Number of compared columns.
        columns: The comparison of each series.
        performance: Metrics of the batch.
        reference_performance: Metrics of the reference.
        missing_columns: Columns of the reference that the batch does not have.
        missing_share: Share of missing cells, 0 to 1.
        latency_ms: Milliseconds, or None if they were not given.
    """

    rows: int
    drift_share: float
    n_drifted: int
    n_compared: int
    columns: Mapping[str, ColumnDrift]
    performance: Mapping[str, float | None]
    reference_performance: Mapping[str, float | None]
    missing_columns: list[str]
    missing_share: float
    latency_ms: Measured | None


@dataclass(slots=True)
class Judgement:
    """What thresholds say about a check.

    Args:
        found: The alerts, each kind, metric and column once.
        undecided: What the check could say nothing about: an open alert about it stays open.
    """

    found: list[Alert] = field(default_factory=list)
    undecided: set[Key] = field(default_factory=set)

    def clears(self, alert: Key) -> bool:
        """Say whether the check found that an earlier alert no longer holds."""
        kind, metric, _ = alert
        whole = (kind, metric, None), (kind, "*", None)
        return not (alert in self.undecided or self.undecided.intersection(whole)) and alert not in {
            key(each) for each in self.found
        }


def judge(
    findings: Findings, limits: Thresholds, *, model: str | None, snapshot_id: str, at: datetime
) -> Judgement:
    """Compare a check with the thresholds.

    Args:
        findings: What the check found.
        limits: The thresholds in force.
        model: The model checked.
        snapshot_id: The check.
        at: When it was made.
    """
    # Only the log of predictions can tell that there are some again.
    judgement = Judgement(undecided={("silence", "*", None)})

    def alert(
        kind: str, metric: str, value: float, limit: float, message: str, column: str | None = None
    ) -> None:
        judgement.found.append(
            Alert(kind, model, value, limit, snapshot_id, at, message, metric, column=column)
        )

    _drift(findings, limits, judgement, alert)
    _performance(findings, limits, judgement, alert)
    if not findings.rows:
        judgement.undecided |= {("schema", "*", None), ("missing", "*", None)}
    elif findings.missing_columns:
        names = ", ".join(findings.missing_columns[:10])
        count = len(findings.missing_columns)
        message = f"{counted(count, 'column')} of the reference not in the batch: {names}"
        alert("schema", "missing_columns", float(count), 0.0, message)
    missing, limit = findings.missing_share, limits.missing_share
    if findings.rows and limit is not None and missing > limit:
        alert(
            "missing",
            "missing.share",
            missing,
            limit,
            f"{missing:.1%} of the cells are missing (alert above {limit:.1%})",
        )
    if findings.latency_ms is None:
        judgement.undecided.add(("latency", "*", None))
    elif limits.latency_ms is not None and findings.latency_ms.p95 > limits.latency_ms:
        alert(
            "latency",
            "latency_ms.p95",
            findings.latency_ms.p95,
            limits.latency_ms,
            f"95 % of the requests took up to {findings.latency_ms.p95:.4g} ms (alert above "
            f"{limits.latency_ms:.4g} ms)",
        )
    return judgement


def silence(limits: Thresholds, *, model: str, since: datetime, at: datetime) -> Judgement:
    """Compare the time without a prediction with the threshold; nothing else is decided.

    Args:
        limits: The thresholds in force.
        model: The model.
        since: When it made the last prediction, or could have made the first.
        at: Now.
    """
    others = ("drift", "performance", "schema", "missing", "latency")
    judgement = Judgement(undecided={(kind, "*", None) for kind in others})
    hours, limit = (at - since) / timedelta(hours=1), limits.silence_hours
    if limit is not None and hours >= limit:
        message = f"no prediction since {since:%Y-%m-%d %H:%M:%S} UTC (alert after {limit:.4g} hours)"
        judgement.found.append(Alert("silence", model, hours, limit, "", at, message, "silence.hours"))
    return judgement


def _drift(findings: Findings, limits: Thresholds, judgement: Judgement, alert: _Raise) -> None:
    if not findings.n_compared:
        judgement.undecided.add(("drift", "drift.share", None))
    elif findings.drift_share >= limits.drift_share:
        alert(
            "drift",
            "drift.share",
            findings.drift_share,
            limits.drift_share,
            f"{findings.n_drifted} of {counted(findings.n_compared, 'column')} drifted "
            f"({findings.drift_share:.0%}; alert at {limits.drift_share:.0%})",
        )
    for column, limit in limits.columns.items():
        # A text column has a series for each of its statistics.
        scores = [each.score for each in findings.columns.values() if each.source == column]
        if not scores:
            judgement.undecided.add(("drift", "drift.score", column))
        elif (score := max(scores)) >= limit:
            message = f"{column} drifted by {score:.4g} (alert at {limit:.4g})"
            alert("drift", "drift.score", score, limit, message, column)


def _performance(findings: Findings, limits: Thresholds, judgement: Judgement, alert: _Raise) -> None:
    if not findings.performance:
        # Without true values nothing is known about any metric.
        judgement.undecided.add(("performance", "*", None))
    for metric, value in findings.performance.items():
        expected = findings.reference_performance.get(metric)
        if value is None or expected is None or abs(expected) < _TINY:
            judgement.undecided.add(("performance", metric, None))
            continue
        worse = 1 if metric in ERRORS else -1
        loss = (value - expected) / abs(expected) * worse
        if loss > limits.performance_drop:
            alert(
                "performance",
                metric,
                value,
                expected + worse * limits.performance_drop * abs(expected),
                f"{metric} is {value:.4g}, {loss:.0%} worse than the reference's {expected:.4g}",
            )
