"""``mlops init``, ``list``, ``show``, ``delete``, ``restore`` and ``purge``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.arguments import Deleted, Project
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, print_table, say
from mlops.plurals import counted
from mlops.workspace.model import DIRECTORIES

app = typer.Typer()


@app.command()
def init(
    context: typer.Context,
    projects: Annotated[list[str] | None, typer.Argument(help="Names; by default the folder's own.")] = None,
    discover: Annotated[
        str | None, typer.Option(help="A glob of project folders, such as 'projects/*'.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    json: JsonOption = False,
) -> None:
    """Create projects, or open those that exist: by name, from folders, or the one of this folder."""
    from mlops.settings import find_project_name

    manager = manager_of(context)
    config = {"description": description} if description else {}
    names = projects or None
    if names is None and discover is None:
        names = [find_project_name()]
    result = manager.bootstrap(names, discover=discover, **config)
    if json:
        failures = [{"source": failure.source, "error": str(failure.error)} for failure in result.failures]
        print_json({"projects": [workspace.to_dict() for workspace in result], "failures": failures})
    else:
        for workspace in result:
            say(f"{workspace.project_name}: {workspace.root_path}")
        for failure in result.failures:
            say(f"Error: {failure.source}: {failure.error}", err=True)
            if failure.error.hint:
                say(f"Hint: {failure.error.hint}", err=True)
    if result.failures:
        raise typer.Exit(1)


@app.command(name="list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """List the projects of this base, corrupt ones included."""
    manager = manager_of(context)
    workspaces = manager.list_workspaces()
    if json:
        print_json([workspace.to_dict() for workspace in workspaces])
    elif not workspaces:
        say(f"No projects in {manager.base_path}. Create one with: mlops init NAME")
    else:
        rows = [
            (
                w.project_name,
                w.state,
                "" if w.error else f"{w.created_at:%Y-%m-%d %H:%M}",
                w.error or w.description,
            )
            for w in workspaces
        ]
        print_table(("project", "state", "created (UTC)", "description"), rows)


@app.command()
def show(context: typer.Context, project: Project, json: JsonOption = False) -> None:
    """Show one project's configuration and what its directories hold."""
    status = manager_of(context).get_workspace_status(project)
    if json:
        print_json(status)
        return
    statistics = status.pop("directory_stats")
    status["total"] = human_bytes(status.pop("total_bytes"))
    for directory in DIRECTORIES:
        files, size = statistics[f"{directory}_files"], statistics[f"{directory}_bytes"]
        status[f"{directory}_path"] += f"  ({counted(files, 'file')}, {human_bytes(size)})"
    print_table(
        ("setting", "value"), [(key, value) for key, value in status.items() if value not in (None, {}, [])]
    )


@app.command()
def delete(
    context: typer.Context,
    project: Project,
    force: Annotated[bool, typer.Option("--force", help="Confirm it.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove it from the disk instead.")] = False,
) -> None:
    """Move a project to the trash."""
    manager_of(context).delete_workspace(project, force=force, purge=purge)
    say(f"{project}: removed" if purge else f"{project}: in the trash; mlops restore {project} undoes it")


@app.command()
def restore(context: typer.Context, project: Deleted) -> None:
    """Bring back the project of that name that was deleted last."""
    workspace = manager_of(context).restore_workspace(project)
    say(f"{project}: {workspace.root_path}")


@app.command()
def purge(
    context: typer.Context,
    project: Deleted,
    force: Annotated[bool, typer.Option("--force", help="Confirm it; this cannot be undone.")] = False,
) -> None:
    """Remove every deleted project of that name from the trash for good."""
    count = manager_of(context).purge_workspace(project, force=force)
    say(f"{project}: {count} removed for good")
