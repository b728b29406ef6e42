"""What the tables of a report are made of, however they are shown.

A cell has the text that people read and the number that its column is sorted by. Texts of others (names of
runs and models, messages of tools) are on one line already; each way of showing them escapes them by its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mlops.files import human_bytes
from mlops.reporting.wording import moment, one_line
from mlops.reporting.wording import share as in_percent

# A name or message longer than this is cut: the whole one is in the JSON report.
TEXT_LIMIT: Final = 160
# What is not known is sorted before what is.
UNKNOWN: Final = -1.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table.

    Args:
        text: What people read.
        order: What the column is sorted by; the text if it is None.
        tone: ``ok``, ``warn``, ``bad``, or nothing.
        foreign: Whether others chose the text, or a part of it, so that it may hold markup.
    """

    text: str
    order: float | None = None
    tone: str = ""
    foreign: bool = False

    @property
    def key(self) -> str | None:
        """What it is sorted by as a script reads it, or None for its text."""
        return None if self.order is None else str(self.order).replace("inf", "Infinity")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: Its heading.
        numeric: Whether its values are numbers: aligned to the right, largest first when sorted.
    """

    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of the same kind from all projects.

    Args:
        name: A short name for links to it.
        title: Its heading.
        columns: Its columns.
        rows: One cell for each column; the first is the project where there is one.
        empty: What to say if there are no rows.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str

    @property
    def counted_title(self) -> str:
        """The heading with the number of rows."""
        return f"{self.title} ({len(self.rows):,})"

    @property
    def heads(self) -> tuple[tuple[str, str], ...]:
        """The heading of each column and how it is sorted: as ``number``, ``time`` or ``text``."""
        kinds = (
            "time" if any(row[i].order is not None for row in self.rows) else "text"
            for i in range(len(self.columns))
        )
        return tuple(
            (column.title, "number" if column.numeric else kind)
            for column, kind in zip(self.columns, kinds, strict=True)
        )


def foreign(text: str, limit: int = TEXT_LIMIT, *, tone: str = "") -> Cell:
    """Return the cell of a text that others chose, cut to a number of characters; a dash for an empty one."""
    harmless = one_line(text, limit)
    return Cell(harmless, tone=tone, foreign=True) if harmless else Cell("-")


def count(number: int, tone: str = "") -> Cell:
    """Return the cell of a number of things, with a tone if there are any."""
    return Cell(f"{number:,}", number, tone if number else "")


def size(number: int | None, tone: str = "") -> Cell:
    """Return the cell of a number of bytes."""
    return Cell("-", UNKNOWN) if number is None else Cell(human_bytes(number), number, tone)


def time(instant: datetime | None, words: str = "", tone: str = "") -> Cell:
    """Return the cell of a time, with words behind it."""
    if instant is None:
        return Cell("-", UNKNOWN)
    return Cell(f"{moment(instant)} {words}".rstrip(), instant.timestamp(), tone)


def share(value: float | None) -> Cell:
    """Return the cell of a share of 0 to 1."""
    return Cell(in_percent(value), UNKNOWN if value is None else value)
