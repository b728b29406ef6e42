"""A report as tables of plain text, each row on a line of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mlops.reporting.cells import Table
from mlops.reporting.summary import summary
from mlops.reporting.tables import tables
from mlops.reporting.wording import moment, one_line

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport


def render(report: StatusReport) -> str:
    """Return the head of a report and every table that has rows, complete.

    Args:
        report: What to show.
    """
    lines = list(head(report))
    for table in tables(report):
        if table.rows:
            lines += ["", table.counted_title, *_aligned(table)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def head(report: StatusReport) -> tuple[str, str]:
    """Return two lines: of what a report is, and what all projects come to."""
    return (
        f"{moment(report.generated_at)} UTC  {one_line(report.base_path)}",
        "  ".join(f"{label} {cell.text}" for label, cell in summary(report.totals)),
    )


def _aligned(table: Table) -> Iterator[str]:
    from rich.cells import cell_len

    heads = [column.title for column in table.columns]
    columns = zip(*([cell.text for cell in row] for row in table.rows), strict=True)
    widths = [max(map(cell_len, (title, *texts))) for title, texts in zip(heads, columns, strict=True)]

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
