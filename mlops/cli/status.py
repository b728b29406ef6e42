"""``mlops status``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.output import JsonOption, console, manager_of, print_json

app = typer.Typer()


@app.command()
def status(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="One project; all by default.")] = None,
    json: JsonOption = False,
) -> None:
    """Show what every project, or one, holds in each tool."""
    from mlops.reporting.status import collect, render

    rows = collect(manager_of(context), project)
    if json:
        print_json([row.to_dict() for row in rows])
    else:
        console().print(render(rows))


@app.callback()
def _group() -> None:
    """Keep ``status`` a named command although it is the only one."""
