"""A report as tables of plain text, for a terminal and for files that are read in one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from mlops.reporting.gates import evaluate
from mlops.reporting.summary import summary
from mlops.reporting.tables import Cell, Table, tables
from mlops.reporting.wording import moment, one_line

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from mlops.reporting.report import StatusReport

# Of a file: no row of ordinary names is broken, and an editor shows it without a slider.
_COLUMNS_OF_A_FILE: Final = 200
_STYLES: Final = {"ok": "green", "warn": "yellow", "bad": "red"}


def render(report: StatusReport) -> str:
    """Return the tables without colours, as wide as they need up to 200 characters."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=_COLUMNS_OF_A_FILE, color_system=None, highlight=False).print(tables_of(report))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def tables_of(report: StatusReport) -> Group:
    """Return what ``rich`` prints: the numbers of all projects, what needs attention, and every table."""
    from rich.console import Group
    from rich.text import Text

    numbers = "  ".join(f"{label} {cell.text}" for label, cell in summary(report.projects))
    shown: list[RenderableType] = [
        Text(f"{moment(report.generated_at)} UTC  {one_line(report.base_path)}"),
        Text(numbers),
    ]
    for table in tables(report.projects, evaluate(report.projects)):
        if table.rows:
            shown += [Text(""), _rich(table)]
    return Group(*shown)


def _rich(table: Table) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(
        title=Text(f"{table.title} ({len(table.rows):,})", style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in table.columns:
        made.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        made.add_row(*map(_text, row))
    return made


def _text(cell: Cell) -> Text:
    from rich.text import Text

    return Text(cell.text, style=_STYLES.get(cell.tone, ""))
