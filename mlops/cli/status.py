"""``mlops status``."""

from __future__ import annotations

import typer

from mlops.cli.arguments import ProjectOrAll
from mlops.cli.output import JsonOption, console, manager_of, print_json
from mlops.cli.progress import count_bar

app = typer.Typer()


@app.command()
def status(context: typer.Context, project: ProjectOrAll = None, json: JsonOption = False) -> None:
    """Show all projects, or one, side by side; what cannot be read is a red line below."""
    from mlops.reporting.report import StatusReport
    from mlops.reporting.status import render

    manager = manager_of(context)
    with count_bar("Reading projects") as progress:
        report = StatusReport.collect(
            projects=None if project is None else [project], manager=manager, progress=progress
        )
    if json:
        print_json(report.to_dict())
    else:
        console().print(render(report))


@app.callback()
def _group() -> None:
    """Keep ``status`` a named command although it is the only one."""
