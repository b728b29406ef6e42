"""Counting a project's runs and finding its best results, whoever reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final, NamedTuple

from mlops.integrations.mlflow_tracking.run_record import moment, ordered, restored
from mlops.reporting.facts import BestMetric, RunFacts, RunsFacts
from mlops.reporting.reading import days
from mlops.reporting.reading.metric_modes import is_result, mode_of

_ENDED: Final = ("FINISHED", "FAILED")


class RunRow(NamedTuple):
    """One run that counts; times are milliseconds since the epoch."""

    run_id: str
    name: str | None
    status: str
    started: int | None
    ended: int | None
    pipeline: str | None


class MetricRow(NamedTuple):
    """The latest value of a metric of a finished run."""

    metric: str
    value: float
    run_id: str
    name: str | None
    started: int | None


def tally(rows: Iterable[RunRow], *, first: date) -> RunsFacts:
    """Count runs, and find the last ones.

    Args:
        rows: The runs, in any order.
        first: The earliest day that is counted by day.
    """
    newest = sorted(rows, key=_age)
    last_ended: RunRow | None = None
    ended_of: dict[str, RunRow] = {}
    for row in newest:
        _, _, status, _, _, pipeline = row
        if status in _ENDED:
            last_ended = last_ended or row
            if pipeline is not None:
                ended_of.setdefault(pipeline, row)
    by_status = Counter([row[2] for row in newest])
    return RunsFacts(
        total=len(newest),
        by_status=ordered(by_status),
        last=_facts(newest[0] if newest else None),
        last_ended=_facts(last_ended),
        last_ended_by_pipeline={
            name: found for name in sorted(ended_of) if (found := _facts(ended_of[name])) is not None
        },
        by_day=days.counted_by_time(((row[3], row[2]) for row in newest), first=first),
    )


def best_of(rows: Iterable[MetricRow], *, modes: Mapping[str, str]) -> tuple[BestMetric, ...]:
    """Return the best value of each metric; of equal ones that of the run started last, as ``best_run`` does.

    Args:
        rows: The latest values of finished runs, none of them NaN; those of the machine are left out.
        modes: What the project says of its metrics.
    """
    ways: dict[str, str | None] = {}
    found: dict[str, tuple[float, int, MetricRow]] = {}
    for row in rows:
        metric, value, run_id, _, started = row
        if metric not in ways:
            ways[metric] = mode_of(metric, modes) if is_result(metric) else None
        if (way := ways[metric]) is None:
            continue
        score = value if way == "max" else -value
        held = found.get(metric)
        if held is None or score >= held[0]:
            rank = (score, -1 if started is None else started)
            if held is None or rank > held[:2] or (rank == held[:2] and run_id < held[2][2]):
                found[metric] = (*rank, row)
    return tuple(
        BestMetric(metric, ways[metric] or "", restored(value), run_id, name or "")
        for metric, (_, _, (_, value, run_id, name, _)) in sorted(found.items())
    )


def _age(row: RunRow) -> tuple[int, str]:
    """Order runs by their start, the latest first; of those that began together the first by its id."""
    run_id, _, _, started, _, _ = row
    return (1 if started is None else -started), run_id


def _facts(row: RunRow | None) -> RunFacts | None:
    if row is None:
        return None
    run_id, name, status, started, ended, _ = row
    return RunFacts(run_id, name or "", status, moment(started), moment(ended))
