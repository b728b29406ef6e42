"""Texts as they can be printed: nothing in them moves a cursor, changes colours or turns a direction."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Control characters but for tab and line feed, marks and overrides of direction (UAX #9), separators of lines
# and paragraphs, and halves of surrogate pairs, which no encoding can hold.
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return a text in which such characters are written out.

    Args:
        text: Any text, of one line or several.
    """
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """Return one JSON document in which such characters are escapes; what is no number there is null.

    Args:
        value: Plain values and facts; others become their text.
        ascii_only: Write every character beyond ASCII as an escape.
    """
    from mlops.reporting.facts import plain

    text = json.dumps(plain(value), indent=2, default=str, ensure_ascii=ascii_only, allow_nan=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
