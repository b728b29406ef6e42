"""The curves of a metric over training, thinned to what a browser draws at once; no peak gets lost."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from mlops.reporting.dashboard import figures

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.integrations.mlflow_tracking.run_record import MetricPoint

# About one per pixel of a wide screen.
MAX_POINTS: Final = 1000
# More lines cannot be told apart.
MAX_RUNS: Final = 12
SCHEMA_VERSION: Final = 1

Axis = Literal["step", "time"]
AXES: Final[tuple[Axis, ...]] = ("step", "time")


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run.

    Args:
        run_id: The run.
        run_name: Its name.
        x: Steps, or seconds since the first value.
        y: The values that are drawn; None where one is not finite.
        points: How many values were logged.
        undefined: How many of them are NaN or infinite.
        first: The first finite value, or None.
        last: The last one.
        minimum: The smallest one.
        maximum: The largest one.
    """

    run_id: str
    run_name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    points: int
    undefined: int
    first: float | None
    last: float | None
    minimum: float | None
    maximum: float | None

    def summary(self, label: str) -> dict[str, Any]:
        """Return what the table beside the chart says of it.

        Args:
            label: What it is called there.
        """
        names = ("run_id", "run_name", "points", "undefined", "first", "last", "minimum", "maximum")
        return {"label": label} | {name: getattr(self, name) for name in names}


def collect(
    tracking: MLflowTracking, run_ids: Sequence[str], metric: str, *, axis: Axis = "step"
) -> tuple[Curve, ...]:
    """Return the curves of a metric in some runs; a run without it is left out.

    Args:
        tracking: The project's adapter.
        run_ids: Runs of the project.
        metric: The metric's name.
        axis: ``step``, or ``time`` for seconds since a run's first value.

    Raises:
        DataNotFoundError: The project has no such run.
    """
    names = {run_id: tracking.get_run(run_id)["run_name"] for run_id in run_ids}
    found = (curve(tracking.metric_history(each, metric), each, names[each], axis=axis) for each in names)
    return tuple(each for each in found if each.points)


def curve(
    history: Iterable[MetricPoint],
    run_id: str,
    run_name: str,
    *,
    axis: Axis = "step",
    limit: int = MAX_POINTS,
) -> Curve:
    """Return a run's values thinned to what can be drawn.

    Args:
        history: Every value, in order.
        run_id: The run.
        run_name: Its name.
        axis: ``step`` or ``time``.
        limit: At most so many points, at least 4.
    """
    where, values = array("d"), array("d")
    start: int | None = None
    for point in history:
        start = point.timestamp if start is None else start
        where.append(point.step if axis == "step" else (point.timestamp - start) / 1000)
        values.append(point.value)
    kept = thinned(values, limit)
    finite = [value for value in values if math.isfinite(value)]
    return Curve(
        run_id,
        run_name,
        x=tuple(where[at] for at in kept),
        y=tuple(figures.number(values[at]) for at in kept),
        points=len(values),
        undefined=len(values) - len(finite),
        first=finite[0] if finite else None,
        last=finite[-1] if finite else None,
        minimum=min(finite, default=None),
        maximum=max(finite, default=None),
    )


def thinned(values: Sequence[float], limit: int = MAX_POINTS) -> list[int]:
    """Return the positions of the values to draw: the first, the last, and the extremes of each stretch.

    Args:
        values: The values in order; those that are not finite are no extremes.
        limit: At most so many, at least 4.
    """
    count = len(values)
    if count <= limit:
        return list(range(count))
    stretches = (limit - 2) // 2
    kept = [0]
    for each in range(stretches):
        begin = 1 + each * (count - 2) // stretches
        end = 1 + (each + 1) * (count - 2) // stretches
        finite = [at for at in range(begin, end) if math.isfinite(values[at])]
        if finite:
            kept += sorted({min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)})
        else:
            kept.append(begin)
    return [*kept, count - 1]


def answer(metric: str, found: Sequence[Curve], *, axis: Axis) -> dict[str, Any]:
    """Return the chart of some curves with the table that says the same, as plain JSON values.

    Args:
        metric: The metric's name.
        found: The curves.
        axis: What they are drawn over.
    """
    labels = _labels(found)
    traces = [figures.line(label, each.x, each.y) for label, each in zip(labels, found, strict=True)]
    title = "step" if axis == "step" else "seconds since the first value"
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": metric,
        "axis": axis,
        "figure": figures.figure(traces, x=title, y=metric),
        "curves": [each.summary(label) for label, each in zip(labels, found, strict=True)],
    }


def _labels(found: Sequence[Curve]) -> list[str]:
    """Return what to call each curve: its run's name, with the id where runs have the same name."""
    names = Counter(each.run_name for each in found)
    alone = [bool(each.run_name) and names[each.run_name] == 1 for each in found]
    return [
        each.run_name if unique else f"{each.run_name} {each.run_id[:8]}".strip()
        for each, unique in zip(found, alone, strict=True)
    ]
