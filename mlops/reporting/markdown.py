"""A report as Markdown that fits the summary of a GitHub job, a comment or a wiki.

Texts of others stand in code, where no markup, mention, link or emoji is made of them. GitHub drops a job's
summary that is larger than 1 MiB; tables are cut, with a note, before the text gets there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from mlops.reporting.cells import Cell, Table
from mlops.reporting.gates import MEANINGS
from mlops.reporting.summary import summary
from mlops.reporting.tables import tables
from mlops.reporting.wording import moment, one_line

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport

# Of UTF-8; some of GitHub's 1,048,576 are left for what else a job writes there.
LARGEST_BYTES: Final = 1_000_000
# Open from the start; the others are unfolded with a click.
_OPEN: Final = ("attention", "projects")
_MARKS: Final = {"ok": "🟢", "warn": "🟡", "bad": "🔴"}
# In backticks all is literal but a backtick; a pipe would end a table's cell even there.
_NOT_IN_BACKTICKS: Final = re.compile(r"[`|\\]")
_PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~]")


def render(report: StatusReport) -> str:
    """Return the report: what needs attention and the projects, and below them every other table, folded.

    Args:
        report: What to show.
    """
    made = tables(report)
    head = [
        "# Status report",
        f"{moment(report.generated_at)} UTC of {code(one_line(report.base_path))}",
        " · ".join(f"{label} **{_text(value)}**" for label, value in summary(report.totals)),
    ]
    parts = ["\n\n".join(head)]
    room = LARGEST_BYTES - _size(parts)
    for table in made:
        # However long a table is, those after it have as much room again.
        part = _section(table, room // 2)
        parts.append(part)
        room -= _size([part])
    return "\n\n".join(filter(None, parts)) + "\n"


def code(text: str) -> str:
    """Return a text of others, which is on one line, as code in which none of it is markup.

    Args:
        text: The text.
    """
    if not text.strip():
        return ""
    if not _NOT_IN_BACKTICKS.search(text):
        return f"`{text}`"
    return f"<code>{_PUNCTUATION.sub(lambda found: f'&#{ord(found[0])};', text)}</code>"


def _section(table: Table, room: int) -> str:
    if not table.rows:
        return f"## {table.title}\n\n{table.empty}" if table.name in _OPEN else ""
    lines = "\n".join(_rows(table, room))
    if table.name == "attention":
        found = {row[1].text for row in table.rows}
        meanings = (f"{gate}: {meaning}" for gate, meaning in MEANINGS.items() if gate in found)
        lines += "\n\n" + "  \n".join(meanings)
    if table.name in _OPEN:
        return f"## {table.counted_title}\n\n{lines}"
    return f"<details><summary>{table.counted_title}</summary>\n\n{lines}\n\n</details>"


def _rows(table: Table, room: int) -> Iterator[str]:
    yield _row(column.title for column in table.columns)
    yield _row("--:" if column.numeric else "---" for column in table.columns)
    used = 0
    for written, row in enumerate(table.rows):
        line = _row(map(_text, row))
        used += len(line.encode()) + 1
        if used > room:
            yield ""
            yield f"… and {len(table.rows) - written:,} more, which `mlops report --format json` has."
            return
        yield line


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    text = code(cell.text) if cell.foreign else cell.text
    return f"{_MARKS[cell.tone]} {text}" if cell.tone else text


def _size(parts: Iterable[str]) -> int:
    return sum(len(part.encode()) + 2 for part in parts)
