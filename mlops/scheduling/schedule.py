"""One schedule: what runs, when, and what happens when it fails or is late."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlops.errors import PipelineError, ScheduleError
from mlops.pipelines.naming import check_pipeline_name
from mlops.scheduling import cron as crons

# A night and a day: what a laptop that was closed missed is made up, what a month off missed is not.
GRACE_SECONDS: Final = 86400.0
RETRY_DELAY_SECONDS: Final = 60.0


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What runs at which times; exactly one of ``cron``, ``every_seconds`` and ``at`` is set.

    Args:
        name: Letters, digits, ``_``, ``.`` and ``-``.
        target: What runs: ``module:name``, or a description of a function that has no such name.
        project: The project it is recorded in, or None.
        cron: Five fields, as in crontab(5).
        every_seconds: Whole seconds between two firings, counted from ``created_at``.
        at: The one time it runs.
        timezone: Whose clock ``cron`` means, such as ``Europe/Berlin``.
        paused: Whether it rests.
        retries: How often a failed job is tried again.
        retry_delay: Seconds before the first of these, doubled for each further one.
        grace_seconds: How late a firing may start: one missed by less is made up, several of them once.
        persistent: Whether it is stored in the project; if not, it ends with the process.
        created_at: When it was made.
        since: Firings up to then do not count.
    """

    name: str
    target: str
    project: str | None = None
    cron: str | None = None
    every_seconds: int | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    paused: bool = False
    retries: int = 0
    retry_delay: float = RETRY_DELAY_SECONDS
    grace_seconds: float = GRACE_SECONDS
    persistent: bool = True
    created_at: datetime = field(default_factory=_now)
    since: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        try:
            check_pipeline_name(self.name, operation="schedule")
        except PipelineError as error:
            raise ScheduleError(
                f"A schedule cannot be named {self.name!r}", operation="schedule", hint=error.hint
            ) from None
        if sum(each is not None for each in (self.cron, self.every_seconds, self.at)) != 1:
            raise self._wrong("needs one of cron, every_seconds and at", "give it a single time")
        self._check_numbers()
        zone_of(self.timezone, schedule=self.name)
        if self.cron is not None:
            try:
                crons.parse(self.cron)
            except ValueError as error:
                raise self._wrong(
                    f"has the cron expression {self.cron!r}, which makes no sense: {error}",
                    "write minute hour day month weekday, such as '30 2 * * mon-fri'",
                ) from None

    @property
    def when(self) -> str:
        """When it runs, for people."""
        if self.cron is not None:
            return f"{self.cron} ({self.timezone})"
        if self.at is not None:
            return f"once, {self.at.astimezone(ZoneInfo(self.timezone)):%Y-%m-%d %H:%M:%S} ({self.timezone})"
        return f"every {timedelta(seconds=self.every_seconds or 0)}"

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first firing after an instant, in UTC; None if there is none.

        Args:
            instant: Aware.
        """
        if self.cron is not None:
            return crons.parse(self.cron).next_after(instant, ZoneInfo(self.timezone))
        if self.at is not None:
            return self.at if self.at > instant else None
        passed = max(math.floor((instant - self.created_at).total_seconds() / (self.every_seconds or 1)), 0)
        return self.created_at + timedelta(seconds=(passed + 1) * (self.every_seconds or 1))

    def to_stored(self) -> dict[str, Any]:
        """Return its entry of ``workspace.yaml``."""
        timing: dict[str, Any] = {"cron": self.cron, "every_seconds": self.every_seconds}
        timing["at"] = None if self.at is None else self.at.isoformat()
        return {
            "name": self.name,
            "target": self.target,
            **{key: value for key, value in timing.items() if value is not None},
            "timezone": self.timezone,
            "paused": self.paused,
            "retries": self.retries,
            "retry_delay": self.retry_delay,
            "grace_seconds": self.grace_seconds,
            "created_at": self.created_at.isoformat(),
            "since": self.since.isoformat(),
        }

    @classmethod
    def from_stored(cls, entry: Mapping[str, Any], *, project: str) -> Schedule:
        """Read an entry of ``workspace.yaml``; what it does not set has its default.

        Args:
            entry: The entry; keys that are not known are ignored.
            project: The project.

        Raises:
            ScheduleError: It makes no sense; the message says where.
        """
        name = str(entry.get("name"))
        known = {key: entry[key] for key in _STORED if entry.get(key) is not None}
        if not isinstance(known.get("target"), str) or ":" not in known["target"]:
            raise ScheduleError(
                f"The schedule {name!r} of {project!r} has no target",
                operation="schedule",
                workspace=project,
                hint="in workspace.yaml, write target: package.module:function",
            )
        for key in ("at", "created_at", "since"):
            if key in known:
                known[key] = as_time(known[key], str(known.get("timezone", "UTC")), schedule=name)
        if "created_at" not in known:
            # Written by hand: a fixed beginning, so that every scheduler counts the same firings.
            known["created_at"] = known["since"] = datetime(2000, 1, 1, tzinfo=UTC)
        return cls(**{**known, "name": name}, project=project)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the next firing in ``next_run``."""
        following = None if self.paused else self.next_after(datetime.now(UTC))
        return {
            "project": self.project,
            **self.to_stored(),
            "persistent": self.persistent,
            "when": self.when,
            "next_run": None if following is None else following.isoformat(),
        }

    def changed(self, **values: Any) -> Schedule:
        """Return a copy with some values changed."""
        return replace(self, **values)

    def _check_numbers(self) -> None:
        whole = {"every_seconds": (self.every_seconds, 1), "retries": (self.retries, 0)}
        for key, (value, least) in whole.items():
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise self._wrong(f"has {key}={value!r}", f"pass a whole number, {least} or more")
        for key, number, low in (
            ("retry_delay", self.retry_delay, 0),
            ("grace_seconds", self.grace_seconds, 1),
        ):
            if not isinstance(number, int | float) or not low <= number < math.inf:
                raise self._wrong(f"has {key}={number!r}", f"pass seconds, {low} or more")

    def _wrong(self, problem: str, hint: str) -> ScheduleError:
        return ScheduleError(
            f"The schedule {self.name!r} {problem}", operation="schedule", workspace=self.project, hint=hint
        )


_STORED: Final = (
    *("target", "cron", "every_seconds", "at", "timezone", "paused"),
    *("retries", "retry_delay", "grace_seconds", "created_at", "since"),
)


def zone_of(timezone: str | tzinfo | None, *, schedule: str) -> str:
    """Return the name of a time zone; for None that of this machine, so that it means the same elsewhere.

    Args:
        timezone: A name of the IANA database, a ``ZoneInfo``, ``datetime.UTC`` or None.
        schedule: The schedule, for the error.

    Raises:
        ScheduleError: There is no such zone.
    """
    if timezone is None:
        from tzlocal import get_localzone_name

        timezone = get_localzone_name() or "UTC"
    name = timezone if isinstance(timezone, str) else getattr(timezone, "key", str(timezone))
    try:
        return str(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"The schedule {schedule!r} has the time zone {name!r}, which does not exist",
            operation="schedule",
            hint="use a name such as Europe/Berlin, America/New_York or UTC",
        ) from None


def as_time(value: datetime | str, timezone: str, *, schedule: str) -> datetime:
    """Return a moment in UTC.

    Args:
        value: A ``datetime`` or ISO 8601; without an offset the zone's clock is meant.
        timezone: The zone's name.
        schedule: The schedule, for the error.

    Raises:
        ScheduleError: It is no time.
    """
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ScheduleError(
            f"The schedule {schedule!r} has the time {value!r}, which is none",
            operation="schedule",
            hint="pass an aware datetime, or text such as 2030-01-31T02:30",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone_of(timezone, schedule=schedule)))
    return moment.astimezone(UTC)
