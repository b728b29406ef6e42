"""How a report words single values: texts of others on one harmless line, times and shares."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final

from mlops.plurals import counted as counted

# What turns the direction of the text around it, so that a name reads as another: Unicode's explicit
# embeddings, overrides and isolates (UAX #9), and the marks of direction.
_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
# Control characters, lone surrogates, and the separators of lines and paragraphs.
_CONTROLS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def one_line(text: str, limit: int | None = None) -> str:
    """Return a text of others as one line that moves no cursor and turns no direction.

    Args:
        text: Any text.
        limit: The largest number of characters; a longer text is cut, which an ellipsis tells.
    """
    # Cut roughly first: a text of megabytes in a tag must not cost its length in every row.
    if limit is not None:
        text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(_harmless(character) for character in text)
    text = " ".join(text.split())
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def moment(time: datetime | None) -> str:
    """Return a time to the minute, in UTC; a dash for none."""
    return "-" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def share(value: float | None) -> str:
    """Return a share of 0 to 1 in percent; a dash for none."""
    return "-" if value is None else f"{100 * value:.0f} %"


def better(mode: str) -> str:
    """Return which values of a metric are better: ``higher`` of one whose mode is ``max``, else ``lower``."""
    return "higher" if mode == "max" else "lower"


def _harmless(character: str) -> str:
    if character in _DIRECTIONS:
        return ""
    return " " if unicodedata.category(character) in _CONTROLS else character
