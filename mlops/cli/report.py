"""``mlops report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mlops.cli.arguments import Projects
from mlops.cli.output import JsonOption, manager_of, print_table, printable, say
from mlops.cli.progress import count_bar
from mlops.errors import ConfigError
from mlops.reporting.gates import MEANINGS, Gate, evaluate, parse
from mlops.reporting.rendering import Format, format_of, render, target_of, write

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport

app = typer.Typer()

EXIT_GATE: Final = 3
_MOST_ROWS: Final = 200
_HELP: Final = "\n\n".join(
    (
        "Report on all projects, or some, as tables or a file, and exit with 3 if a gate fails.",
        f"--fail-on takes {', '.join(Gate)}, each looked for in each project once the report is written. "
        "Every finding is a line on standard error, and with any the exit code is 3.",
        *(f"{gate}: {meaning}." for gate, meaning in MEANINGS.items()),
        "What cannot be read has not passed: a project or tool in trouble fails the gates that depend on it.",
    )
)


@app.command(help=_HELP)
def report(
    context: typer.Context,
    projects: Projects = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="How to show it.", show_default="what FILE ends with, else table"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            dir_okay=False,
            help="Write it to a file; one that exists is replaced.",
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", metavar="GATE,...", help="Exit with 3 if one of these is found."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show or write a report."""
    if json:
        if format_ not in (None, Format.JSON):
            raise typer.BadParameter(f"--json is not --format {format_}", param_hint="--json")
        format_ = Format.JSON
    try:
        gates = parse(fail_on or ())
        shown = format_ or Format.TABLE if output is None else format_of(output, format_)
    except ConfigError as error:
        raise typer.BadParameter(f"{error}: {error.hint}") from error
    if output is not None:
        target_of(output)  # before the projects are read for nothing
    elif shown is Format.HTML and sys.stdout.isatty():
        raise typer.BadParameter("a page is nothing for a terminal: add -o FILE", param_hint="--format")
    collected = _collect(context, projects)
    if output is not None:
        say(f"Written: {write(collected, output, shown)}")
    elif shown is Format.TABLE and sys.stdout.isatty():
        _print(collected)
    else:
        text = render(collected, shown)
        # What programs read is UTF-8, whatever the terminal's encoding; a page says that it is.
        typer.echo(printable(text) if shown is Format.TABLE else text.encode(), nl=False)
    if gates and not collected.projects:
        say(f"Nothing was checked: there are no projects in {collected.base_path}", err=True)
    failures = evaluate(collected.projects, gates)
    for failure in failures:
        say(str(failure), err=True)
    if failures:
        raise typer.Exit(EXIT_GATE)


@app.callback()
def _group() -> None:
    """Keep ``report`` a named command although it is the only one."""


def _collect(context: typer.Context, projects: list[str] | None) -> StatusReport:
    from mlops.reporting.report import StatusReport

    manager = manager_of(context)
    with count_bar("Reading projects") as progress:
        return StatusReport.collect(projects=projects, manager=manager, progress=progress)


def _print(collected: StatusReport) -> None:
    """Print the tables as wide as the terminal, without the rows that nobody would scroll up to."""
    from mlops.reporting.plain_text import head
    from mlops.reporting.tables import tables

    say("\n".join(head(collected)))
    for table in tables(collected):
        if table.rows:
            rows = [[cell.text for cell in row] for row in table.rows[:_MOST_ROWS]]
            typer.echo()
            print_table([column.title for column in table.columns], rows, title=table.counted_title)
            if left := len(table.rows) - len(rows):
                say(f"… and {left:,} more, which a file has: -o FILE")
