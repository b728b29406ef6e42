"""How numbers and times read in tables and pages."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))
# Beyond it, a float's whole digits are not all its own.
_EXACT: Final = 1e15


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago something was, or how soon it will be, such as ``3 h ago``.

    Args:
        moment: When it was, aware.
        now: The moment to count from, aware.
    """
    seconds = (now - moment).total_seconds()
    for unit, length in _UNITS:
        if abs(seconds) >= length:
            count = f"{abs(seconds) / length:.0f} {unit}"
            return f"{count} ago" if seconds > 0 else f"in {count}"
    return "just now" if seconds > 0 else "at once"


def number(value: float) -> str:
    """Return a number with four significant digits; a whole one with all of them, in groups of three."""
    if math.isfinite(value) and value == int(value) and abs(value) < _EXACT:
        return f"{int(value):,}"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share of 0 to 1 in percent."""
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def duration(seconds: float) -> str:
    """Return a length of time in the two largest units that fit, such as ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def instant(moment: datetime) -> str:
    """Return a moment to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
