"""The ways to say when something runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

from mlops.errors import ScheduleError
from mlops.scheduling.schedule import Schedule, as_time, zone_of


class ScheduleVerbs(ABC):
    """What makes schedules of times; see ``PipelineScheduler`` for what all of them take."""

    def schedule_daily(self, *, name: str, hour: int, minute: int = 0, **options: Any) -> Schedule:
        """Run something every day.

        Args:
            name: The schedule's name.
            hour: 0 to 23.
            minute: 0 to 59.
            **options: What every schedule takes; see the class.

        Raises:
            ScheduleError: A value makes no sense; nothing was stored.
        """
        _require(name, hour=(hour, 23), minute=(minute, 59))
        return self._add(name, options, cron=f"{minute} {hour} * * *")

    def schedule_hourly(self, *, name: str, minute: int = 0, **options: Any) -> Schedule:
        """Run something every hour.

        Args:
            name: The schedule's name.
            minute: 0 to 59.
            **options: What every schedule takes; see the class.

        Raises:
            ScheduleError: A value makes no sense; nothing was stored.
        """
        _require(name, minute=(minute, 59))
        return self._add(name, options, cron=f"{minute} * * * *")

    def schedule_interval(
        self, *, name: str, seconds: int = 0, minutes: int = 0, hours: int = 0, **options: Any
    ) -> Schedule:
        """Run something again and again, the first time when the interval has passed.

        Args:
            name: The schedule's name.
            seconds: Whole seconds; they are added up with the others.
            minutes: Minutes.
            hours: Hours.
            **options: What every schedule takes; see the class.

        Raises:
            ScheduleError: A value makes no sense; nothing was stored.
        """
        return self._add(name, options, every_seconds=seconds + 60 * minutes + 3600 * hours)

    def schedule_cron(self, *, name: str, cron_expression: str, **options: Any) -> Schedule:
        """Run something by a cron expression, which means what it means to cron.

        Args:
            name: The schedule's name.
            cron_expression: Minute, hour, day of month, month and weekday (0 and 7 are Sunday), or a nickname
                such as ``@weekly``.
            **options: What every schedule takes; see the class.

        Raises:
            ScheduleError: A value makes no sense; nothing was stored.
        """
        return self._add(name, options, cron=cron_expression)

    def schedule_once(self, *, name: str, run_at: datetime | str, **options: Any) -> Schedule:
        """Run something once.

        Args:
            name: The schedule's name.
            run_at: When, in the future; a time without an offset is one of the clock of ``timezone``.
            **options: What every schedule takes; see the class.

        Raises:
            ScheduleError: The time has passed or a value makes no sense; nothing was stored.
        """
        zone = zone_of(options.get("timezone"), schedule=name)
        moment = as_time(run_at, zone, schedule=name)
        if moment <= datetime.now(UTC):
            raise ScheduleError(
                f"The schedule {name!r} is for {moment:%Y-%m-%d %H:%M:%S} UTC, which has passed",
                operation="schedule_once",
                hint="pass a time in the future",
            )
        return self._add(name, options, at=moment)

    @abstractmethod
    def _add(self, name: str, options: dict[str, Any], **timing: Any) -> Schedule:
        """Check, store and return a schedule."""


def _require(name: str, **values: tuple[int, int]) -> None:
    for key, (value, highest) in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            raise ScheduleError(
                f"The schedule {name!r} has {key}={value!r}",
                operation="schedule",
                hint=f"pass a whole number, 0 to {highest}",
            )
