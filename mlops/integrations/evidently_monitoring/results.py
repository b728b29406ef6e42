"""What a check found, as plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

# What MLflow accepts in a metric's name (mlflow/utils/validation.py).
_NOT_IN_METRIC_NAMES: Final = re.compile(r"[^\w\-. :/]", re.ASCII)


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """The comparison of one column with the reference.

    Args:
        column: The column's name, or ``<column>: <statistic>`` for a statistic of a text column.
        source: The column of the data that it is about.
        kind: ``numerical``, ``categorical``, ``text`` or ``embedding``.
        score: The distance between batch and reference; 0 is equal, and larger is further for every method.
        method: ``wasserstein`` (in standard deviations of the reference), ``jensenshannon``, or ``mmd`` (the
            squared maximum mean discrepancy).
        threshold: The score from which the column counts as drifted: Evidently's own, 0.1 and for ``mmd``
            0.015, or what chance explains for samples of this size where that is more.
        drifted: Whether the score reaches the threshold.
        rows: Values compared in the batch, after sampling and without missing ones.
        reference_rows: Values compared in the reference.
        missing_share: Share of missing values in the whole batch, 0 to 1.
        reference_missing_share: The same in the reference.
    """

    column: str
    source: str
    kind: str
    score: float
    method: str
    threshold: float
    drifted: bool
    rows: int
    reference_rows: int
    missing_share: float
    reference_missing_share: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ColumnQuality:
    """Missing and odd values of one column; each share is of 0 to 1, and None where it means nothing.

    Args:
        column: The column's name.
        missing_share: Share of missing values in the whole batch.
        reference_missing_share: The same in the reference.
        infinite_share: Share of infinite values among the compared ones that are not missing.
        unseen_share: Share of values that are no category of the reference.
        out_of_range_share: Share of values beyond the reference's smallest and largest.
    """

    column: str
    missing_share: float
    reference_missing_share: float
    infinite_share: float | None = None
    unseen_share: float | None = None
    out_of_range_share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Measured:
    """A quantity measured per request or once per batch.

    Args:
        mean: Its mean.
        p95: The value 95 % are below or at; the mean itself for a single value.
        count: How many values were given.
    """

    mean: float
    p95: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"mean": self.mean, "p95": self.p95, "count": self.count}


@dataclass(frozen=True, slots=True)
class Alert:
    """A threshold that was crossed.

    Args:
        kind: ``drift``, ``performance``, ``schema``, ``missing``, ``latency`` or ``silence``.
        model: The model concerned, or None.
        value: The number that crossed.
        threshold: The number it was compared with.
        snapshot_id: The check it was found in; empty for silence, which no check finds.
        raised_at: When, aware.
        message: One sentence for people.
        metric: What was compared, such as ``drift.share`` or ``accuracy``.
        column: The column it is about, or None.
        id: What ``ack`` takes: the same as long as the alert goes on.
        count: How many checks have found it since it was last clear; 1 for a new alert.
    """

    kind: str
    model: str | None
    value: float
    threshold: float
    snapshot_id: str
    raised_at: datetime
    message: str
    metric: str
    column: str | None = None
    id: str = ""
    count: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "id": self.id,
            "count": self.count,
            "raised_at": self.raised_at.isoformat(),
            "kind": self.kind,
            "model": self.model,
            "metric": self.metric,
            "column": self.column,
            "value": self.value,
            "threshold": self.threshold,
            "snapshot_id": self.snapshot_id,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class MonitoringResult:
    """One check of a batch against the reference.

    Args:
        snapshot_id: Id of the Evidently snapshot.
        project: The project's name.
        model: The model checked, or None.
        model_version: Its version, or None.
        name: The name given to the check, or None.
        checked_at: When, aware.
        rows: Rows in the batch.
        reference_hash: The reference it was compared with.
        task: ``binary``, ``multiclass``, ``regression``, ``ranking`` or ``none``.
        drift_detected: Whether the share of drifted columns reached ``drift_threshold``.
        drift_share: Share of the compared columns that drifted, 0 to 1. A text column is one column: it
            drifted if any of its statistics did.
        drift_threshold: The share asked for.
        n_drifted: Number of drifted columns.
        n_compared: Number of compared columns.
        columns: The comparison of each column, and of each statistic of a text column.
        quality: The missing and odd values of each expected column that is in the batch.
        performance: Metric to value over all rows with a target; None where the batch leaves it undefined.
            ``precision``, ``recall`` and ``f1`` are about the positive label of a binary task and macro
            averages of a multiclass one; ``mape`` is in percent; a ranking has ``ndcg_at_<k>``,
            ``map_at_<k>`` and ``mrr_at_<k>``.
        undefined: Metric to the reason it is undefined.
        reference_performance: The same for the reference.
        performance_change: Batch minus reference, for metrics both have.
        missing_share: Share of missing cells over all rows and expected columns in the batch, 0 to 1.
        latency_ms: Latency in milliseconds, or None.
        memory_mb: Memory in megabytes, or None.
        tokens: Generated tokens, or None.
        skipped: Column name to the reason it was not compared.
        warnings: What to know before trusting the numbers.
        alerts: The thresholds crossed.
        tags: The tags given.
        metadata: The metadata given.
    """

    snapshot_id: str
    project: str
    model: str | None
    model_version: str | None
    name: str | None
    checked_at: datetime
    rows: int
    reference_hash: str
    task: str
    drift_detected: bool
    drift_share: float
    drift_threshold: float
    n_drifted: int
    n_compared: int
    columns: Mapping[str, ColumnDrift]
    quality: Mapping[str, ColumnQuality]
    performance: Mapping[str, float | None]
    undefined: Mapping[str, str]
    reference_performance: Mapping[str, float | None]
    performance_change: Mapping[str, float]
    missing_share: float
    latency_ms: Measured | None
    memory_mb: Measured | None
    tokens: Measured | None
    skipped: Mapping[str, str]
    warnings: tuple[str, ...]
    alerts: tuple[Alert, ...]
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    _snapshot_path: Path | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            # The history is scanned for these four without parsing its lines, so they come first.
            "snapshot_id": self.snapshot_id,
            "model": self.model,
            "checked_at": self.checked_at.isoformat(),
            "drift_detected": self.drift_detected,
            "model_version": self.model_version,
            "name": self.name,
            "project": self.project,
            "rows": self.rows,
            "reference_hash": self.reference_hash,
            "task": self.task,
            "drift_share": self.drift_share,
            "drift_threshold": self.drift_threshold,
            "n_drifted": self.n_drifted,
            "n_compared": self.n_compared,
            "columns": {name: column.to_dict() for name, column in self.columns.items()},
            "quality": {name: column.to_dict() for name, column in self.quality.items()},
            "performance": dict(self.performance),
            "undefined": dict(self.undefined),
            "reference_performance": dict(self.reference_performance),
            "performance_change": dict(self.performance_change),
            "missing_share": self.missing_share,
            "latency_ms": self.latency_ms.to_dict() if self.latency_ms else None,
            "memory_mb": self.memory_mb.to_dict() if self.memory_mb else None,
            "tokens": self.tokens.to_dict() if self.tokens else None,
            "skipped": dict(self.skipped),
            "warnings": list(self.warnings),
            "alerts": [alert.to_dict() for alert in self.alerts],
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row per column, compared or skipped; ``skipped`` holds the reason of the latter.

        A text column has a row for each of its statistics.
        """
        import pandas as pd

        drift = [name for name in ColumnDrift.__slots__ if name != "column"]
        odd = ["infinite_share", "unseen_share", "out_of_range_share"]
        rows: dict[str, dict[str, Any]] = {}
        for name, column in self.columns.items():
            rows[name] = {key: getattr(column, key) for key in drift}
        for name, reason in self.skipped.items():
            rows[name] = {"source": name, "skipped": reason}
        for row in rows.values():
            if (quality := self.quality.get(row["source"])) is not None:
                row |= {
                    key: getattr(quality, key) for key in ("missing_share", "reference_missing_share", *odd)
                }
        names = [*drift, *odd, "skipped"]
        return pd.DataFrame(
            [[row.get(name) for name in names] for row in rows.values()],
            index=pd.Index(list(rows), name="column", dtype=object),
            columns=names,
        )

    @property
    def new_alerts(self) -> tuple[Alert, ...]:
        """The alerts that no earlier check raised, or that were clear since."""
        return tuple(alert for alert in self.alerts if alert.count == 1)

    def metrics(self) -> dict[str, float]:
        """Return every number under a name that MLflow accepts.

        Names are ``drift.share``, ``drift.count``, ``drift.detected``, ``drift.<column>.score``,
        ``drift.<column>.drifted``, ``performance.<metric>``, ``performance_change.<metric>``,
        ``missing.share``, ``latency_ms.mean``, ``latency_ms.p95``, the same of ``memory_mb`` and ``tokens``,
        and ``rows``. Other characters of a column's name become ``_``; undefined numbers are left out.
        """
        values: dict[str, float | None] = {
            "drift.share": self.drift_share,
            "drift.count": self.n_drifted,
            "drift.detected": self.drift_detected,
            "missing.share": self.missing_share,
            "rows": self.rows,
        }
        for name, column in self.columns.items():
            base = f"drift.{_NOT_IN_METRIC_NAMES.sub('_', name)}"
            suffix = 2
            while f"{base}.score" in values:
                base, suffix = f"drift.{_NOT_IN_METRIC_NAMES.sub('_', name)}_{suffix}", suffix + 1
            values[f"{base}.score"] = column.score
            values[f"{base}.drifted"] = column.drifted
        values |= {f"performance.{name}": value for name, value in self.performance.items()}
        values |= {f"performance_change.{name}": value for name, value in self.performance_change.items()}
        for label, measured in self.measured().items():
            values |= {f"{label}.mean": measured.mean, f"{label}.p95": measured.p95}
        return {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}

    def measured(self) -> dict[str, Measured]:
        """Return the quantities that were given, by name."""
        given = {"latency_ms": self.latency_ms, "memory_mb": self.memory_mb, "tokens": self.tokens}
        return {name: value for name, value in given.items() if value is not None}

    def save_html(self, path: str | Path) -> Path:
        """Write Evidently's report of this check as one HTML file that needs no network.

        Args:
            path: The file; its directory is created if need be.

        Returns:
            The file's absolute path.

        Raises:
            DataNotFoundError: The snapshot is not where it was written, as after moving the workspace.
        """
        from mlops.integrations.evidently_monitoring.snapshots import save_html

        return save_html(
            self._snapshot_path, Path(path), snapshot_id=self.snapshot_id, workspace=self.project
        )


def plain(value: Any) -> Any:
    """Return a number that JSON can hold; infinite and undefined ones become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
