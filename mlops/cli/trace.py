"""``mlops trace``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from mlops.cli.arguments import project_names
from mlops.cli.output import JsonOption, manager_of, print_json, say

app = typer.Typer()


class Form(StrEnum):
    """How a chain is printed."""

    TREE = "tree"
    DOT = "dot"
    MERMAID = "mermaid"


@app.command()
def trace(
    context: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(
            help="A data file or md5, a run id, project.model:version, model@alias, a Bento tag, a snapshot "
            "id or a git commit; the start of a hash is enough."
        ),
    ],
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            "-p",
            help="Look in this project only; in all by default.",
            autocompletion=project_names,
        ),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", "-f", help="A tree, or the language of Graphviz or Mermaid.")
    ] = Form.TREE,
    json: JsonOption = False,
) -> None:
    """Show what a result came from and what came of it: data, code, run, model, Bento, checks."""
    from mlops.lineage import drawing
    from mlops.lineage.search import Projects
    from mlops.lineage.trace import trace as follow

    projects = Projects(manager_of(context))
    chains = [follow(found, projects.graph) for found in projects.find(ref, project=project)]
    if json:
        print_json([chain.to_dict() for chain in chains])
        return
    draw = {Form.TREE: drawing.to_tree, Form.DOT: drawing.to_dot, Form.MERMAID: drawing.to_mermaid}[form]
    for chain in chains:
        if form is Form.TREE and project is None:
            say(f"{chain.root.ref.project}:")
        say(draw(chain))
    for place, error in projects.graph.errors.items():
        say(f"Not everything could be read: {place}: {error}", err=True)


@app.callback()
def _group() -> None:
    """Keep ``trace`` a named command although it is the only one."""
