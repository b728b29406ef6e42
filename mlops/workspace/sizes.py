"""Sizes as people write them: ``5 GB`` is decimal, ``500 MiB`` is binary."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BYTES: Final = {unit.lower(): size for unit, size in UNITS.items()} | {"": 1}
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(value: object) -> int:
    """Return a size in bytes.

    Args:
        value: A whole number of bytes, or text such as ``10GB`` (10,000,000,000 bytes), ``500 MiB``
            (524,288,000 bytes) or ``1.5 TB``. Upper and lower case are the same.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or (factor := _BYTES.get(match[2].lower())) is None:
        raise ValueError(f"it must be a number of bytes, or one with a unit, of {', '.join(UNITS)}")
    return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor
