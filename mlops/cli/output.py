"""How commands print: tables for people, JSON for programs, on standard output only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlops.errors import ConfigError
from mlops.files import human_bytes as human_bytes
from mlops.reporting.printable import json_text
from mlops.reporting.printable import printable as printable

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workspace import WorkspaceManager

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

# Wider than any table: whoever reads a pipe wants one line per row.
_PIPE_WIDTH: Final = 10_000
# Blanks behind each column of a table, and the length up to which a word is not broken: that of a run's id.
_GAP: Final = 2
_LONG_WORD: Final = 32
# The commands that may make the base they are pointed to.
_MAKING: Final = ("init", "import", "run")


def manager_of(context: typer.Context) -> WorkspaceManager:
    """Return the manager of the base the user asked for.

    Raises:
        ConfigError: ``--base-path`` names no directory, and the command is none that makes one.
    """
    from mlops.workspace import WorkspaceManager

    given = context.obj["base_path"]
    manager = WorkspaceManager(given)
    path, command = manager.base_path, context.find_root().invoked_subcommand
    if given and not path.is_dir() and (path.exists() or command not in _MAKING):
        raise ConfigError(
            f"There is no directory {path}",
            operation=str(command),
            hint="check --base-path; mlops init NAME makes a base there",
        )
    return manager


def console() -> Console:
    """Return a console that respects NO_COLOR and neither cuts nor folds lines in a pipe."""
    from rich.console import Console

    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def print_json(value: Any) -> None:
    """Print one JSON document; what is no number there, such as NaN, is null."""
    # Where the output cannot show every character, JSON has a way to write it.
    ascii_only = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    typer.echo(json_text(value, ascii_only=ascii_only))


def say(text: str, *, err: bool = False) -> None:
    """Print a text, of which others may have chosen a part, so that it does nothing to a terminal.

    Args:
        text: One line or several.
        err: Print it on standard error.
    """
    typer.echo(printable(text), err=err)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table; cells are text, never markup.

    A pipe gets one line per row. A terminal that is too narrow for the words of a row gets a line per cell.
    """
    columns = [*map(printable, columns)]
    cells = [[printable(str(cell)) if cell is not None else "" for cell in row] for row in rows]
    output = console()
    if output.is_terminal and cells:
        kept = [at for at in range(len(columns)) if any(row[at] for row in cells)]
        columns, cells = [columns[at] for at in kept], [[row[at] for at in kept] for row in cells]
    widths = _widths(columns, cells, output.width - _GAP * len(columns))
    if title:
        output.print(printable(title), markup=False)
    if widths is not None:
        _print_grid(output, columns, cells, widths)
        return
    label = max(map(len, columns))
    for row in cells:
        output.print(
            "\n".join(f"{name:<{label}}  {cell}" for name, cell in zip(columns, row, strict=True) if cell),
            markup=False,
            end="\n\n",
        )


def _print_grid(
    output: Console, columns: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    if output.is_terminal:
        output.print(table)
        return
    # A long cell would fill every line with blanks.
    with output.capture() as captured:
        output.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return the width of each column, or None where not even the words of a row fit side by side."""
    from rich.cells import cell_len

    texts = [[name, *(row[at] for row in cells)] for at, name in enumerate(columns)]
    widths = [max(cell_len(line) for text in column for line in text.split("\n")) for column in texts]
    least = [
        max((min(cell_len(word), _LONG_WORD) for text in column for word in text.split()), default=0)
        for column in texts
    ]
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))
        if widths[widest] <= least[widest]:
            return None
        widths[widest] -= 1
    return widths
