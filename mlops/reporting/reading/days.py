"""How many of something there were per day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from mlops.reporting.facts import ProjectReport

WINDOW_DAYS: Final = 30
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_MILLISECONDS: Final = 86_400_000

Days = Mapping[date, Mapping[str, int]]


def counted(moments: Iterable[tuple[date, str]]) -> dict[date, dict[str, int]]:
    """Return the number of each kind by day, the earliest day first.

    Args:
        moments: Day and kind of each.
    """
    found: dict[date, dict[str, int]] = {}
    for day, kind in moments:
        counts = found.setdefault(day, {})
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(found.items()))


def counted_by_time(times: Iterable[tuple[int | None, str]], *, first: date) -> dict[date, dict[str, int]]:
    """Return the number of each kind by day, in UTC, the earliest day first.

    Args:
        times: Milliseconds since the epoch, or None, and kind of each.
        first: The earliest day that counts.
    """
    counts = Counter([(time // _DAY_MILLISECONDS, kind) for time, kind in times if time is not None])
    found: dict[date, dict[str, int]] = {}
    for (number, kind), count in sorted(counts.items()):
        if (day := date.fromordinal(_EPOCH + number)) >= first:
            found.setdefault(day, {})[kind] = count
    return found


def first_day(now: datetime) -> date:
    """Return the earliest day that any later report may still look at."""
    return now.astimezone(UTC).date() - timedelta(days=2 * WINDOW_DAYS - 1)


def as_of(report: ProjectReport, now: datetime) -> ProjectReport:
    """Return a report with its days cut to those that count at a moment.

    Args:
        report: What was read at that moment or before, with all days since ``first_day`` of then.
        now: The moment, aware.
    """
    today = now.astimezone(UTC).date()
    changes = {}
    for name in ("runs", "data", "models", "monitoring"):
        part = getattr(report, name)
        if part.by_day:
            recent, earlier = _windows(part.by_day, today)
            changes[name] = replace(part, by_day=recent, earlier=earlier)
    return replace(report, **changes) if changes else report


def _windows(by_day: Days, today: date) -> tuple[Days, Mapping[str, int]]:
    start = today - timedelta(days=WINDOW_DAYS - 1)
    before = start - timedelta(days=WINDOW_DAYS)
    earlier: dict[str, int] = {}
    for day, counts in by_day.items():
        if before <= day < start:
            for kind, count in counts.items():
                earlier[kind] = earlier.get(kind, 0) + count
    return {day: counts for day, counts in by_day.items() if start <= day <= today}, earlier
