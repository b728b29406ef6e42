"""The ``mlops`` command. Each command's module is imported when it is invoked, so ``--help`` stays fast."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from mlops.errors import MLOpsError

EXIT_ERROR: Final = 1
# The options that hold for every command; they are taken before the command and behind it.
GLOBAL_OPTIONS: Final = ("base_path", "debug")
# Hints of the library name calls in Python; here the same is a command or an option.
_IN_PYTHON: Final = (
    (re.compile(r"create_workspace\('([^']*)'\)"), r"mlops init \1"),
    (re.compile(r"\bcall delete_workspace\(name, force=True\)"), "add --force"),
    (re.compile(r"\bforce=True\b"), "--force"),
    (re.compile(r"\bpurge=True\b"), "--purge"),
    (re.compile(r"\banother base_path\b"), "another --base-path"),
    (re.compile(r"\brun\(resume='([^']*)'\)"), r"mlops pipeline run PIPELINE -p PROJECT --resume \1"),
    (re.compile(r"\bclient\.promote\('([^']*)', '([^']*)'\)"), r"mlops models promote PROJECT \1 \2"),
    (re.compile(r"\bclient\.deploy_model\('([^']*)', version='([^']*)'\)"), r"mlops deploy PROJECT \1:\2"),
    (re.compile(r"\bclient\.deploy_model\('([^']*)'\)"), r"mlops deploy PROJECT \1"),
)
# Help in plain text: to draw it with rich takes longer than everything else that --help does.
_MARKUP: Final = None
# What typer raises for wrong usage has no public name of its own in the versions supported.
_UsageError: Final[Any] = typer.BadParameter.__base__
# A group was called without a command; the message is its help.
_HELP_ASKED: Final = "NoArgsIsHelpError"

# command: (module below mlops.cli, one line for --help)
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("projects", "Create projects, by name or from the folders of a repository."),
    "list": ("projects", "List the projects of this base."),
    "show": ("projects", "Show one project's configuration and what its directories hold."),
    "delete": ("projects", "Move a project to the trash."),
    "restore": ("projects", "Bring a deleted project back."),
    "purge": ("projects", "Remove deleted projects for good."),
    "rename": ("archive", "Give a project another name, in its tools too."),
    "clone": ("archive", "Make an independent copy of a project."),
    "export": ("archive", "Write everything a project holds into one file."),
    "import": ("archive", "Make a project of an exported file."),
    "status": ("status", "Show all projects, or one, side by side."),
    "report": ("report", "Report on all projects, as tables or a file; 3 if a gate fails."),
    "dashboard": ("dashboard", "Open a live page over all projects, only to look at."),
    "ui": ("ui", "Open the tools' own pages over the projects: MLflow's and Evidently's."),
    "usage": ("usage", "Show what projects cost on disk, and what clean-up would free."),
    "quota": ("quota", "Show or set how much a project may store."),
    "doctor": ("doctor", "Prove that projects share nothing, and find what is damaged or left over."),
    "run": ("run", "Run a command in a project; its code needs no change."),
    "env": ("env", "Print what makes a shell work in a project."),
    "runs": ("runs", "List a project's runs, newest first."),
    "artifacts": ("models", "List what a project produced, newest first."),
    "models": ("models", "List, show and promote versions of models."),
    "deploy": ("deploy", "Package a model as a Bento, and export it as a folder for an image."),
    "serve": ("serve", "Serve a packaged model until Ctrl-C."),
    "monitor": ("monitor", "Check a batch, or the predictions being served; 3 on an alert."),
    "alerts": ("alerts", "List what checks found, and acknowledge it."),
    "data": ("data", "Version data: add, push, pull, status, history, diff, verify, gc."),
    "pipeline": ("pipeline", "List pipelines, their runs and versions, and what changed between these."),
    "schedule": ("schedule", "Run pipelines at set times: list, start, pause, resume, history, export."),
    "trace": ("trace", "Show what a result came from and what came of it."),
    "reproduce": ("reproduce", "Restore what a run had, run it again and compare its metrics."),
    "config": ("config", "Show each setting and the layer it comes from."),
    "version": ("version", "Show the versions of mlops and the four tools."),
}


class _LazyCommand(TyperCommand):
    """Stands for a command in listings and becomes the real one when it is invoked, or its completion is."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, callback=lambda: None, short_help=summary, params=[])
        self._module = module

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        group = typer.main.get_group(import_module(f"mlops.cli.{self._module}").app)
        command = group.commands[str(self.name)]
        command.help = command.help or self.short_help
        _join(command, [each for each in parent.command.params if each.name in GLOBAL_OPTIONS])
        return command.make_context(info_name, args, parent=parent, **extra)


class _LazyGroup(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: _LazyCommand(name, *row) for name, row in COMMANDS.items()}


def _join(command: Any, options: Sequence[Any]) -> None:
    """Give a command of another module the global options and the form of help that this one has."""
    command.params.extend(options)
    command.rich_markup_mode = _MARKUP
    # Else lists of commands would cut it off in the middle of the line.
    command.short_help = command.short_help or (command.help or "").partition("\n\n")[0]
    for subcommand in getattr(command, "commands", {}).values():
        _join(subcommand, options)


def _remember(context: typer.Context, option: typer.CallbackParam, value: Any) -> None:
    """Keep a global option, wherever on the line it was given."""
    if value:
        context.ensure_object(dict)[option.name] = value


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=_MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    context: typer.Context,
    base_path: str | None = typer.Option(
        None,
        "--base-path",
        help="The directory that holds the workspaces.",
        show_default="found from here",
        callback=_remember,
        expose_value=False,
    ),
    debug: bool = typer.Option(
        False, "--debug", help="Show the traceback of an error.", callback=_remember, expose_value=False
    ),
) -> None:
    """One workspace per ML project: MLflow, DVC, BentoML and Evidently."""
    for name in GLOBAL_OPTIONS:
        context.ensure_object(dict).setdefault(name, None)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 error, 2 wrong usage, 3 a gate failed, 130 Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    # What the library logs reaches people as this command's own messages.
    logging.getLogger("mlops").addHandler(logging.NullHandler())
    # But for a soft quota that is exceeded: no command asks for that.
    logging.getLogger("mlops.workspace.room").addHandler(logging.StreamHandler())
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options: dict[str, Any] = {}
    try:
        code = app(given, prog_name="mlops", obj=options, standalone_mode=False)
    except _UsageError as error:
        if type(error).__name__ == _HELP_ASKED:
            typer.echo(error.format_message())
        else:
            where = error.ctx.command_path if error.ctx is not None else "mlops"
            _tell(error.format_message(), hint=f"see: {where} --help")
        sys.exit(error.exit_code)
    except Exception as error:
        if options.get("debug"):
            raise
        tell_error(error)
        sys.exit(EXIT_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def tell_error(error: BaseException) -> None:
    """Print an error and its next step on standard error, in the words of the command line."""
    _tell(*_described(error))


def _described(error: BaseException) -> tuple[str, str | None]:
    """Return what is told of an error instead of its traceback, and the next step."""
    if isinstance(error, MLOpsError):
        hint = error.hint
        for pattern, replacement in _IN_PYTHON:
            named = replacement.replace("PROJECT", error.workspace or "PROJECT")
            hint = pattern.sub(named, hint) if hint else hint
        return str(error), hint
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        named = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else text
        return named, "check the path, its permissions and the free space; --debug shows where it happened"
    return (
        f"{type(error).__name__}: {text}" if text else type(error).__name__,
        "this is a fault of mlops or of a package that it uses; --debug shows where it happened",
    )


def _tell(message: str, hint: str | None) -> None:
    from mlops.cli.output import printable

    typer.echo(f"Error: {printable(message)}", err=True)
    if hint:
        typer.echo(f"Hint: {printable(hint)}", err=True)
