"""The ``mlops`` command. Each command's module is imported when it is invoked, so ``--help`` stays fast."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from mlops.errors import MLOpsError

EXIT_ERROR: Final = 1

# command: (module below mlops.cli, one line for --help)
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("projects", "Create projects, by name or from the folders of a repository."),
    "list": ("projects", "List the projects of this base."),
    "show": ("projects", "Show one project's configuration and what its directories hold."),
    "delete": ("projects", "Move a project to the trash."),
    "restore": ("projects", "Bring a deleted project back."),
    "purge": ("projects", "Remove deleted projects for good."),
    "export": ("archive", "Write everything a project holds into one file."),
    "import": ("archive", "Make a project of an exported file."),
    "rename": ("archive", "Give a project another name, in its tools too."),
    "clone": ("archive", "Make an independent copy of a project."),
    "status": ("status", "Show what every project, or one, holds in each tool."),
    "report": ("report", "Show or write a report on all projects, and fail on what it may not have."),
    "run": ("run", "Run a command in a project; its code needs no change."),
    "env": ("env", "Print what makes a shell work in a project."),
    "models": ("models", "List, show and promote versions of models."),
    "artifacts": ("models", "List what a project produced, newest first."),
    "deploy": ("deploy", "Package a model as a Bento, and export it as a folder for an image."),
    "serve": ("serve", "Serve a packaged model until Ctrl-C."),
    "data": ("data", "Version data: add, push, pull, status, history, diff, verify, gc."),
    "monitor": ("monitor", "Check a batch, or the predictions being served; 3 on an alert."),
    "alerts": ("alerts", "List what checks found, and acknowledge it."),
    "schedule": ("schedule", "Run pipelines at set times: list, start, pause, resume, history, export."),
    "trace": ("trace", "Show what a result came from and what came of it."),
    "reproduce": ("reproduce", "Restore what a run had, run it again and compare its metrics."),
    "usage": ("usage", "Show what projects cost on disk, and what clean-up would free."),
    "quota": ("quota", "Show or set how much a project may store."),
    "doctor": ("doctor", "Look for runs left open by crashes and for damaged workspaces or links."),
    "runs": ("runs", "List a project's runs, newest first."),
    "pipeline": ("pipeline", "List pipelines, their runs and versions, and what changed between these."),
    "dashboard": (
        "dashboard",
        "Open a live page over all projects: what they hold, and what needs attention.",
    ),
    "ui": ("ui", "Open the tools' own pages over the projects: MLflow's and Evidently's."),
    "config": ("config", "Show each setting and the layer it comes from."),
    "version": ("version", "Show the versions of mlops and the four tools."),
}


class _LazyCommand(TyperCommand):
    """Stands for a command in listings and becomes the real one when it is invoked."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, callback=lambda: None, help=summary, params=[])
        self._module = module

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        group = typer.main.get_group(import_module(f"mlops.cli.{self._module}").app)
        command = group.commands[str(self.name)]
        return command.make_context(info_name, args, parent=parent, **extra)


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        return _LazyCommand(cmd_name, *COMMANDS[cmd_name])


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _root(
    context: typer.Context,
    base_path: str | None = typer.Option(
        None, "--base-path", help="The directory that holds the workspaces.", show_default="found from here"
    ),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """One workspace per ML project: MLflow, DVC, BentoML and Evidently."""
    context.obj = {"base_path": base_path, "debug": debug}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 error, 2 wrong usage, 3 a gate failed."""
    given = sys.argv[1:] if arguments is None else arguments
    # What the library logs reaches people as this command's own messages.
    logging.getLogger("mlops").addHandler(logging.NullHandler())
    try:
        app(given, prog_name="mlops")
    except MLOpsError as error:
        if "--debug" in given:
            raise
        typer.echo(f"Error: {error}", err=True)
        if error.hint:
            # Hints name arguments of Python; here the same is an option.
            typer.echo(f"Hint: {error.hint.replace('force=True', '--force')}", err=True)
        sys.exit(EXIT_ERROR)
