"""A report as tables of plain text: for a terminal, and for pipes and files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from mlops.reporting.cells import Cell, Table
from mlops.reporting.summary import summary
from mlops.reporting.tables import tables
from mlops.reporting.wording import moment, one_line

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from mlops.reporting.report import StatusReport

# Nobody scrolls further up, and `rich` takes a millisecond for each row.
_MOST_ROWS: Final = 200
_STYLES: Final = {"ok": "green", "warn": "yellow", "bad": "red"}


def render(report: StatusReport) -> str:
    """Return the tables without colours, complete, each row on a line of its own.

    Args:
        report: What to show.
    """
    lines = list(_head(report))
    for table in tables(report):
        if table.rows:
            lines += ["", _title(table), *_aligned(table)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def tables_of(report: StatusReport) -> Group:
    """Return what ``rich`` prints on a terminal: the same, long tables cut and long cells folded.

    Args:
        report: What to show.
    """
    from rich.console import Group
    from rich.text import Text

    shown: list[RenderableType] = [Text(line) for line in _head(report)]
    for table in tables(report):
        if table.rows:
            shown += [Text(""), _rich(table)]
            if len(table.rows) > _MOST_ROWS:
                shown.append(Text(f"… and {len(table.rows) - _MOST_ROWS:,} more, which a file has: -o FILE"))
    return Group(*shown)


def _head(report: StatusReport) -> Iterator[str]:
    yield f"{moment(report.generated_at)} UTC  {one_line(report.base_path)}"
    yield "  ".join(f"{label} {cell.text}" for label, cell in summary(report.totals))


def _title(table: Table) -> str:
    return f"{table.title} ({len(table.rows):,})"


def _aligned(table: Table) -> Iterator[str]:
    from rich.cells import cell_len

    heads = [column.title for column in table.columns]
    columns = zip(*([cell.text for cell in row] for row in table.rows), strict=True)
    widths = [max(map(cell_len, (head, *texts))) for head, texts in zip(heads, columns, strict=True)]

    def line(texts: Iterable[str]) -> str:
        padded = []
        for text, width, column in zip(texts, widths, table.columns, strict=True):
            space = " " * (width - cell_len(text))
            padded.append(space + text if column.numeric else text + space)
        return "  ".join(padded)

    yield line(heads)
    yield line("-" * width for width in widths)
    for row in table.rows:
        yield line(cell.text for cell in row)


def _rich(table: Table) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(
        title=Text(_title(table), style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in table.columns:
        made.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows[:_MOST_ROWS]:
        made.add_row(*_texts(row))
    return made


def _texts(row: Sequence[Cell]) -> Iterator[Text]:
    from rich.text import Text

    for cell in row:
        yield Text(cell.text, style=_STYLES.get(cell.tone, ""))
