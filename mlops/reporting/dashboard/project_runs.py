"""The runs of a project, a page of them at a time, with the parameters and metrics that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.mlflow_tracking.run_query import STATUSES
from mlops.pipelines import catalogue

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

PAGE: Final = 50
# Columns that fit beside the others; a run's own page has all of its values.
SHOWN_NAMES: Final = 5
# Each costs a question; of a run with more metrics the others follow in the order of the alphabet.
ASKED_METRICS: Final = 30


@dataclass(frozen=True, slots=True)
class RunsPage:
    """Some runs.

    Args:
        runs: The runs as ``list_runs`` gives them, newest first.
        page: Which page it is, counted from 1.
        more: Whether there is a next one.
        status: The status they all have, or None.
        pipeline: The pipeline they are all of, or None.
        pipelines: The pipelines to choose from.
        params: The parameters most of them have, sorted.
        metrics: The metrics most of them have, sorted.
        all_metrics: All metrics they have, those with a curve first.
        left_out: How many parameters and metrics have no column.
    """

    runs: tuple[Mapping[str, Any], ...]
    page: int = 1
    more: bool = False
    status: str | None = None
    pipeline: str | None = None
    pipelines: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    all_metrics: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses to choose from."""
        return STATUSES


def runs_page(
    tracking: MLflowTracking, *, page: int = 1, status: str | None = None, pipeline: str | None = None
) -> RunsPage:
    """Return a page of a project's runs; single steps of pipelines and the runs of checks are not among them.

    Args:
        tracking: The project's adapter.
        page: Which page, from 1.
        status: Only runs with this status.
        pipeline: Only runs of this pipeline.
    """
    # One more than is shown tells whether there is another page.
    found = tracking.list_runs(
        pipeline_name=pipeline, status=status, limit=PAGE + 1, offset=(page - 1) * PAGE, steps=False
    )
    runs = tuple(found[:PAGE])
    params, metrics = (_frequent(run[kind] for run in runs) for kind in ("params", "metrics"))
    names = {name for run in runs for name in run["metrics"]}
    left_out = len(names) + len({name for run in runs for name in run["params"]})
    return RunsPage(
        runs,
        page=page,
        more=len(found) > PAGE,
        status=status,
        pipeline=pipeline,
        pipelines=tuple(catalogue.names(tracking.context.workspace)),
        params=params,
        metrics=metrics,
        all_metrics=with_curves_first(tracking, runs, names),
        left_out=left_out - len(params) - len(metrics),
    )


def with_curves_first(
    tracking: MLflowTracking, runs: Sequence[Mapping[str, Any]], metrics: Iterable[str]
) -> tuple[str, ...]:
    """Return metrics, those first of which the newest run that has any logged more than one value.

    Args:
        tracking: The project's adapter.
        runs: Runs, newest first.
        metrics: The metrics.
    """
    run = next((run for run in runs if run["metrics"]), None)
    names = sorted(metrics)
    if run is None:
        return tuple(names)
    asked = [name for name in names if name in run["metrics"]][:ASKED_METRICS]
    curved = {name for name in asked if len([*islice(tracking.metric_history(run["run_id"], name), 2)]) > 1}
    return tuple(sorted(names, key=lambda name: name not in curved))


def _frequent(values: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names that most runs have, sorted."""
    counts = Counter(name for each in values for name in each)
    # Of equally frequent ones the first in the alphabet, so that the columns do not jump about.
    most = sorted(counts, key=lambda name: (-counts[name], name))[:SHOWN_NAMES]
    return tuple(sorted(most))
