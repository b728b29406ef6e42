"""``mlops serve``."""

from __future__ import annotations

import json
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlops.cli.arguments import Project
from mlops.cli.output import manager_of, say
from mlops.errors import IntegrationError

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import Server

app = typer.Typer()

POLL_SECONDS: Final = 0.2
# A value of each type of a signature, for a request that can be typed as it is shown.
_EXAMPLES: Final[dict[str, Any]] = {
    "boolean": True,
    "integer": 1,
    "long": 1,
    "float": 1.0,
    "double": 1.0,
    "string": "text",
    "datetime": "2026-01-01T00:00:00",
    "binary": "AA==",
}


@app.command()
def serve(
    context: typer.Context,
    project: Project,
    model: Annotated[
        str,
        typer.Argument(
            help="A packaged model: NAME, NAME:VERSION, NAME@ALIAS, a run's id, or a Bento's tag."
        ),
    ],
    version: Annotated[str | None, typer.Option(help="The version; the last packaged by default.")] = None,
    alias: Annotated[str | None, typer.Option(help="An alias, instead of a version.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port.", show_default="a free one")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; there is no authentication.")
    ] = "127.0.0.1",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that predict at the same time.", show_default="one"),
    ] = None,
    log_predictions: Annotated[
        bool, typer.Option("--log/--no-log", help="Log requests and predictions in the project.")
    ] = True,
    sample_rate: Annotated[
        float, typer.Option(min=0, max=1, help="The share of requests that is logged.")
    ] = 1.0,
) -> None:
    """Serve a packaged model until Ctrl-C or SIGTERM, which end the server and exit with 0."""
    from mlops.client import MLOpsClient

    manager = manager_of(context)
    manager.get_workspace(project)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        client = MLOpsClient(project, workspace_manager=manager)
        typer.echo("Starting; loading the model takes some seconds ...", err=True)
        with client.serve(
            model,
            version=version,
            alias=alias,
            port=port,
            host=host,
            workers=workers,
            log_predictions=log_predictions,
            sample_rate=sample_rate,
        ) as server:
            say(f"{server.tag}: {server.url} (Ctrl-C stops it)")
            typer.echo(_request(server, client.serving.inputs(server.tag)))
            say(f"Log: {server.log}")
            sys.stdout.flush()
            while server.running():
                time.sleep(POLL_SECONDS)
            raise _ended(server, project)
    except KeyboardInterrupt:
        # Asked to stop, and it has: that is how this command ends.
        return


@app.callback()
def _group() -> None:
    """Keep ``serve`` a named command although it is the only one."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _request(server: Server, inputs: list[dict[str, Any]] | None) -> str:
    """Return a command that asks the server, with made-up values of the right types."""
    row = _row(inputs) if inputs else [1.0]
    body = json.dumps({"rows": [row]}, ensure_ascii=False).replace("'", "'\\''")
    return f"  curl -s {server.url}/predict -H 'Content-Type: application/json' -d '{body}'"


def _row(inputs: list[dict[str, Any]]) -> Any:
    if "name" in inputs[0]:
        return {str(column["name"]): _value(column) for column in inputs}
    values = [_value(column) for column in inputs]
    # An array of rows has one tensor, which is the row itself.
    return values[0] if inputs[0]["type"] == "tensor" else values


def _value(column: dict[str, Any]) -> Any:
    kind = column["type"]
    if kind == "array":
        return [_value(column["items"])]
    if kind == "map":
        return {"key": _value(column["values"])}
    if kind == "object":
        return {name: _value(part) for name, part in column["properties"].items()}
    if kind != "tensor":
        return _EXAMPLES.get(kind)
    spec = column["tensor-spec"]
    value: Any = 0 if spec["dtype"].startswith(("int", "uint")) else 0.0
    # The first dimension counts the rows; another that may have any length gets one.
    for length in reversed(spec["shape"][1:]):
        value = [value] * max(length, 1)
    return value


def _ended(server: Server, project: str) -> IntegrationError:
    from mlops.integrations.bentoml_serving.server import log_tail

    return IntegrationError(
        f"The server of {server.tag} ended by itself. The end of its log:\n{log_tail(server.log)}",
        tool="bentoml",
        operation="serve",
        workspace=project,
        hint=f"the whole log is {server.log}",
    )
