"""How commands print: tables for people, JSON for programs, on standard output only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.files import human_bytes as human_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workspace import WorkspaceManager

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def manager_of(context: typer.Context) -> WorkspaceManager:
    """Return the manager of the base the user asked for."""
    from mlops.workspace import WorkspaceManager

    return WorkspaceManager(context.obj["base_path"])


def console() -> Console:
    """Return a console that respects NO_COLOR and does not cut lines in a pipe."""
    from rich.console import Console

    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=200)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


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
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
