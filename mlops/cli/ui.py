"""``mlops ui mlflow`` and ``mlops ui evidently``."""

from __future__ import annotations

import typer

from mlops.cli.arguments import ProjectOrAll
from mlops.cli.output import manager_of
from mlops.cli.pages import BrowserOption, PortOption, serve

app = typer.Typer()
ui = typer.Typer(no_args_is_help=True)
app.add_typer(ui, name="ui")


@ui.command()
def mlflow(
    context: typer.Context,
    project: ProjectOrAll = None,
    port: PortOption = None,
    browser: BrowserOption = True,
) -> None:
    """Open MLflow's pages over the projects; each is an entry of the workspace picker. Ctrl-C stops it."""
    from mlops.ui import MLflowUI

    serve(MLflowUI(manager_of(context), project, port), browser=browser)


@ui.command()
def evidently(
    context: typer.Context,
    project: ProjectOrAll = None,
    port: PortOption = None,
    browser: BrowserOption = True,
) -> None:
    """Open Evidently's pages: checks and dashboards of the projects, only to look at. Ctrl-C stops it."""
    from mlops.ui import EvidentlyUI

    serve(EvidentlyUI(manager_of(context), project, port), browser=browser)


@ui.callback()
def _ui() -> None:
    """Web pages over the projects."""


@app.callback()
def _group() -> None:
    """Keep ``ui`` a named group although it is the only one."""
