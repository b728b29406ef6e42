"""``mlops monitor``."""

from __future__ import annotations

import json as json_format
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlops.cli import stopping
from mlops.cli.alerts import say_undelivered
from mlops.cli.arguments import Project
from mlops.cli.output import JsonOption, manager_of, print_json, print_table, say
from mlops.cli.pipeline import outcome
from mlops.errors import ConfigError, DataNotFoundError
from mlops.integrations.evidently_monitoring.watch import EVERY_SECONDS, WINDOW_ROWS
from mlops.plurals import counted

if TYPE_CHECKING:
    from mlops.client import MLOpsClient
    from mlops.integrations.evidently_monitoring import Alert, MonitoringResult
    from mlops.pipelines.pipeline import Pipeline

app = typer.Typer()

EXIT_ALERT: Final = 3
_DIGITS: Final = 4


@app.command()
def monitor(
    context: typer.Context,
    project: Project,
    data: Annotated[
        Path | None,
        typer.Option(help="The batch: a file .csv, .parquet, .jsonl or .ndjson (one row per line)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model: NAME, NAME:VERSION or NAME@ALIAS; with --watch its NAME.", show_default="none"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column with the true values.", show_default="the reference's")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(help="The column with the predictions.", show_default="the reference's")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check what is served instead of a file, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="With --watch: seconds between two looks at the log.")
    ] = EVERY_SECONDS,
    window: Annotated[
        int, typer.Option(min=1, help="With --watch: rows of one version that are checked together.")
    ] = WINDOW_ROWS,
    on_alert: Annotated[
        str | None,
        typer.Option(
            "--on-alert", metavar="PIPELINE", help="A pipeline with a saved version, run on a new alert."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a batch against the reference data, and exit with 3 on an alert.

    With --watch, the predictions of a model are checked as they are served, until Ctrl-C or SIGTERM, which
    end it with 0; a second one does not wait for what an alert started. Alerts end up in `mlops alerts list`
    either way. A pipeline of --on-alert runs once per alert. If it fails, a batch's exit code is 1, and a
    watch goes on; `mlops trace` follows a check to what the pipeline made.
    """
    from mlops.client import MLOpsClient

    if watch == (data is not None):
        raise typer.BadParameter("give either a file or --watch", param_hint="--data")
    if watch and (model is None or target or prediction):
        raise typer.BadParameter(
            "--watch takes --model, and finds the columns in the log", param_hint="--watch"
        )
    manager = manager_of(context)
    manager.get_workspace(project)  # a mistyped name must not create a project
    client = MLOpsClient(project, workspace_manager=manager)
    if data is None:
        _watch(client, str(model), every=every, window=window, pipeline=on_alert, json=json)
        return
    frame = _read(data, project)
    with client:
        pipeline = client.get_pipeline(on_alert) if on_alert else None
        result = client.monitor_predictions(
            frame, target_column=target, prediction_column=prediction, model=model
        )
        if json:
            print_json(result.to_dict())
        else:
            _print(result)
        _say_undelivered(client, result)
        if pipeline is not None and result.new_alerts:
            _run(pipeline, result.new_alerts, json=json)
    if result.alerts:
        raise typer.Exit(EXIT_ALERT)


@app.callback()
def _group() -> None:
    """Keep ``monitor`` a named command although it is the only one."""


def _watch(
    client: MLOpsClient, model: str, *, every: float, window: int, pipeline: str | None, json: bool
) -> None:
    """Watch until Ctrl-C or SIGTERM; a check that is being made is finished first."""
    from mlops.cli import tell_error

    cure = client.get_pipeline(pipeline) if pipeline else None
    wait_until_asked = stopping.on_signal()
    # What fails is printed below, without the traceback.
    logging.getLogger("apscheduler").addHandler(logging.NullHandler())

    def checked(result: MonitoringResult | BaseException) -> None:
        if isinstance(result, BaseException):
            tell_error(result)
        elif json:
            _print_line(result.to_dict())
        else:
            at = f"{result.checked_at:%Y-%m-%d %H:%M:%S}"
            say(f"{at} {result.model}:{result.model_version}: {_verdict(result)}")
            _print_alerts(result.alerts)
        sys.stdout.flush()
        if not isinstance(result, BaseException):
            _say_undelivered(client, result)

    def alerted(alerts: Sequence[Alert]) -> None:
        # Those of a check are printed with it.
        silent = [alert for alert in alerts if not alert.snapshot_id]
        if json:
            for alert in silent:
                _print_line(alert.to_dict())
        else:
            _print_alerts(silent)
        sys.stdout.flush()
        if cure is not None:
            _run(cure, alerts, json=json)

    with (
        client,
        client.watch_predictions(
            model, every=every, window=window, on_alert=alerted, on_check=checked
        ) as running,
    ):
        typer.echo(f"Watching the predictions of {running.model} (Ctrl-C stops it)", err=True)
        wait_until_asked()
        typer.echo("Stopping; what an alert started ends first (Ctrl-C again ends it)", err=True)


def _say_undelivered(client: MLOpsClient, result: MonitoringResult) -> None:
    found = {alert.id for alert in result.alerts}
    for record in client.monitoring.alerts(result.model) if found else ():
        if record.id in found:
            say_undelivered(client.project_name, record)


def _run(pipeline: Pipeline, alerts: Sequence[Alert], *, json: bool) -> None:
    """Run a pipeline because of alerts; what it says goes where it is no part of the JSON."""
    from mlops.client.alerting import retrain

    typer.echo(f"Running the pipeline {pipeline.name} ...", err=True)
    say(outcome(retrain(pipeline, alerts)), err=json)
    sys.stdout.flush()


def _print_line(value: dict[str, Any]) -> None:
    typer.echo(json_format.dumps(value, ensure_ascii=False))


def _read(path: Path, project: str) -> Any:
    import pandas as pd

    readers = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"The format of {path} is not known by its name",
            operation="monitor",
            workspace=project,
            hint=f"use a file that ends with {', '.join(readers)}",
        )
    try:
        return reader(path)
    except FileNotFoundError:
        raise DataNotFoundError(
            f"There is no file {path}",
            operation="monitor",
            workspace=project,
            hint="check the path, relative to the working directory",
        ) from None
    except (ValueError, OSError) as error:
        # pandas' own parser errors are ValueErrors, and so are Arrow's.
        raise ConfigError(
            f"{path} cannot be read as {path.suffix[1:]}: {error}",
            operation="monitor",
            workspace=project,
            hint="check the file's format",
        ) from error


def _json_lines(path: Path) -> Any:
    import pandas as pd

    # Text that looks like a date stays what it is: the reference says what a column holds.
    return pd.read_json(path, lines=True, convert_dates=False)


def _print(result: MonitoringResult) -> None:
    """Print what a check found, what matters first."""
    _print_alerts(result.alerts)
    say(_verdict(result))
    rows = [
        (c.column, c.kind, _number(c.score), _number(c.threshold), "drifted" if c.drifted else "", c.method)
        for c in sorted(result.columns.values(), key=lambda c: (not c.drifted, c.column))
    ]
    print_table(("column", "kind", "score", "threshold", "", "method"), rows)
    if result.performance:
        metrics = [
            (
                name,
                "undefined" if value is None else _number(value),
                _number(result.reference_performance.get(name)),
                _number(result.performance_change.get(name), sign=True),
            )
            for name, value in result.performance.items()
        ]
        typer.echo()
        print_table(("metric", "batch", "reference", "change"), metrics)
    typer.echo()
    for name, reason in result.skipped.items():
        say(f"Not compared: {name}: {reason}", err=True)
    for warning in result.warnings:
        say(f"Note: {warning}", err=True)
    typer.echo(f"Snapshot {result.snapshot_id}")


def _print_alerts(alerts: Sequence[Alert]) -> None:
    for alert in alerts:
        goes_on = f" (found by {alert.count} checks now)" if alert.count > 1 else ""
        say(f"ALERT {alert.id}: {alert.message}{goes_on}")


def _verdict(result: MonitoringResult) -> str:
    drift = "drift" if result.drift_detected else "no drift"
    return (
        f"{counted(result.rows, 'row')}, {drift}: "
        f"{result.n_drifted} of {counted(result.n_compared, 'column')} drifted, "
        f"{result.missing_share:.1%} of the cells are missing"
    )


def _number(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+.{_DIGITS}g}" if sign else f"{value:.{_DIGITS}g}"
