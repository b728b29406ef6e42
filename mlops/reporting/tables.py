"""The tables of a report, made once and shown on a terminal, in Markdown and on a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from mlops.files import human_bytes
from mlops.reporting import rows
from mlops.reporting.cells import Cell, Column, Table, count, foreign
from mlops.reporting.facts import ProjectReport
from mlops.reporting.formatting import number
from mlops.reporting.gates import Failure, evaluate
from mlops.reporting.rankings import Place, Rankings
from mlops.reporting.trends import DAYS, Activity, Trends
from mlops.reporting.wording import share
from mlops.workspace.model import DIRECTORIES

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport


def tables(report: StatusReport) -> tuple[Table, ...]:
    """Return every table of a report, what needs attention first.

    Args:
        report: The report.
    """
    projects = report.projects
    return (
        _table(
            "attention", "Needs attention", "project|what|finding", _attention(evaluate(projects)), "Nothing."
        ),
        _table(
            "projects",
            "Projects",
            "project|state|#runs|#failed|last run (UTC)|best metrics|#data versions|#unpushed|#models|"
            "#deployments|drift|#open alerts|#storage|description",
            map(rows.project, projects),
            "There are no projects.",
        ),
        _table(
            "trends",
            "What is new",
            "what|" + "|".join(f"#last {days} days|#{days} days before" for days in DAYS),
            _trends(report.trends),
            "",
        ),
        _table(
            "rankings",
            "Rankings",
            "by|#place|project|#value",
            _rankings(report.rankings) if len(projects) > 1 else (),
            "There is nothing to rank.",
        ),
        _table(
            "metrics",
            "Best metrics",
            "project|metric|better|#value|run|run id",
            _each(projects, rows.metrics),
            "No finished run has a metric.",
        ),
        _table(
            "deployments",
            "Models in production and deployments",
            "project|model|version|production|Bento|built (UTC)|served at",
            _each(projects, rows.deployments),
            "No model is deployed.",
        ),
        _table(
            "checks",
            "Latest check of each model",
            "project|model|version|checked (UTC)|#rows|drift|#drifted columns|#missing values|performance",
            _each(projects, rows.checks),
            "No model has been checked.",
        ),
        _table(
            "storage",
            "Storage",
            "project|" + "|".join(f"#{directory}" for directory in DIRECTORIES) + "|#total",
            map(rows.storage, projects),
            "There are no projects.",
        ),
        _table(
            "quotas",
            "Storage limits",
            "project|of|#used|#soft limit|#hard limit|state",
            _each(projects, rows.quotas),
            "No limit is set.",
        ),
        _table(
            "pipelines",
            "Pipelines",
            "project|pipeline|last run (UTC)|run|run id",
            _each(projects, rows.pipelines),
            "There are no pipelines.",
        ),
        _table(
            "schedules",
            "Schedules",
            "project|schedule|runs|when|next (UTC)|last (UTC)|last job",
            _each(projects, rows.schedules),
            "Nothing is scheduled.",
        ),
        _table(
            "gaps",
            "Unknown origins",
            "project|what|not known",
            _each(projects, rows.gaps),
            "The origin of everything is known.",
        ),
    )


def _table(name: str, title: str, columns: str, made: Iterable[Iterable[Cell]], empty: str) -> Table:
    heads = tuple(Column(each.removeprefix("#"), each.startswith("#")) for each in columns.split("|"))
    return Table(name, title, heads, tuple(map(tuple, made)), empty)


def _each(
    projects: Iterable[ProjectReport],
    rows_of: Callable[[ProjectReport], Iterator[tuple[Cell, ...]]],
) -> Iterator[tuple[Cell, ...]]:
    for project in projects:
        for row in rows_of(project):
            yield (foreign(project.project_name), *row)


def _attention(failures: Iterable[Failure]) -> Iterator[tuple[Cell, ...]]:
    for failure in failures:
        yield foreign(failure.project_name), Cell(failure.gate, tone="bad"), foreign(failure.what, 300)


def _trends(trends: Trends) -> Iterator[tuple[Cell, ...]]:
    windows = [activity for trend in trends.windows for activity in (trend.now, trend.before)]
    for each in fields(Activity):
        yield Cell(each.name.replace("_", " ")), *(count(getattr(window, each.name)) for window in windows)


def _rankings(rankings: Rankings) -> Iterator[tuple[Cell, ...]]:
    for name, (words, shown) in _RANKINGS.items():
        places: tuple[Place, ...] = getattr(rankings, name)
        for position, place in enumerate(places, 1):
            value = Cell(shown(place.value), place.value)
            yield Cell(words), count(position), foreign(place.project_name), value


_RANKINGS: Final[Mapping[str, tuple[str, Callable[[float], str]]]] = {
    "active": ("runs in 30 days", number),
    "failing": ("failed runs in 30 days", share),
    "idle": ("days since the last run", "{:.1f}".format),
    "storage": ("storage", human_bytes),
    "drift": ("drifted columns", share),
    "alerts": ("open alerts", number),
    "unpushed": ("data not pushed", number),
    "gaps": ("unknown origins", number),
}
