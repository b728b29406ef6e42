"""Counting a project's runs and finding its best results, whoever reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Final, NamedTuple

from mlops.integrations.mlflow_tracking.run_record import moment, ordered, restored
from mlops.reporting.facts import BestMetric, RunFacts, RunsFacts
from mlops.reporting.reading import days
from mlops.reporting.reading.metric_modes import mode_of

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
    by_status: dict[str, int] = {}
    last: RunRow | None = None
    last_ended: RunRow | None = None
    ended_of: dict[str, RunRow] = {}

    def moments() -> Iterator[tuple[date, str]]:
        nonlocal last, last_ended
        for row in rows:
            by_status[row.status] = by_status.get(row.status, 0) + 1
            if last is None or _newer(row, last):
                last = row
            if row.status in _ENDED:
                if last_ended is None or _newer(row, last_ended):
                    last_ended = row
                if row.pipeline is not None and (
                    row.pipeline not in ended_of or _newer(row, ended_of[row.pipeline])
                ):
                    ended_of[row.pipeline] = row
            if row.started is not None and (day := days.day_of(row.started)) >= first:
                yield day, row.status

    by_day = days.counted(moments())
    return RunsFacts(
        total=sum(by_status.values()),
        by_status=ordered(by_status),
        last=_facts(last),
        last_ended=_facts(last_ended),
        last_ended_by_pipeline={
            name: found for name in sorted(ended_of) if (found := _facts(ended_of[name])) is not None
        },
        by_day=by_day,
    )


def best_of(rows: Iterable[MetricRow], *, modes: Mapping[str, str]) -> tuple[BestMetric, ...]:
    """Return the best value of each metric; of equal ones that of the run started last, as ``best_run`` does.

    Args:
        rows: The latest values of finished runs, none of them NaN.
        modes: What the project says of its metrics.
    """
    ways: dict[str, str] = {}
    found: dict[str, tuple[float, int, MetricRow]] = {}
    for row in rows:
        way = ways.get(row.metric) or ways.setdefault(row.metric, mode_of(row.metric, modes))
        score = row.value if way == "max" else -row.value
        rank = (score, -1 if row.started is None else row.started)
        held = found.get(row.metric)
        if held is None or rank > held[:2] or (rank == held[:2] and row.run_id < held[2].run_id):
            found[row.metric] = (*rank, row)
    return tuple(
        BestMetric(metric, ways[metric], restored(row.value), row.run_id, row.name or "")
        for metric, (_, _, row) in sorted(found.items())
    )


def _newer(row: RunRow, other: RunRow) -> bool:
    started, than = (-1 if each.started is None else each.started for each in (row, other))
    return started > than or (started == than and row.run_id < other.run_id)


def _facts(row: RunRow | None) -> RunFacts | None:
    if row is None:
        return None
    return RunFacts(row.run_id, row.name or "", row.status, moment(row.started), moment(row.ended))
