"""``mlops dashboard``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from mlops.cli.output import manager_of
from mlops.cli.pages import BrowserOption, PortOption, serve
from mlops.errors import ConfigError

app = typer.Typer()

TOKEN_VARIABLE: Final = "MLOPS_DASHBOARD_TOKEN"  # noqa: S105 - its name


@app.command()
def dashboard(
    context: typer.Context,
    port: PortOption = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; one that other machines reach needs a token.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the token that readers have to present.", show_default=f"${TOKEN_VARIABLE}"
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A further host name under which it is reached; repeatable."),
    ] = None,
    mlflow_ui: Annotated[
        str | None,
        typer.Option(help="Where mlops ui mlflow answers.", show_default="looked for on this machine"),
    ] = None,
    evidently_ui: Annotated[
        str | None,
        typer.Option(help="Where mlops ui evidently answers.", show_default="looked for on this machine"),
    ] = None,
    browser: BrowserOption = True,
) -> None:
    """Open a live page over all projects, only to look at. Ctrl-C stops it."""
    from mlops.reporting.dashboard.server import DashboardServer
    from mlops.ui.addresses import Addresses

    manager = manager_of(context)
    server = DashboardServer(
        manager,
        host=host,
        port=port,
        token=_token(token_file),
        names=tuple(allowed_host or ()),
        tool_pages=Addresses(manager, mlflow=_address(mlflow_ui), evidently=_address(evidently_ui)),
    )
    serve(server, browser=browser)


@app.callback()
def _group() -> None:
    """Keep ``dashboard`` a named command although it is the only one."""


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The token file {path} cannot be read: {error}",
            operation="dashboard",
            hint="give a text file that holds nothing but the token",
        ) from error


def _address(url: str | None) -> str | None:
    if url is not None and not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url!r} is not an address such as http://127.0.0.1:5000")
    return url
