"""``mlops alerts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.cli.arguments import Project, ProjectOrAll
from mlops.cli.output import JsonOption, manager_of, print_json, print_table, say

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring import AlertRecord

app = typer.Typer()
alerts = typer.Typer(no_args_is_help=True)
app.add_typer(alerts, name="alerts")


@alerts.command("list")
def list_alerts(
    context: typer.Context,
    project: ProjectOrAll = None,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only those that go on and that nobody acknowledged.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the alerts that checks raised, newest first."""
    from mlops.client.alerting import collect

    found, errors = collect(manager_of(context), project, open_only=open_only)
    if json:
        print_json([{"project": name, **alert.to_dict()} for name, alert in found])
    else:
        rows = [
            (
                *(() if project else (name,)),
                alert.id,
                alert.status,
                alert.model,
                alert.kind,
                alert.message,
                alert.count,
                f"{alert.first_seen:%Y-%m-%d %H:%M}",
                f"{alert.last_seen:%Y-%m-%d %H:%M}",
                _remark(alert.acknowledged_by, alert.note),
            )
            for name, alert in found
        ]
        columns = ("id", "status", "model", "kind", "what", "times", "first (UTC)", "last (UTC)", "note")
        print_table((*(() if project else ("project",)), *columns), rows)
        for name, alert in found:
            say_undelivered(name, alert)
    for where, error in errors.items():
        say(f"Not everything could be read: {where}: {error}", err=True)


@alerts.command()
def ack(
    context: typer.Context,
    project: Project,
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    note: Annotated[str | None, typer.Option(help="What there is to say.")] = None,
    by: Annotated[str | None, typer.Option(envvar="USER", help="Who takes note.")] = None,
    json: JsonOption = False,
) -> None:
    """Acknowledge an alert: it is not open any more, and no news as long as it goes on."""
    from mlops.client import MLOpsClient

    manager = manager_of(context)
    manager.get_workspace(project)  # a mistyped name must not create a project
    alert = MLOpsClient(project, workspace_manager=manager).monitoring.ack(alert_id, by=by, note=note)
    if json:
        print_json({"project": project, **alert.to_dict()})
    else:
        state = "acknowledged" if alert.cleared_at is None else "acknowledged, and clear since"
        say(f"{alert.id} is {state}: {alert.message}")


def say_undelivered(project: str, alert: AlertRecord) -> None:
    """Say which webhooks were not told of an alert, and why."""
    for url, error in alert.undelivered.items():
        say(f"{project}: {url} was not told of {alert.id}: {error or 'not tried yet'}", err=True)


@app.callback()
def _group() -> None:
    """Keep ``alerts`` a named group although it is the only one."""


def _remark(by: str | None, note: str | None) -> str:
    return ": ".join(part for part in (by, note) if part)
