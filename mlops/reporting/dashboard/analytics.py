"""What all projects come to: deployed models side by side, runs per day, and storage by project and tool."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlops.reporting.dashboard import figures
from mlops.reporting.reading.metric_modes import mode_of
from mlops.reporting.wording import better

if TYPE_CHECKING:
    from datetime import date

    from mlops.reporting.facts import ProjectReport
    from mlops.reporting.registry import Registry, RegistryEntry

# As many bars as can be read below each other.
MAX_BARS: Final = 25
_IN_USE: Final = "production"


@dataclass(frozen=True, slots=True)
class Compared:
    """A deployed model with its value of one metric.

    Args:
        entry: The version.
        checked: The value in its latest check, or None.
        trained: The value that the run that made it logged last, or None.
    """

    entry: RegistryEntry
    checked: float | None
    trained: float | None

    @property
    def label(self) -> str:
        """What the chart calls it."""
        return f"{self.entry.project}.{self.entry.model}:{self.entry.version}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Deployed models side by side.

    Args:
        metric: The metric they are compared by, or None if none of them has any.
        metrics: The metrics to choose from, those that most of them have first.
        mode: ``max`` or ``min``: which way it is better.
        models: The models that have it, the best value first.
        deployed: How many models are deployed, with this metric or without.
    """

    metric: str | None
    metrics: tuple[str, ...]
    mode: str
    models: tuple[Compared, ...]
    deployed: int

    @property
    def better(self) -> str:
        """``higher`` or ``lower``: which values are better."""
        return better(self.mode)

    @property
    def figure(self) -> figures.Figure:
        """The comparison as bars, the best on top."""
        shown = [*reversed(self.models[:MAX_BARS])]
        labels = [each.label for each in shown]
        return figures.figure(
            [
                figures.bars("when it was trained", labels, [each.trained for each in shown]),
                figures.bars("in its last check", labels, [each.checked for each in shown]),
            ],
            x=f"{self.metric} ({self.better} is better)" if self.metric else "",
            barmode="group",
            yaxis={"type": "category"},
        )


def compare(registry: Registry, metric: str | None, *, modes: Mapping[str, str]) -> Comparison:
    """Return the deployed models, side by side by one metric.

    Deployed is what has a Bento, is served, or has the alias ``production``.

    Args:
        registry: The versions of all projects.
        metric: The metric; by default the one that most of them have.
        modes: What ``modes_of`` returned; the name of a metric that is not there says which way it is better.
    """
    deployed = [e for e in registry.entries if e.bento or e.serving or _IN_USE in e.aliases]
    counts = Counter(name for entry in deployed for name in {**entry.metrics, **_checked(entry)})
    metrics = sorted(counts, key=lambda name: (-counts[name], name))
    chosen = metric if metric in counts else next(iter(metrics), None)
    models = [
        Compared(entry, _checked(entry).get(chosen), entry.metrics.get(chosen))
        for entry in deployed
        if chosen is not None and (chosen in entry.metrics or chosen in _checked(entry))
    ]
    mode = mode_of(chosen or "", modes)
    models.sort(key=lambda each: _place(each, mode))
    return Comparison(chosen, tuple(metrics), mode, tuple(models), len(deployed))


def modes_of(projects: Iterable[ProjectReport]) -> dict[str, str]:
    """Return which way each metric is better, ``max`` or ``min``, where all projects that have it agree.

    Args:
        projects: The projects.
    """
    said: dict[str, set[str]] = {}
    for each in projects:
        for best in each.runs.best:
            said.setdefault(best.metric, set()).add(best.mode)
    return {metric: modes.pop() for metric, modes in said.items() if len(modes) == 1}


def storage_bars(projects: Sequence[ProjectReport]) -> figures.Figure:
    """Return what the largest projects store, by part of their workspaces, the largest on top.

    Args:
        projects: The projects.
    """
    shown = by_size(projects)[:MAX_BARS][::-1]
    names = [each.project_name for each in shown]
    parts = dict.fromkeys(part for each in shown for part in each.storage.by_directory)
    traces = [
        figures.bars(part, names, [each.storage.by_directory.get(part, 0) / 1e6 for each in shown])
        for part in parts
    ]
    return figures.figure(traces, x="MB", barmode="stack", yaxis={"type": "category"})


def storage_map(projects: Sequence[ProjectReport]) -> figures.Figure:
    """Return what all projects store as areas: a project's, and in it those of its parts.

    Args:
        projects: The projects.
    """
    ids, labels, parents, values = [""], ["all projects"], [""], [0]
    ids[0] = "all"
    for each in by_size(projects):
        ids.append(f"all/{each.project_name}")
        labels.append(each.project_name)
        parents.append("all")
        # The parts' own areas add up to less where files are linked between them.
        values.append(0)
        for part, size in each.storage.by_directory.items():
            if size:
                ids.append(f"all/{each.project_name}/{part}")
                labels.append(part)
                parents.append(f"all/{each.project_name}")
                values.append(size)
    trace = {
        "type": "treemap",
        "ids": ids,
        "labels": [figures.label(each) for each in labels],
        "parents": parents,
        "values": values,
        "branchvalues": "remainder",
        "hovertemplate": "%{label}: %{value:.3s}B<extra></extra>",
        "textinfo": "label+percent root",
    }
    return figures.figure([trace], margin={"l": 0, "r": 0, "t": 24, "b": 0})


def by_size(projects: Iterable[ProjectReport]) -> list[ProjectReport]:
    """Return the projects that can be read, the largest first."""
    ready = [each for each in projects if each.state == "ready"]
    return sorted(ready, key=lambda each: (-each.storage.total_bytes, each.project_name))


def runs_by_day(projects: Iterable[ProjectReport]) -> dict[date, Counter[str]]:
    """Return day to the number of runs by status over all projects, oldest day first.

    Args:
        projects: The projects.
    """
    found: dict[date, Counter[str]] = {}
    for each in projects:
        for day, counts in each.runs.by_day.items():
            found.setdefault(day, Counter()).update(counts)
    return {day: found[day] for day in sorted(found)}


def runs_figure(by_day: Mapping[date, Mapping[str, int]]) -> figures.Figure:
    """Return the runs per day as bars, by status.

    Args:
        by_day: What ``runs_by_day`` returned.
    """
    days = [day.isoformat() for day in by_day]
    traces = [
        {
            "type": "bar",
            "name": status,
            "x": days,
            "y": [counts.get(status, 0) for counts in by_day.values()],
            "marker": {"color": colour},
        }
        for status, colour in figures.STATUS_COLOURS.items()
        if any(status in counts for counts in by_day.values())
    ]
    return figures.figure(traces, y="runs", barmode="stack", xaxis={"type": "date"})


def _checked(entry: RegistryEntry) -> Mapping[str, float]:
    return entry.last_check.performance if entry.last_check is not None else {}


def _place(each: Compared, mode: str) -> float:
    """Return what the models are in order by, the best first and those without a number last."""
    number = figures.number(each.checked if each.checked is not None else each.trained)
    if number is None:
        return math.inf
    return -number if mode == "max" else number
