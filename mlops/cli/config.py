"""``mlops config show``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.arguments import project_names
from mlops.cli.output import JsonOption, manager_of, print_json, print_table

app = typer.Typer()
config = typer.Typer(no_args_is_help=True)
app.add_typer(config, name="config")


@config.command()
def show(
    context: typer.Context,
    project: Annotated[
        str | None,
        typer.Argument(help="A project; only the base without it.", autocompletion=project_names),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show each setting, its value and the layer it comes from."""
    from mlops.workspace.opening import describe_settings

    manager = manager_of(context)
    workspace = manager.get_workspace(project) if project else None
    rows = [
        ("base_path", str(manager.base_path), manager.location.origin),
        *describe_settings(workspace, root=manager.location.root),
    ]
    if json:
        print_json([{"setting": name, "value": value, "origin": origin} for name, value, origin in rows])
    else:
        print_table(("setting", "value", "from"), rows)


@app.callback()
def _group() -> None:
    """Keep ``config`` a named group although it is the only one."""
