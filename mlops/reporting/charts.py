"""The charts of a report's page: what the same numbers in its tables look like at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from mlops.files import human_bytes
from mlops.reporting.cells import Cell, Column, Table
from mlops.reporting.dashboard.figures import STATUS_COLOURS, Figure, bars, figure, label
from mlops.reporting.facts import ProjectReport
from mlops.reporting.rankings import Rankings
from mlops.reporting.totals import added
from mlops.reporting.wording import better, one_line
from mlops.workspace.model import DIRECTORIES

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport

RUNS: Final = "runs-per-day"
# More bars than this cannot be read on one screen; the tables have all of them.
_MOST_BARS: Final = 20
# A list of more metrics than this to choose from is no help, and each costs a chart in the file.
_MOST_METRICS: Final = 40
# On a phone, longer labels leave no room for the bars.
_LABEL_LIMIT: Final = 24
_FEW_BARS: Final = 8


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, or several of the same kind to choose from.

    Args:
        name: A short name, unique on the page.
        title: Its heading.
        figures: What to choose from by its name, each as Plotly takes it; with one, there is no choice.
        note: What it shows and leaves out.
        table: The name of the table that has the same numbers.
    """

    name: str
    title: str
    figures: tuple[tuple[str, Figure], ...]
    note: str
    table: str

    @property
    def drawn(self) -> tuple[Figure, ...]:
        """The figures without their names."""
        return tuple(each for _, each in self.figures)

    @property
    def size(self) -> str:
        """How tall it is: ``medium``, or ``large`` if it has many bars."""
        rows = max(len(trace["x"]) for each in self.drawn for trace in each["data"])
        return "large" if rows > _FEW_BARS and self.name != RUNS else "medium"


def charts(report: StatusReport) -> tuple[Chart, ...]:
    """Return the charts for which there is something to draw.

    Args:
        report: The report.
    """
    projects = report.projects
    made = (_runs(report), _drift(projects), _storage(projects), _metrics(report.rankings))
    return tuple(chart for chart in made if chart is not None)


def runs_table(report: StatusReport) -> Table:
    """Return the numbers of the chart of runs per day, the latest day first.

    Args:
        report: The report.
    """
    by_day = _runs_by_day(report)
    statuses = _statuses(by_day)
    rows = tuple(
        (Cell(day.isoformat()), *(Cell(f"{counts.get(each, 0):,}", counts.get(each, 0)) for each in statuses))
        for day, counts in reversed(by_day.items())
        if counts
    )
    columns = (Column("day (UTC)"), *(Column(status, numeric=True) for status in statuses))
    return Table(f"{RUNS}-table", "Runs started on each day", columns, rows, "No run was started.")


def _runs_by_day(report: StatusReport) -> dict[date, dict[str, int]]:
    """Return the number of runs by status on each of the last days, the earliest first."""
    return {
        day: added(each.runs.by_day.get(day, {}) for each in report.projects) for day in report.trends.by_day
    }


def _statuses(by_day: Mapping[date, Mapping[str, int]]) -> list[str]:
    found = {status for counts in by_day.values() for status, count in counts.items() if count}
    return [*(each for each in STATUS_COLOURS if each in found), *sorted(found - set(STATUS_COLOURS))]


def _runs(report: StatusReport) -> Chart | None:
    by_day = _runs_by_day(report)
    statuses = _statuses(by_day)
    if not statuses:
        return None
    traces: list[Figure] = [
        {
            "type": "bar",
            "name": label(status),
            "x": [day.isoformat() for day in by_day],
            "y": [counts.get(status, 0) for counts in by_day.values()],
            "marker": {"color": STATUS_COLOURS.get(status, "var(--series-8)")},
        }
        for status in statuses
    ]
    drawn = figure(traces, y="runs", barmode="stack", hovermode="x unified", xaxis={"type": "date"})
    note = f"All projects together, by the day (UTC) on which a run began, in the last {len(by_day)} days."
    return Chart(RUNS, "Runs per day", (("", drawn),), note, f"{RUNS}-table")


def _drift(projects: Sequence[ProjectReport]) -> Chart | None:
    found = [
        (check.drift_share, check.drift_detected, _name(project.project_name, check.model))
        for project in projects
        for check in project.monitoring.last
        if check.drift_share is not None
    ]
    if not found:
        return None
    found.sort(key=lambda each: (-each[0], each[2]))
    shown = found[:_MOST_BARS]
    names = _labels([name for _, _, name in shown])
    traces = [
        bars(words, names, [value if drifts is verdict else None for value, drifts, _ in shown], colour=shade)
        for verdict, words, shade in ((True, "drift", "var(--bad)"), (False, "no drift", "var(--ok)"))
    ]
    drawn = figure(
        traces,
        x="share of drifted columns",
        barmode="overlay",
        xaxis={"range": [0, 1], "tickformat": ".0%"},
        yaxis=_CATEGORIES,
    )
    note = f"The latest check of each model{_of(len(shown), len(found), 'the largest shares')}."
    return Chart("drift", "Drift by project and model", (("", drawn),), note, "checks")


def _storage(projects: Sequence[ProjectReport]) -> Chart | None:
    held = [each for each in projects if each.storage.total_bytes]
    if not held:
        return None
    held.sort(key=lambda each: (-each.storage.total_bytes, each.project_name))
    shown = held[:_MOST_BARS]
    names = _labels([each.project_name for each in shown])
    traces = []
    for index, directory in enumerate(DIRECTORIES):
        sizes = [each.storage.by_directory.get(directory, 0) for each in shown]
        trace = bars(directory, names, [size / 1e6 for size in sizes], colour=f"var(--series-{index + 1})")
        trace["customdata"] = [human_bytes(size) for size in sizes]
        trace["hovertemplate"] = f"%{{y}}, {directory}: %{{customdata}}<extra></extra>"
        traces.append(trace)
    drawn = figure(traces, x="MB", barmode="stack", yaxis=_CATEGORIES)
    note = f"What each part of a workspace takes on disk{_of(len(shown), len(held), 'the largest projects')}."
    return Chart("storage-by-tool", "Storage by tool", (("", drawn),), note, "storage")


def _metrics(rankings: Rankings) -> Chart | None:
    # What most projects have can be compared best.
    ranked = sorted(rankings.metrics.values(), key=lambda each: (-len(each.places), each.metric))
    if not ranked:
        return None
    figures = []
    for each in ranked[:_MOST_METRICS]:
        names = _labels([place.project_name for place in each.places])
        trace = bars(each.metric, names, [place.value for place in each.places])
        metric = one_line(each.metric, 2 * _LABEL_LIMIT)
        words = f"{metric} ({better(each.mode)} is better)"
        figures.append((words, figure([trace], x=metric, yaxis=_CATEGORIES, showlegend=False)))
    note = (
        "The best run of each project, the best projects first, for every metric that two projects have"
        f"{_of(len(figures), len(ranked), 'the metrics of most projects')}."
    )
    return Chart("ranking", "Ranking by metric", tuple(figures), note, "metrics")


# Names are never read as numbers or dates, and the first is at the top.
_CATEGORIES: Final = {"type": "category", "autorange": "reversed"}


def _labels(names: Sequence[str]) -> list[str]:
    """Return short texts for bars, each another: Plotly would draw those of the same text as one bar."""
    short: dict[str, None] = {}
    for name in names:
        text = wanted = one_line(name, _LABEL_LIMIT) or "-"
        count = 1
        while text in short:
            count += 1
            text = f"{wanted} ({count})"
        short[text] = None
    return list(short)


def _name(project: str, model: str | None) -> str:
    return project if model is None else f"{project}/{model}"


def _of(shown: int, total: int, which: str) -> str:
    return "" if shown == total else f"; of {total:,}, {which} are drawn ({shown})"
