"""``mlops deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops.cli.arguments import Project
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, say

app = typer.Typer()


@app.command()
def deploy(
    context: typer.Context,
    project: Project,
    model: Annotated[
        str,
        typer.Argument(
            help="NAME, NAME:VERSION, NAME@ALIAS, a run's id, a models:/ or runs:/ URI, or the path of a "
            "directory in MLflow's format, such as ./model."
        ),
    ],
    version: Annotated[str | None, typer.Option(help="The version; the newest by default.")] = None,
    alias: Annotated[str | None, typer.Option(help="An alias, instead of a version.")] = None,
    name: Annotated[str | None, typer.Option(help="For a directory: the model's name.")] = None,
    bento: Annotated[
        bool, typer.Option("--bento/--no-bento", help="Build the Bento, or store the model only.")
    ] = True,
    export: Annotated[
        Path | None,
        typer.Option(help="Also write the Bento to this folder, from which any container builder builds."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in that folder.")] = False,
    json: JsonOption = False,
) -> None:
    """Package a model as a Bento, ready to be served; again gives what is there already."""
    from mlops.client import MLOpsClient

    if export is not None and not bento:
        raise typer.BadParameter("a model without a Bento cannot be exported", param_hint="--export")
    manager = manager_of(context)
    manager.get_workspace(project)  # a misspelt name must not become a project
    with MLOpsClient(project, workspace_manager=manager) as client:
        made = client.deploy_model(model, version=version, alias=alias, name=name, build_bento=bento)
        folder = None if export is None else client.export_bento(made, export, force=force)
    if json:
        print_json(made.to_dict() | {"exported_to": None if folder is None else str(folder)})
        return
    say(f"{made.tag}: {human_bytes(made.size)} at {made.path}")
    for key, value in sorted(made.labels.items()):
        if key not in ("project", "model", "version"):
            say(f"  {key}: {value}")
    if folder is not None:
        say(f"Exported to {folder}; build an image of it with:")
        say(f"  docker build -t {made.tag} -f {folder}/env/docker/Dockerfile {folder}")
    elif made.bento_tag is not None:
        say(f"Serve it with: mlops serve {project} {made.model}:{made.version}")


@app.callback()
def _group() -> None:
    """Keep ``deploy`` a named command although it is the only one."""
