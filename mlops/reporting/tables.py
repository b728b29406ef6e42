"""The tables of a report, made once and shown on a terminal, in Markdown and on a page.

A cell has the text that people read and the number that its column is sorted by. Texts of others (names of
runs and models, messages of tools) are on one line already; each way of showing them escapes them by its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mlops.files import human_bytes
from mlops.reporting.facts import BestMetric, CheckFacts, ProjectReport
from mlops.reporting.formatting import number
from mlops.reporting.gates import Failure
from mlops.reporting.wording import moment, one_line, share

# A name or message longer than this is cut: the whole one is in the JSON report.
TEXT_LIMIT: Final = 160
# How many of a project's metrics stand in its row; all of them are in the table of metrics.
_METRICS_IN_ROW: Final = 3
# What has no time is sorted before what has.
_NEVER: Final = 0.0
DIRECTORIES: Final = ("mlflow", "dvc", "monitoring", "models", "outputs")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table.

    Args:
        text: What people read.
        order: What the column is sorted by; the text if it is None.
        tone: ``ok``, ``warn``, ``bad``, or nothing.
        foreign: Whether others chose the text, or a part of it, so that it may hold markup.
    """

    text: str
    order: float | None = None
    tone: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: Its heading.
        numeric: Whether its values are numbers: aligned to the right, largest first when sorted.
    """

    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of the same kind from all projects.

    Args:
        name: A short name for links to it.
        title: Its heading.
        columns: Its columns.
        rows: One cell for each column; the first is the project where there is one.
        empty: What to say if there are no rows.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str

    @property
    def heads(self) -> tuple[tuple[str, str], ...]:
        """The heading of each column and how it is sorted: as ``number``, ``time`` or ``text``."""
        kinds = (
            "time" if any(row[i].order is not None for row in self.rows) else "text"
            for i in range(len(self.columns))
        )
        return tuple(
            (column.title, "number" if column.numeric else kind)
            for column, kind in zip(self.columns, kinds, strict=True)
        )


def tables(projects: Sequence[ProjectReport], failures: Sequence[Failure]) -> tuple[Table, ...]:
    """Return every table of a report, what needs attention first.

    Args:
        projects: What the report says of each.
        failures: What ``gates.evaluate`` found in them.
    """
    return (
        _table("attention", "Needs attention", "project|what|finding", _attention(failures), "Nothing."),
        _table(
            "projects",
            "Projects",
            "project|state|#runs|#failed|last run (UTC)|best metrics|#data versions|#unpushed|#models|"
            "#deployments|drift|#open alerts|#storage|description",
            map(_project, projects),
            "There are no projects.",
        ),
        _table(
            "metrics",
            "Best metrics",
            "project|metric|better|#value|run|run id",
            _each(projects, _metrics),
            "No finished run has a metric.",
        ),
        _table(
            "deployments",
            "Models in production and deployments",
            "project|model|version|production|Bento|built (UTC)|served at",
            _each(projects, _deployments),
            "No model is deployed.",
        ),
        _table(
            "checks",
            "Latest check of each model",
            "project|model|version|checked (UTC)|#rows|drift|#drifted columns|#missing values|performance",
            _each(projects, _checks),
            "No model has been checked.",
        ),
        _table(
            "storage",
            "Storage",
            "project|" + "|".join(f"#{directory}" for directory in DIRECTORIES) + "|#total",
            map(_storage, projects),
            "There are no projects.",
        ),
        _table(
            "quotas",
            "Storage limits",
            "project|of|#used|#soft limit|#hard limit|state",
            _each(projects, _quotas),
            "No limit is set.",
        ),
        _table(
            "schedules",
            "Schedules",
            "project|schedule|runs|when|next (UTC)|last (UTC)|last job",
            _each(projects, _schedules),
            "Nothing is scheduled.",
        ),
        _table(
            "gaps",
            "Unknown origins",
            "project|what|not known",
            _each(projects, _gaps),
            "The origin of everything is known.",
        ),
    )


def _table(name: str, title: str, columns: str, rows: Iterable[Iterable[Cell]], empty: str) -> Table:
    heads = tuple(Column(each.removeprefix("#"), each.startswith("#")) for each in columns.split("|"))
    return Table(name, title, heads, tuple(map(tuple, rows)), empty)


def _each(
    projects: Iterable[ProjectReport],
    rows_of: Callable[[ProjectReport], Iterator[tuple[Cell, ...]]],
) -> Iterator[tuple[Cell, ...]]:
    for project in projects:
        for row in rows_of(project):
            yield (_text(project.project_name), *row)


def _attention(failures: Iterable[Failure]) -> Iterator[tuple[Cell, ...]]:
    for failure in failures:
        yield _text(failure.project_name), Cell(failure.gate, tone="bad"), _text(failure.what, 300)


def _project(project: ProjectReport) -> tuple[Cell, ...]:
    runs, data = project.runs, project.data
    failed = runs.by_status.get("FAILED", 0)
    last = runs.last
    alerts = len(project.monitoring.open_alerts)
    exceeded = {row.state for row in project.storage.quota} - {"ok"}
    return (
        _text(project.project_name),
        _state(project),
        _count(runs.total),
        _count(failed, "warn"),
        Cell("-", _NEVER)
        if last is None
        else Cell(
            f"{moment(last.started_at)} {last.status}",
            _order(last.started_at),
            {"FAILED": "bad", "FINISHED": "ok"}.get(last.status, ""),
        ),
        _text(", ".join(f"{best.metric} {number(best.value)}" for best in runs.best[:_METRICS_IN_ROW])),
        _count(data.versions),
        _count(data.unpushed, "warn"),
        _count(project.models.models),
        _count(len(project.models.deployments)),
        _drift(project.monitoring.last),
        _count(alerts, "bad"),
        _size(project.storage.total_bytes, "bad" if "hard" in exceeded else "warn" if exceeded else ""),
        _text(project.description),
    )


def _state(project: ProjectReport) -> Cell:
    if not project.troubles:
        return Cell(project.state, tone="" if project.state == "ready" else "bad")
    told = ", ".join(f"{each.tool} {each.state}".strip() for each in project.troubles)
    return Cell(one_line(told, TEXT_LIMIT), tone="bad", foreign=True)


def _drift(checks: Sequence[CheckFacts]) -> Cell:
    if not checks:
        return Cell("-", -1)
    drifting = sum(check.drift_detected for check in checks)
    if not drifting:
        return Cell("none", 0, "ok")
    return Cell("drift" if len(checks) == 1 else f"{drifting} of {len(checks)} models", drifting, "bad")


def _metrics(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    def row(best: BestMetric) -> tuple[Cell, ...]:
        better = "higher" if best.mode == "max" else "lower"
        value = Cell(number(best.value), best.value)
        return _text(best.metric), Cell(better), value, _text(best.run_name), _text(best.run_id)

    yield from map(row, project.runs.best)


def _deployments(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    packaged = set()
    for each in project.models.deployments:
        packaged.add((each.model, each.version))
        yield (
            _text(each.model),
            _text(each.version),
            Cell("production", tone="ok") if each.production else Cell("-"),
            _text(each.tag),
            _time(each.created_at),
            _text(", ".join(each.urls)),
        )
    for model, version in sorted(project.models.production.items()):
        if (model, version) not in packaged:
            in_production = Cell("production", tone="ok")
            yield _text(model), _text(version), in_production, Cell("-"), _time(None), Cell("-")


def _checks(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    for check in project.monitoring.last:
        performance = ", ".join(f"{name} {number(value)}" for name, value in check.performance.items())
        yield (
            _text(check.model or ""),
            _text(check.model_version or ""),
            _time(check.checked_at),
            _count(check.rows),
            Cell("drift", tone="bad") if check.drift_detected else Cell("none", tone="ok"),
            Cell(f"{check.n_drifted} of {check.n_compared}", _known(check.drift_share)),
            Cell(share(check.missing_share), _known(check.missing_share)),
            _text(performance),
        )


def _storage(project: ProjectReport) -> tuple[Cell, ...]:
    held = project.storage
    parts = (_size(held.by_directory.get(directory, 0)) for directory in DIRECTORIES)
    return _text(project.project_name), *parts, _size(held.total_bytes)


def _quotas(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    for row in project.storage.quota:
        limits = (
            Cell("-", -1) if limit is None else _size(limit) for limit in (row.soft_bytes, row.hard_bytes)
        )
        tone = {"ok": "ok", "soft": "warn"}.get(row.state, "bad")
        words = {"ok": "within", "soft": "over the soft limit", "hard": "over the hard limit"}
        yield (
            _text(row.scope),
            _size(row.used_bytes),
            *limits,
            Cell(words.get(row.state, row.state), tone=tone),
        )


def _schedules(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    for each in project.schedules:
        yield (
            _text(each.name),
            _text(each.target),
            _text(each.when),
            Cell("paused") if each.paused else _time(each.next_at),
            _time(each.last_at),
            _text(each.last_status or ""),
        )


def _gaps(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    for gap in project.gaps:
        yield _text(gap.ref), Cell(gap.missing)


def _text(text: str, limit: int = TEXT_LIMIT) -> Cell:
    harmless = one_line(text, limit)
    return Cell(harmless, foreign=True) if harmless else Cell("-")


def _count(count: int, tone: str = "") -> Cell:
    return Cell(f"{count:,}", count, tone if count else "")


def _size(size: int, tone: str = "") -> Cell:
    return Cell(human_bytes(size), size, tone)


def _time(time: datetime | None) -> Cell:
    return Cell(moment(time), _order(time))


def _order(time: datetime | None) -> float:
    return time.timestamp() if time else _NEVER


def _known(value: float | None) -> float:
    return -1 if value is None else value
