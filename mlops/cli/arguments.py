"""The arguments that many commands share, completed by the shell with the names of the projects there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def project_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the projects whose names begin so; only directories are listed."""
    from mlops.workspace.base import project_directories

    return [root.name for root in project_directories(_base(context)) if root.name.startswith(incomplete)]


def deleted_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the projects in the trash whose names begin so."""
    from mlops.workspace.trash import entries

    names = {entry.project_name for entry in entries(_base(context))}
    return sorted(name for name in names if name.startswith(incomplete))


def _base(context: typer.Context) -> Path:
    from mlops.workspace.catalog import WorkspaceCatalog

    return WorkspaceCatalog((context.obj or {}).get("base_path")).base_path


Project = Annotated[str, typer.Argument(help="The project.", autocompletion=project_names)]
ProjectOrAll = Annotated[
    str | None, typer.Argument(help="One project; all by default.", autocompletion=project_names)
]
ProjectOrOwn = Annotated[
    str | None,
    typer.Argument(help="The project; by default this folder's own.", autocompletion=project_names),
]
ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project",
        "-p",
        help="The project; by default this folder's own.",
        autocompletion=project_names,
    ),
]
Projects = Annotated[
    list[str] | None,
    typer.Argument(help="Only these projects; all by default.", autocompletion=project_names),
]
Deleted = Annotated[str, typer.Argument(help="The deleted project.", autocompletion=deleted_names)]
