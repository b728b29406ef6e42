"""``mlops monitor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlops.cli.output import JsonOption, manager_of, print_json, print_table
from mlops.errors import ConfigError, DataNotFoundError

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring import MonitoringResult

app = typer.Typer()

EXIT_ALERT: Final = 3
_DIGITS: Final = 4


@app.command()
def monitor(
    context: typer.Context,
    project: str,
    data: Annotated[
        Path, typer.Option(help="The batch: a file .csv, .parquet, .jsonl or .ndjson (one row per line).")
    ],
    model: Annotated[
        str | None, typer.Option(help="The model: NAME, NAME:VERSION or NAME@ALIAS.", show_default="none")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column with the true values.", show_default="the reference's")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(help="The column with the predictions.", show_default="the reference's")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a batch against the reference data, and exit with 3 on an alert."""
    from mlops.client import MLOpsClient

    manager = manager_of(context)
    manager.get_workspace(project)  # a mistyped name must not create a project
    client = MLOpsClient(project, workspace_manager=manager)
    frame = _read(data, project)
    with client:
        result = client.monitor_predictions(
            frame, target_column=target, prediction_column=prediction, model=model
        )
    if json:
        print_json(result.to_dict())
    else:
        _print(result)
    if result.alerts:
        raise typer.Exit(EXIT_ALERT)


@app.callback()
def _group() -> None:
    """Keep ``monitor`` a named command although it is the only one."""


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
    for alert in result.alerts:
        goes_on = f" (check {alert.count} in a row that finds it)" if alert.count > 1 else ""
        typer.echo(f"ALERT {alert.id}: {alert.message}{goes_on}")
    verdict = "drift" if result.drift_detected else "no drift"
    typer.echo(
        f"{result.rows} rows, {verdict}: {result.n_drifted} of {result.n_compared} columns drifted, "
        f"{result.missing_share:.1%} of the cells are missing"
    )
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
        print_table(("metric", "batch", "reference", "change"), metrics)
    for name, reason in result.skipped.items():
        typer.echo(f"Not compared: {name}: {reason}", err=True)
    for warning in result.warnings:
        typer.echo(f"Note: {warning}", err=True)
    typer.echo(f"Snapshot {result.snapshot_id}")


def _number(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+.{_DIGITS}g}" if sign else f"{value:.{_DIGITS}g}"
