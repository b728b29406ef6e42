"""``mlops ui mlflow``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from mlops.cli.output import manager_of

app = typer.Typer()
ui = typer.Typer(no_args_is_help=True)
app.add_typer(ui, name="ui")


@ui.command()
def mlflow(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="Show this project only; all without it.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The port on 127.0.0.1.", show_default="a free one"),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Open MLflow's pages over the projects; each is an entry of the workspace picker. Ctrl-C stops it."""
    from mlops.ui import MLflowUI

    server = MLflowUI(manager_of(context), project, port)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with server:
            typer.echo(f"MLflow UI: {server.page} (Ctrl-C stops it)")
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
    raise KeyboardInterrupt


def _has_browser() -> bool:
    # In a terminal without a screen a text browser would take the terminal over.
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return screen and sys.stdout.isatty()
