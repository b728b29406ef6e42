"""``mlops run``."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from mlops.cli.arguments import ProjectOrOwn
from mlops.cli.output import manager_of, say
from mlops.errors import ConfigError, WorkspaceNotFoundError
from mlops.plurals import counted

app = typer.Typer()

_COMMAND: Final = "mlops.command"


class _BeforeDashes(TyperCommand):
    """Parses what stands before ``--`` and leaves the rest, options included, to the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[_COMMAND] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


@app.command(cls=_BeforeDashes)
def run(
    context: typer.Context,
    project: ProjectOrOwn = None,
    create: Annotated[bool, typer.Option("--create", help="Create the project if it is missing.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(help="A file or directory the command reads: it is versioned first. Repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing about the runs.")] = False,
) -> None:
    """Run a command so that what it does with the four tools lands in a project; its code needs no change.

    The exit code is the command's: 127 if it is not found, 128 and the signal's number if a signal ended it.
    """
    from mlops.client import MLOpsClient
    from mlops.client.command import run_command
    from mlops.settings import find_project_name

    command = context.meta.get(_COMMAND)
    if not command:
        raise typer.BadParameter(
            "put it behind --, as in: mlops run churn -- python train.py", param_hint="COMMAND"
        )
    manager = manager_of(context)
    name = find_project_name() if project is None else project
    if not create:
        try:
            manager.get_workspace(name)
        except WorkspaceNotFoundError as error:
            error.hint = f"add --create, or create it with: mlops init {name}"
            raise
    client = MLOpsClient(name, workspace_manager=manager)
    try:
        result = run_command(client, command, data=data or ())
    except ConfigError as error:
        code = error.details.get("exit_code")
        if code is None or context.obj["debug"]:
            raise
        say(f"Error: {error}\nHint: {error.hint}", err=True)
        raise typer.Exit(code) from error
    if not quiet:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(result.runs.items()))
        total = counted(sum(result.runs.values()), "run")
        say(f"mlops: {total} in {name}{f' ({counts})' if counts else ''}", err=True)
        for run_id, status in result.corrected.items():
            say(f"mlops: run {run_id} was cut off and is {status} now", err=True)
        if result.running:
            say("mlops: processes of the command go on, and so do their runs", err=True)
    raise typer.Exit(result.exit_code)


@app.callback()
def _group() -> None:
    """Keep ``run`` a named command although it is the only one."""
