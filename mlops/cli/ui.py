"""``mlops ui mlflow`` and ``mlops ui evidently``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.cli.output import manager_of

if TYPE_CHECKING:
    from mlops.ui.process import UIProcess

app = typer.Typer()
ui = typer.Typer(no_args_is_help=True)
app.add_typer(ui, name="ui")


_Project = Annotated[str | None, typer.Argument(help="Show this project only; all without it.")]
_Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="The port on 127.0.0.1.", show_default="a free one")
]
_Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]


@ui.command()
def mlflow(
    context: typer.Context, project: _Project = None, port: _Port = None, browser: _Browser = True
) -> None:
    """Open MLflow's pages over the projects; each is an entry of the workspace picker. Ctrl-C stops it."""
    from mlops.ui import MLflowUI

    _serve(MLflowUI(manager_of(context), project, port), browser=browser)


@ui.command()
def evidently(
    context: typer.Context, project: _Project = None, port: _Port = None, browser: _Browser = True
) -> None:
    """Open Evidently's pages: checks and dashboards of the projects, only to look at. Ctrl-C stops it."""
    from mlops.ui import EvidentlyUI

    _serve(EvidentlyUI(manager_of(context), project, port), browser=browser)


def _serve(server: UIProcess, *, browser: bool) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # What the shell started in the background ignores Ctrl-C, and goes on to.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        with server:
            typer.echo(f"{server.title}: {server.page} (Ctrl-C stops it)")
            sys.stdout.flush()
            if browser and _has_browser():
                typer.launch(server.page)
            server.wait()
    except KeyboardInterrupt:
        # Asked to stop, and it has: that is how this command ends.
        return


@ui.callback()
def _ui() -> None:
    """Web pages over the projects."""


@app.callback()
def _group() -> None:
    """Keep ``ui`` a named group although it is the only one."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # A second one must not cut the clean end short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _has_browser() -> bool:
    # In a terminal without a screen a text browser would take the terminal over.
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return screen and sys.stdout.isatty()
