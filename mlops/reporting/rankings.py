"""Which projects come first: by how busy they are, by what they cost, and by what needs a look."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mlops.reporting.facts import BestMetric, ProjectReport, plain

# A ranking is for a look; the counts themselves are in the report of each project.
FIRST: Final = 10
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Place:
    """A project's place.

    Args:
        project_name: The project.
        value: What it is ranked by.
    """

    project_name: str
    value: float


@dataclass(frozen=True, slots=True)
class MetricRanking:
    """The projects with the best value of a metric that several have.

    Args:
        metric: The metric's name.
        mode: ``max`` or ``min``: which way is better.
        places: The first ten, the best first.
    """

    metric: str
    mode: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Rankings:
    """The first ten projects by each of these; those with nothing of it are left out.

    Args:
        active: Runs in the last 30 days.
        failing: Share of the runs of the last 30 days that failed, 0 to 1.
        idle: Days since the last run began.
        storage: Bytes.
        drift: Share of drifted columns in the latest check of a model, the largest of the project, 0 to 1.
        alerts: Alerts that nobody has acknowledged.
        unpushed: Data versions that no remote is known to hold.
        gaps: Things whose origin is not known.
        metrics: Best values, for every metric of two projects or more.
    """

    active: tuple[Place, ...] = ()
    failing: tuple[Place, ...] = ()
    idle: tuple[Place, ...] = ()
    storage: tuple[Place, ...] = ()
    drift: tuple[Place, ...] = ()
    alerts: tuple[Place, ...] = ()
    unpushed: tuple[Place, ...] = ()
    gaps: tuple[Place, ...] = ()
    metrics: Mapping[str, MetricRanking] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = plain(self)
        return values


def rank(projects: Iterable[ProjectReport], *, now: datetime) -> Rankings:
    """Return the rankings at a moment.

    Args:
        projects: What is said of each at that moment.
        now: The moment, aware.
    """
    every = tuple(projects)
    recent = {each.project_name: _recent(each) for each in every}

    def failing(project: ProjectReport) -> float:
        counts = recent[project.project_name]
        return counts.get("FAILED", 0) / sum(counts.values()) if counts else 0.0

    def idle(project: ProjectReport) -> float:
        last = project.runs.last
        began = None if last is None else last.started_at
        return 0.0 if began is None else max((now - began).total_seconds() / _DAY_SECONDS, 0.0)

    def first(value: Callable[[ProjectReport], float]) -> tuple[Place, ...]:
        places = [(found, each.project_name) for each in every if (found := value(each)) > 0]
        return _top(places, descending=True)

    return Rankings(
        active=first(lambda project: sum(recent[project.project_name].values())),
        failing=first(failing),
        idle=first(idle),
        storage=first(lambda project: project.storage.total_bytes),
        drift=first(_drift),
        alerts=first(lambda project: len(project.monitoring.open_alerts)),
        unpushed=first(lambda project: project.data.unpushed),
        gaps=first(lambda project: len(project.gaps)),
        metrics={each.metric: each for each in _metrics(every)},
    )


def _metrics(projects: Iterable[ProjectReport]) -> Iterator[MetricRanking]:
    found: dict[tuple[str, str], list[tuple[BestMetric, str]]] = {}
    for project in projects:
        for best in project.runs.best:
            found.setdefault((best.metric, best.mode), []).append((best, project.project_name))
    for (metric, mode), values in sorted(found.items()):
        if len(values) > 1:
            places = [(best.value, name) for best, name in values]
            yield MetricRanking(metric, mode, _top(places, descending=mode == "max"))


def _top(places: Iterable[tuple[float, str]], *, descending: bool) -> tuple[Place, ...]:
    """Return the first places, from values and projects; of equal values the first project by name."""
    way = -1 if descending else 1
    found = heapq.nsmallest(FIRST, places, key=lambda place: (way * place[0], place[1]))
    return tuple(Place(name, value) for value, name in found)


def _recent(project: ProjectReport) -> dict[str, int]:
    found: dict[str, int] = {}
    for counts in project.runs.by_day.values():
        for status, count in counts.items():
            found[status] = found.get(status, 0) + count
    return found


def _drift(project: ProjectReport) -> float:
    return max((check.drift_share or 0.0 for check in project.monitoring.last), default=0.0)
