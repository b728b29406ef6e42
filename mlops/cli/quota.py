"""``mlops quota``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mlops.cli.arguments import Project
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, print_table, say

app = typer.Typer()

_SIZE = "bytes, or such as 10GB (decimal) or 500MiB (binary)"


@app.command()
def quota(
    context: typer.Context,
    project: Project,
    soft: Annotated[str | None, typer.Option(help=f"Warn beyond it: {_SIZE}.")] = None,
    hard: Annotated[str | None, typer.Option(help=f"Refuse to store beyond it: {_SIZE}.")] = None,
    tool: Annotated[
        str | None,
        typer.Option(help="Only what it stores: mlflow, dvc, bentoml, evidently or outputs."),
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the limits; with --tool those of the tool.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show how much a project may store and what is used of it, or set that."""
    from mlops.client.usage import storage
    from mlops.workspace.quota import limits_of

    if clear and (soft or hard):
        raise typer.BadParameter("--clear and --soft or --hard exclude each other")
    if tool and not (clear or soft or hard):
        raise typer.BadParameter("--tool needs --soft, --hard or --clear")
    manager = manager_of(context)
    workspace = manager.get_workspace(project)
    if clear:
        workspace = manager.update_workspace_metadata(project, quota=_cleared(workspace.quota, tool))
    elif soft or hard:
        limits_of(workspace, operation="quota")  # one that is wrong is not built on
        changed = _changed(workspace.quota, {"soft": soft, "hard": hard}, tool)
        workspace = manager.update_workspace_metadata(project, quota=changed)
    found = storage(workspace)
    rows = found.get("quota", [])
    if json:
        print_json({"project_name": project, "quota": rows, "quota_error": found.get("quota_error")})
    elif "quota_error" in found:
        say(f"Error: {found['quota_error']}", err=True)
        raise typer.Exit(1)
    elif not rows:
        say(f"{project} has no limits and holds {human_bytes(found['total_bytes'])}")
    else:
        print_table(("limit on", "used", "soft", "hard", "state"), [_row(row) for row in rows])


def _changed(present: Mapping[str, Any], limit: Mapping[str, str | None], tool: str | None) -> dict[str, Any]:
    """Return the section ``quota`` with a limit set; the other ones stay as they are written."""
    given = {name: size for name, size in limit.items() if size}
    if tool is None:
        return {**present, **given}
    tools = dict(present.get("tools") or {})
    name = _written(tools, tool)
    tools[name] = {**(tools.get(name) or {}), **given}
    return {**present, "tools": tools}


def _cleared(present: Any, tool: str | None) -> dict[str, Any]:
    """Return the section without the limits of a tool, or without any."""
    if tool is None or not isinstance(present, Mapping):
        return {}
    tools = dict(present.get("tools") or {})
    tools.pop(_written(tools, tool), None)
    rest = {name: value for name, value in present.items() if name != "tools"}
    return {**rest, "tools": tools} if tools else rest


def _written(tools: Mapping[str, Any], tool: str) -> str:
    """Return the name under which the section has a tool: its own, or its directory's."""
    from mlops.workspace.schema import directory_of

    return next((name for name in tools if directory_of(name) == directory_of(tool)), tool)


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    soft, hard = ("" if row[key] is None else human_bytes(row[key]) for key in ("soft_bytes", "hard_bytes"))
    state = "ok" if row["state"] == "ok" else f"over the {row['state']} limit"
    return row["scope"], human_bytes(row["used_bytes"]), soft, hard, state


@app.callback()
def _group() -> None:
    """Keep ``quota`` a named command although it is the only one."""
