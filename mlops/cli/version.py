"""``mlops version``."""

from __future__ import annotations

import platform

import typer

from mlops import __version__
from mlops.cli.output import JsonOption, print_json, print_table
from mlops.workspace import tools

app = typer.Typer()


@app.command()
def version(json: JsonOption = False) -> None:
    """Show the versions of mlops, Python and the four tools."""
    versions = {"mlops": __version__, "python": platform.python_version()}
    versions |= {tool: tools.installed_version(tool) or "not installed" for tool in tools.registered()}
    if json:
        print_json(versions)
    else:
        print_table(("package", "version"), versions.items())


@app.callback()
def _group() -> None:
    """Keep ``version`` a named command although it is the only one."""
