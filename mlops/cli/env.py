"""``mlops env``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final

import typer

from mlops.cli.arguments import ProjectOrOwn
from mlops.cli.output import JsonOption, manager_of, print_json

app = typer.Typer()

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A server's URI as the settings have it; in other values "${" is part of a path.
_REFERRING: Final = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


class Shell(StrEnum):
    """The shells whose syntax is known; ``sh`` is every POSIX shell, bash and zsh among them."""

    SH = "sh"
    FISH = "fish"


@app.command()
def env(
    context: typer.Context,
    project: ProjectOrOwn = None,
    shell: Annotated[Shell, typer.Option(help="The shell that reads it.")] = Shell.SH,
    json: JsonOption = False,
) -> None:
    """Print what makes a shell work in a project: eval "$(mlops env churn)".

    A secret that the settings take from the environment is printed as a reference to it, never as its value.
    """
    from mlops.client import MLOpsClient
    from mlops.client.environment import project_environment
    from mlops.settings import find_project_name, variable
    from mlops.workspace.opening import describe_settings

    manager = manager_of(context)
    name = find_project_name() if project is None else project
    workspace = manager.get_workspace(name)
    client = MLOpsClient(name, workspace_manager=manager)
    environment = project_environment(client.tracking.context)
    values = dict(environment.variables)
    for setting, written, origin in describe_settings(workspace, root=manager.location.root):
        if setting == "mlflow_tracking_uri" and written is not None:
            reference = f"${{{variable(setting)}}}" if origin == "environment" else written
            values |= dict.fromkeys(_REFERRING, reference)
    if json:
        print_json({"set": dict(sorted(values.items())), "unset": sorted(environment.removed)})
    else:
        typer.echo("\n".join(_lines(values, environment.removed, shell)))


def _lines(values: Mapping[str, str], removed: tuple[str, ...], shell: Shell) -> list[str]:
    quote = _fish if shell is Shell.FISH else shlex.quote
    quoted = {
        name: _with_references(value, quote) if name in _REFERRING else quote(value)
        for name, value in sorted(values.items())
    }
    if shell is Shell.FISH:
        return [*(f"set -gx {n} {v}" for n, v in quoted.items()), *(f"set -e {n}" for n in sorted(removed))]
    return [*(f"export {n}={v}" for n, v in quoted.items()), f"unset {' '.join(sorted(removed))}"]


def _with_references(value: str, quote: Callable[[str], str]) -> str:
    """Quote a value but leave ``${NAME}`` to the shell; all of them read ``"$NAME"``."""
    parts = _REFERENCE.split(value)
    return "".join(f'"${part}"' if at % 2 else quote(part) for at, part in enumerate(parts) if part)


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@app.callback()
def _group() -> None:
    """Keep ``env`` a named command although it is the only one."""
