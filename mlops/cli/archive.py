"""``mlops export``, ``import``, ``rename`` and ``clone``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli.arguments import Project
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, say
from mlops.cli.progress import bytes_bar
from mlops.plurals import counted

app = typer.Typer()


@app.command()
def export(
    context: typer.Context,
    project: Project,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The file; one that exists is replaced.", show_default="NAME.tar.zst"
        ),
    ] = None,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Leave out the content of data versions.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write everything a project holds into one file."""
    with bytes_bar(f"Exporting {project}") as progress:
        path = manager_of(context).export_workspace(
            project, output or Path(f"{project}.tar.zst"), include_data=not without_data, progress=progress
        )
    facts = _facts(path, "export_workspace")
    if json:
        print_json({"project_name": project, **facts})
        return
    files, content = counted(facts["files"], "file"), human_bytes(facts["content_bytes"])
    say(f"{project}: {path} ({files}, {content} in {human_bytes(facts['bytes'])})")
    for note in facts["left_out"]:
        say(f"Left out: {note}", err=True)


@app.command(name="import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What mlops export wrote.")],
    name: Annotated[str | None, typer.Option("--as", help="Another name for the project.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move a project of that name to the trash first.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a project of a file; models are programs, so import only what you would run."""
    with bytes_bar(f"Importing {file.name}") as progress:
        workspace = manager_of(context).import_workspace(
            file, project_name=name, force=force, progress=progress
        )
    if json:
        print_json({**workspace.to_dict(), "left_out": _facts(file, "import_workspace")["left_out"]})
        return
    say(f"{workspace.project_name}: {workspace.root_path}")
    for note in _facts(file, "import_workspace")["left_out"]:
        say(f"Not in the file: {note}", err=True)


@app.command()
def rename(context: typer.Context, old: Project, new: str, json: JsonOption = False) -> None:
    """Give a project another name, in its tools too."""
    workspace = manager_of(context).rename_workspace(old, new)
    if json:
        print_json(workspace.to_dict())
    else:
        say(f"{old} is now {new}: {workspace.root_path}")


@app.command()
def clone(
    context: typer.Context,
    source: Project,
    new: str,
    without_runs: Annotated[
        bool, typer.Option("--without-runs", help="Copy only the configuration, data versions and outputs.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make an independent copy of a project under another name."""
    workspace = manager_of(context).clone_workspace(source, new, with_runs=not without_runs)
    if json:
        print_json(workspace.to_dict())
    else:
        say(f"{new}: {workspace.root_path}")


def _facts(path: Path, operation: str) -> dict[str, Any]:
    from mlops.workspace.unpacking import Reader

    manifest = Reader(path.expanduser().absolute(), operation).manifest()
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "content_bytes": manifest.size,
        "files": len(manifest.members),
        "left_out": list(manifest.left_out),
    }
