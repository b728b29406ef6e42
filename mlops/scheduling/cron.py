"""Cron expressions with the meaning cron gives them, also on the days when clocks change.

Minute, hour, day of month, month and day of week, as in crontab(5): 0 and 7 are Sunday, names are allowed,
and where both days are restricted either of them is enough. APScheduler's trigger is used for the calendar
only: it counts weekdays from Monday, wants both days to match, and stands still in an hour that comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("day_of_week", 0, 7),
)
_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ITEM: Final = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)
# More than any zone's clocks have been moved at once in this century.
_SHIFT: Final = timedelta(hours=3)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """One cron expression.

    Args:
        text: Its five fields, with single spaces.
        values: What each field allows, ascending; days of the week from 0, Sunday.
    """

    text: str
    values: tuple[tuple[int, ...], ...]

    @property
    def follows_the_clock(self) -> bool:
        """Whether it names hours: such a time comes once a day, whatever happens to the clocks."""
        return not self.text.split()[1].startswith("*")

    @property
    def either_day(self) -> bool:
        """Whether a day is right if its number or its weekday is."""
        _, _, day, _, weekday = self.text.split()
        return not day.startswith("*") and not weekday.startswith("*")

    def next_after(self, instant: datetime, zone: ZoneInfo) -> datetime | None:
        """Return the first time after an instant, in UTC; None if there is none.

        A time that clocks skip is taken as much later as they skip: 02:30 becomes 03:30.
        A time that they repeat is taken the first time, unless the hour is ``*``: then every hour counts.

        Args:
            instant: Aware.
            zone: Whose clock is meant.
        """
        triggers = self._triggers()
        local = _wall(instant, zone)
        wall = _next(triggers, local)
        if wall is None:
            return None
        found = _instant(wall, zone)
        around = (instant - _SHIFT, instant, found, found + _SHIFT)
        if len({_offset(each, zone) for each in around}) == 1:
            return found
        best: datetime | None = None
        for each in _walls(triggers, local - _SHIFT):
            if best is not None and each > _wall(best, zone) + _SHIFT:
                break
            later = [at for at in self._instants(each, zone) if at > instant]
            best = min([*later, *([] if best is None else [best])], default=None)
        return best

    def _instants(self, wall: datetime, zone: ZoneInfo) -> list[datetime]:
        if self.follows_the_clock:
            return [_instant(wall, zone)]
        both = {_instant(wall, zone, fold) for fold in (0, 1)}
        return [at for at in both if _wall(at, zone) == wall]

    def _triggers(self) -> list[Any]:
        from apscheduler.triggers.cron import CronTrigger

        minute, hour, day, month, _ = (",".join(map(str, values)) for values in self.values)
        weekday = ",".join(WEEKDAYS[value] for value in self.values[4])
        fields = {"minute": minute, "hour": hour, "month": month, "timezone": UTC}
        if self.either_day:
            return [CronTrigger(day=day, **fields), CronTrigger(day_of_week=weekday, **fields)]
        return [CronTrigger(day=day, day_of_week=weekday, **fields)]


def parse(expression: str) -> Cron:
    """Read an expression or a nickname such as ``@daily``.

    Args:
        expression: Five fields, or a nickname.

    Raises:
        ValueError: It is none; the message says which field.
    """
    text = _NICKNAMES.get(expression.strip().lower(), expression)
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"it has {len(fields)} fields and not 5: minute hour day month weekday")
    values = tuple(
        tuple(sorted(set(_values(field, *limits)))) for field, limits in zip(fields, _FIELDS, strict=True)
    )
    cron = Cron(" ".join(fields).lower(), values)
    longest = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not cron.either_day and all(min(values[2]) > longest[month - 1] for month in values[3]):
        raise ValueError("no month has that day")
    return cron


def _values(field: str, name: str, low: int, high: int) -> Iterator[int]:
    for item in field.lower().split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is no {name.replace('_', ' ')}")
        star, first_text, last_text, step_text = match.groups()
        step = int(step_text or 1)
        if step < 1:
            raise ValueError(f"{item!r} has a step of 0")
        if star:
            # 7 is Sunday once more: it must not count as a day of its own.
            yield from range(low, high + (0 if name == "day_of_week" else 1), step)
            continue
        if step_text and last_text is None:
            raise ValueError(f"{item!r} has a step without a range; write {first_text}-{high}/{step}")
        first = _number(first_text, name, low, high)
        last = first if last_text is None else _number(last_text, name, low, high)
        if name == "day_of_week" and last == 0 < first:
            last = 7
        if last < first:
            raise ValueError(f"{item!r} ends before it begins")
        for value in range(first, last + 1, step):
            yield value % 7 if name == "day_of_week" else value


def _number(text: str, name: str, low: int, high: int) -> int:
    names = {"month": ("", *_MONTHS), "day_of_week": WEEKDAYS}.get(name, ())
    if text in names and text:
        return names.index(text)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is no {name.replace('_', ' ')}: {low} to {high}")
    return int(text)


def _next(triggers: list[Any], wall: datetime) -> datetime | None:
    """Return the first match after a time of the clock; the calendar of UTC is that of every zone."""
    after = wall.replace(tzinfo=UTC) + _SECOND
    found = [at for trigger in triggers if (at := trigger.get_next_fire_time(None, after)) is not None]
    return min(found).replace(tzinfo=None) if found else None


def _walls(triggers: list[Any], start: datetime) -> Iterator[datetime]:
    wall = _next(triggers, start)
    while wall is not None:
        yield wall
        wall = _next(triggers, wall)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, microsecond=0, fold=0)


def _instant(wall: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()
