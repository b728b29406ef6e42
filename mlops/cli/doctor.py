"""``mlops doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.output import JsonOption, manager_of, print_json

app = typer.Typer()


@app.command()
def doctor(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="One project; all by default.")] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="End runs that a killed process left open, and rebuild damaged link logs."
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild-links", help="Write the log of links anew from what the four tools know."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Look for runs left open by crashes and for damaged or misplaced workspaces; exit 1 if there are any."""
    from mlops.reporting.doctor import examine, rebuild_links

    manager = manager_of(context)
    if rebuild:
        for name, rebuilt in rebuild_links(manager, project).items():
            typer.echo(f"rebuilt: {name}: {rebuilt.links} links", err=json)
            for tool, error in rebuilt.errors.items():
                typer.echo(
                    f"  {tool} could not be read, so of its links only the old ones are kept: {error}",
                    err=True,
                )
    findings = examine(manager, project, fix=fix)
    if json:
        print_json([finding.to_dict() for finding in findings])
    elif not findings:
        typer.echo(f"Nothing is wrong with {project or manager.base_path}.")
    else:
        for finding in findings:
            mark = "fixed" if finding.fixed else "problem" if finding.problem else "note"
            typer.echo(f"{mark}: {finding.project}: {finding.message}")
            typer.echo(f"  {finding.hint}")
    if any(finding.problem and not finding.fixed for finding in findings):
        raise typer.Exit(1)


@app.callback()
def _group() -> None:
    """Keep ``doctor`` a named command although it is the only one."""
