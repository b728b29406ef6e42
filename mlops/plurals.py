"""Counts in sentences."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 run`` or ``3,000 runs``.

    Args:
        count: How many.
        noun: What, in the singular; its plural must end in an added ``s``.
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
