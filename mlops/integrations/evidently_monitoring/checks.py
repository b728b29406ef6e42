"""One check: drift of every comparable column, missing values, and performance, in Evidently's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import IntegrationError
from mlops.integrations.evidently_monitoring import embeddings, runtime
from mlops.integrations.evidently_monitoring.compact import drift_snapshot, quality_snapshot
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.metrics import Performance
from mlops.integrations.evidently_monitoring.noise import jensenshannon_noise, wasserstein_noise
from mlops.integrations.evidently_monitoring.pairing import Pair
from mlops.integrations.evidently_monitoring.results import ColumnDrift, ColumnQuality
from mlops.integrations.evidently_monitoring.schema import ColumnKind
from mlops.integrations.evidently_monitoring.snapshots import lean, merge

if TYPE_CHECKING:
    import pandas as pd

# Rows of each side that drift is computed on. The error of a normed Wasserstein distance is about 0.014 at
# this size, well below the threshold of 0.1; ten times the rows cost five times the time and halve it.
SAMPLE_ROWS: Final = 10_000
# Below this a batch says little, whatever the numbers: the usual floor for the central limit theorem.
SMALL_BATCH: Final = 30
# What Evidently raises for a column it cannot compare.
_COLUMN_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


@dataclass(slots=True)
class Drift:
    """The comparison of a batch with the reference.

    Args:
        columns: The comparison of each series.
        share: Share of the columns they were made of that drifted, 0 to 1.
        count: Number of columns that drifted.
        compared: Number of columns that were compared.
        failed: Column to Evidently's reason for not comparing it.
        snapshot: The Evidently snapshot, or None without a comparable column.
    """

    columns: dict[str, ColumnDrift] = field(default_factory=dict)
    share: float = 0.0
    count: int = 0
    compared: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    snapshot: Any = None


def compare(
    evidently: SimpleNamespace,
    pair: Pair,
    *,
    drift_share: float,
    quality: Mapping[str, ColumnQuality],
    workspace: str,
) -> Drift:
    """Compare the series of a batch and its reference; one Evidently refuses does not cost the others.

    Args:
        evidently: What ``runtime.load`` returned; the caller is inside ``runtime.running``.
        pair: Both sides.
        drift_share: The share of drifted columns that is drift of the whole, 0 to 1.
        quality: Column to its missing values.
        workspace: The project, for errors.

    Raises:
        IntegrationError: Evidently fails on the columns together, though on none alone.
    """
    drift = Drift()
    columns = list(pair.current.columns)
    if not columns:
        return drift
    with runtime.explained_by_chance(pair.chance):
        try:
            snapshot = _drift_report(evidently, pair, columns, drift_share)
        except _COLUMN_ERRORS as error:
            for column in columns:
                try:
                    _drift_report(evidently, pair, [column], drift_share)
                except _COLUMN_ERRORS as refusal:
                    drift.failed[column] = f"Evidently cannot compare it: {refusal}"
            columns = [column for column in columns if column not in drift.failed]
            if not drift.failed:
                raise IntegrationError(
                    f"Evidently failed to compare the columns {', '.join(columns)}: {error}",
                    tool=TOOL,
                    operation="monitor",
                    workspace=workspace,
                    hint="pass fewer columns to find the pair that fails, and report it to Evidently",
                ) from error
            if not columns:
                return drift
            snapshot = _drift_report(evidently, pair, columns, drift_share)
    values = runtime.numbers(snapshot)
    status = {test["metric_config"]["metric_id"]: test["status"] for test in values["tests"]}
    for metric in values["metrics"]:
        if metric["config"]["type"].endswith(":ValueDrift"):
            column = metric["config"]["column"]
            drift.columns[column] = _column_drift(
                column, float(metric["value"]), status[metric["id"]] == "FAIL", pair, quality
            )
    drift.compared = len({column.source for column in drift.columns.values()})
    drift.count = len({column.source for column in drift.columns.values() if column.drifted})
    drift.share = drift.count / drift.compared
    drift.snapshot = snapshot
    return drift


def quality(
    evidently: SimpleNamespace, cells: pd.DataFrame, measured: Mapping[str, float]
) -> tuple[float, Any]:
    """Return the share of missing cells and the snapshot with it, the row count and the measured numbers.

    Args:
        evidently: What ``runtime.load`` returned; the caller is inside ``runtime.running``.
        cells: One column per expected column and one row per row of the batch, True where a cell is missing.
        measured: Name to value of what was measured outside of the data.
    """
    missing = int(cells.to_numpy().sum())
    snapshot = quality_snapshot(evidently, rows=len(cells), missing=missing, measured=measured)
    # Evidently's share is per row, and exceeds 1 where a row misses several cells.
    return missing / cells.size if cells.size else 0.0, snapshot


def assemble(
    drift: Drift,
    quality_snapshot: Any,
    performance: Performance,
    *,
    at: datetime,
    name: str,
    tags: list[str],
    metadata: dict[str, str],
) -> str:
    """Return one Evidently snapshot of all the parts, as JSON."""
    # What people look for first comes first on the report page.
    compared = [] if drift.snapshot is None else [drift.snapshot]
    snapshot = merge([quality_snapshot, *compared, *performance.snapshots])
    snapshot._timestamp = at
    snapshot._tags = tags
    snapshot._metadata = metadata
    snapshot.set_name(name)
    lean(snapshot)
    return str(snapshot.dumps())


def _drift_report(evidently: SimpleNamespace, pair: Pair, columns: list[str], drift_share: float) -> Any:
    methods = {column: _method(pair, column) for column in columns}
    return drift_snapshot(evidently, pair, methods, drift_share=drift_share)


def _method(pair: Pair, column: str) -> str:
    if pair.kinds[column] is ColumnKind.EMBEDDING:
        return runtime.EMBEDDING_METHOD
    numerical = pair.current[column].dtype.kind == "f"
    return runtime.NUMERICAL_METHOD if numerical else runtime.CATEGORICAL_METHOD


def _column_drift(
    column: str, score: float, drifted: bool, pair: Pair, quality: Mapping[str, ColumnQuality]
) -> ColumnDrift:
    current, reference = pair.current[column].dropna(), pair.reference[column].dropna()
    threshold, method = runtime.SCORE_THRESHOLD, _method(pair, column)
    if method == runtime.EMBEDDING_METHOD:
        threshold, noise = embeddings.THRESHOLD, pair.chance[column]
    elif method == runtime.NUMERICAL_METHOD:
        noise = wasserstein_noise(reference, len(current))
    else:
        categories = len({*reference.unique(), *current.unique()})
        noise = jensenshannon_noise(categories, len(reference), len(current))
    missing = quality.get(pair.sources[column])
    return ColumnDrift(
        column=column,
        source=pair.sources[column],
        kind=str(pair.kinds[column]),
        score=score,
        method=method.partition("_")[0],
        threshold=max(threshold, noise),
        drifted=drifted,
        rows=len(current),
        reference_rows=len(reference),
        missing_share=missing.missing_share if missing else 0.0,
        reference_missing_share=missing.reference_missing_share if missing else 0.0,
    )
