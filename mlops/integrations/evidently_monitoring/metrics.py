"""What the metrics of every task share: their rows, their values, the reasons for those without one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.evidently_monitoring import runtime
from mlops.integrations.evidently_monitoring.conform import to_numbers
from mlops.integrations.evidently_monitoring.frames import sample

if TYPE_CHECKING:
    import pandas as pd

# Evidently copies every value of a regression or a ROC curve through Python objects, 30 s per million rows;
# at this many, chance moves these metrics by a few tenths of a percent. Label metrics always use all rows.
MAX_ROWS: Final = 100_000
# What Evidently and scikit-learn raise for values they cannot make a metric of.
_METRIC_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


@dataclass(slots=True)
class Performance:
    """The metrics of one frame.

    Args:
        metrics: Metric to value, None where the rows do not define it.
        undefined: Metric without a value to the reason.
        notes: Which rows were left out, and what else to know.
        snapshots: The Evidently snapshots the values come from.
    """

    metrics: dict[str, float | None] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    snapshots: list[Any] = field(default_factory=list)

    def lack(self, reason: str, *metrics: str) -> None:
        """Say why metrics have no value; the first reason counts."""
        for metric in metrics:
            self.metrics[metric] = None
            self.undefined.setdefault(metric, reason)

    def collect(
        self,
        evidently: SimpleNamespace,
        wanted: dict[str, Any],
        rows: pd.DataFrame,
        definition: Any,
    ) -> None:
        """Compute metrics with Evidently; what it cannot compute is undefined and costs no other task.

        Args:
            evidently: What ``runtime.load`` returned.
            wanted: Metric to Evidently's metric.
            rows: The complete rows.
            definition: Evidently's definition of the task.
        """
        dataset = evidently.Dataset.from_pandas(rows, definition)
        try:
            snapshot = evidently.Report(list(wanted.values())).run(dataset, None, timestamp=runtime.EPOCH)
        except _METRIC_ERRORS as error:
            self.lack(f"Evidently cannot compute it: {error}", *wanted)
            return
        values = {entry["id"]: entry["value"] for entry in runtime.numbers(snapshot)["metrics"]}
        for name, metric in wanted.items():
            value = _number(values[metric.get_metric_id()], getattr(metric, "k", 1))
            if math.isfinite(value):
                self.metrics[name] = value
            else:
                self.lack("it is not a finite number for these rows", name)
        self.snapshots.append(snapshot)


def complete(rows: pd.DataFrame, result: Performance | None) -> pd.DataFrame:
    """Return the rows without a missing value; how many were lost becomes a note of ``result``."""
    kept = rows.dropna().reset_index(drop=True)
    if result is not None and (lost := len(rows) - len(kept)):
        result.notes.append(f"{lost} of {len(rows)} rows have no target or prediction and were left out")
    return kept


def limited(rows: pd.DataFrame, what: str, result: Performance) -> pd.DataFrame:
    """Return at most ``MAX_ROWS`` rows, always the same ones, and note it."""
    if len(rows) > MAX_ROWS:
        result.notes.append(f"{what}: computed on {MAX_ROWS} of {len(rows)} rows, always the same ones")
    return sample(rows, MAX_ROWS)


def numbers_of(values: pd.Series, result: Performance) -> pd.Series | None:
    """Return a column as numbers, or None for one of dates; what is no number becomes a note."""
    try:
        numbers, bad, example = to_numbers(values)
    except TypeError as error:
        result.notes.append(f"column {values.name!r} holds no numbers: {error}")
        return None
    if bad:
        result.notes.append(
            f"column {values.name!r}: {bad} values are not numbers, such as {str(example)[:40]!r}"
        )
    return numbers


def _number(value: Any, place: int) -> float:
    """Return a metric's number: of one per label the mean over the labels, of a curve that at a place."""
    if isinstance(value, dict) and "rank" in value:
        # Not the one whose rank is the place: Evidently counts from 1 for some metrics and from 2 for others.
        return float(list(value["value"].values())[place - 1])
    if isinstance(value, dict):
        return float(value["mean"] if "mean" in value else sum(value.values()) / len(value))
    return float(value)
