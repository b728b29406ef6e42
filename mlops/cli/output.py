"""How commands print: tables for people, JSON for programs, on standard output only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlops.errors import ConfigError
from mlops.files import human_bytes as human_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workspace import WorkspaceManager

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

# Wider than any table: whoever reads a pipe wants one line per row.
_PIPE_WIDTH: Final = 10_000
# The commands that may make the base they are pointed to.
_MAKING: Final = ("init", "import", "run")
# What moves the cursor, changes colours or turns the direction of text around.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


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
    from mlops.reporting.facts import plain

    # Where the output cannot show every character, JSON has a way to write it.
    ascii_only = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    typer.echo(json.dumps(plain(value), indent=2, default=str, ensure_ascii=ascii_only, allow_nan=False))


def printable(text: str) -> str:
    """Return text in which control characters are written out, so that they do nothing to a terminal."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table; cells are text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console().print(table)
