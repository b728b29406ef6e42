"""How much was new in the last days, and in as many days before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from mlops.reporting.facts import ProjectReport, plain
from mlops.reporting.reading.days import WINDOW_DAYS
from mlops.reporting.totals import added

DAYS: Final = (7, WINDOW_DAYS)


@dataclass(frozen=True, slots=True)
class Activity:
    """What was new in some days, by when it began, in UTC.

    Args:
        runs: Runs.
        failed: Those of them that failed.
        data_versions: Data versions.
        model_versions: Registered versions.
        checks: Checks.
        drifted: Those of them that found drift.
    """

    runs: int = 0
    failed: int = 0
    data_versions: int = 0
    model_versions: int = 0
    checks: int = 0
    drifted: int = 0


_NAMES: Final = tuple(each.name for each in fields(Activity))


@dataclass(frozen=True, slots=True)
class Trend:
    """One window.

    Args:
        days: How many days, with today.
        now: What was new in them.
        before: What was new in as many days before.
    """

    days: int
    now: Activity
    before: Activity


@dataclass(frozen=True, slots=True)
class Trends:
    """What was new, over all projects.

    Args:
        windows: The last 7 and the last 30 days.
        by_day: Each of the last 30 days, the earliest first, also those without anything new.
    """

    windows: tuple[Trend, ...] = ()
    by_day: Mapping[date, Activity] = field(default_factory=dict)

    def over(self, days: int) -> Trend:
        """Return the window of 7 or of 30 days."""
        return next(trend for trend in self.windows if trend.days == days)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = plain(self)
        return values


def follow(projects: Iterable[ProjectReport], *, now: datetime) -> Trends:
    """Return what was new up to a moment.

    Args:
        projects: What is said of each at that moment.
        now: The moment, aware.
    """
    today = now.astimezone(UTC).date()
    days = [today - timedelta(days=back) for back in range(WINDOW_DAYS)]
    found = {day: dict.fromkeys(_NAMES, 0) for day in days}
    earlier = dict.fromkeys(_NAMES, 0)
    for each in projects:
        for name, part in _parts(each):
            for day, counts in part.by_day.items():
                if day in found:
                    _add(found[day], name, counts)
            if part.earlier:
                _add(earlier, name, part.earlier)

    def summed(span: Iterable[date]) -> Activity:
        return Activity(**added(found[day] for day in span))

    short = DAYS[0]
    return Trends(
        (
            Trend(short, summed(days[:short]), summed(days[short : 2 * short])),
            Trend(WINDOW_DAYS, summed(days), Activity(**earlier)),
        ),
        {day: Activity(**found[day]) for day in reversed(days)},
    )


def _parts(project: ProjectReport) -> tuple[tuple[str, Any], ...]:
    return (
        ("runs", project.runs),
        ("data_versions", project.data),
        ("model_versions", project.models),
        ("checks", project.monitoring),
    )


def _add(sums: dict[str, int], part: str, counts: Mapping[str, int]) -> None:
    """Add the counts of a part of a project to sums under the names of ``Activity``."""
    if part == "runs":
        sums["runs"] += sum(counts.values())
        sums["failed"] += counts.get("FAILED", 0)
    elif part == "checks":
        sums["checks"] += counts.get("checks", 0)
        sums["drifted"] += counts.get("drifted", 0)
    else:
        sums[part] += counts.get("versions", 0)
