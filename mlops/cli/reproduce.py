"""``mlops reproduce``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlops.cli.arguments import project_names
from mlops.cli.output import JsonOption, manager_of, print_json, print_table, say
from mlops.lineage.reproduction import DEFAULT_TOLERANCE

if TYPE_CHECKING:
    from mlops.client import MLOpsClient
    from mlops.lineage.reproduction import EnvironmentDifference, MetricComparison, Reproduction
    from mlops.workspace import WorkspaceManager

app = typer.Typer()

EXIT_ERROR: Final = 1
EXIT_DIFFERS: Final = 3
# More packages than these are told apart in the file better than on a screen.
_SHOWN: Final = 8


@app.command()
def reproduce(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run's id, or a unique start of it.")],
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            "-p",
            help="The run's project; by default every project is searched.",
            autocompletion=project_names,
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="The directory.", show_default="outputs/reproduce/<run> in the workspace"),
    ] = None,
    checkout: Annotated[
        bool, typer.Option("--checkout", help="Check the run's commit out into a separate git worktree.")
    ] = False,
    rerun: Annotated[
        bool | None,
        typer.Option(
            "--rerun/--no-rerun",
            help="Run the recorded command there, with the restored data.",
            show_default="with --checkout",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How much a metric may differ, relative and around zero absolute.")
    ] = DEFAULT_TOLERANCE,
    force: Annotated[bool, typer.Option("--force", help="Write into a directory that is not empty.")] = False,
    json: JsonOption = False,
) -> None:
    """Restore the data, parameters, environment and code of a run, and run it again.

    The exit code is 0 if every metric came out the same or nothing was run, 3 if one did not, and 1 if the
    command failed.
    """
    client, run_id = _find(manager_of(context), run, project)
    directory = into or client.reproduction_directory(run_id)
    if rerun or (checkout and rerun is None):
        say(f"mlops: working in {directory}; the command's output is in output.log there", err=True)
    result = client.reproduce(
        run_id, directory=directory, checkout=checkout, rerun=rerun, tolerance=tolerance, force=force
    )
    if json:
        print_json(result.to_dict())
    else:
        _show(result)
    if result.ok:
        return
    failed = result.rerun is not None and (result.rerun.exit_code != 0 or result.rerun.run_id is None)
    raise typer.Exit(EXIT_ERROR if failed else EXIT_DIFFERS)


def _find(manager: WorkspaceManager, run: str, project: str | None) -> tuple[MLOpsClient, str]:
    from mlops.client import MLOpsClient
    from mlops.errors import DataNotFoundError, MLOpsError
    from mlops.lineage.recipe import OPERATION, find_run

    if project is not None:
        manager.get_workspace(project)  # a reading command must not create what is not there
        names = [project]
    else:
        names = [workspace.project_name for workspace in manager.list_workspaces() if not workspace.error]
    found: list[tuple[MLOpsClient, str]] = []
    unreadable: list[str] = []
    for name in names:
        client = MLOpsClient(name, workspace_manager=manager)
        try:
            run_id = find_run(client.tracking, run)
        except MLOpsError as error:
            if project is not None or isinstance(error, DataNotFoundError):
                raise
            unreadable.append(f"{name}: {error}")
            continue
        if run_id is not None:
            found.append((client, run_id))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataNotFoundError(
            f"{run!r} is a run of several projects: {', '.join(client.project_name for client, _ in found)}",
            tool="mlflow",
            operation=OPERATION,
            hint="name the one you mean with --project",
        )
    where = project or f"any project below {manager.base_path}"
    also = f"; not all could be read: {'; '.join(unreadable)}" if unreadable else ""
    raise DataNotFoundError(
        f"There is no run {run!r} in {where}{also}",
        tool="mlflow",
        operation=OPERATION,
        workspace=project,
        hint="see the ids with: mlops runs PROJECT",
    )


def _show(result: Reproduction) -> None:
    say(f"Run {result.run_id} of {result.project}, in {result.directory}")
    for line in _lines(result):
        say(f"  {line}")
    if result.metrics:
        columns = ("metric", "then", "now", "")
        print_table(columns, [_row(metric) for metric in result.metrics])
    for note in result.notes:
        say(f"Note: {note}")
    rerun = result.rerun
    if rerun is None:
        typer.echo("\nTo go on by hand:\n")
        say(result.code.instructions)
    elif rerun.exit_code:
        typer.echo(f"The command failed with exit code {rerun.exit_code}; its last lines:")
        for line in rerun.tail:
            say(f"  {line}")
    elif rerun.run_id is None:
        typer.echo(
            f"The command recorded no run in {result.project}: a base path or tracking URI in its code may"
            " lead elsewhere."
        )
    elif result.ok:
        typer.echo("Reproduced: every metric came out the same.")
    else:
        wrong = [metric.name for metric in result.metrics if metric.match is False]
        say(f"Not reproduced: {', '.join(wrong)}")


def _lines(result: Reproduction) -> Iterator[str]:
    for data in result.data:
        yield f"data         {data.name} {data.md5[:8]} -> {_short(data.path, result.directory)}"
    if result.code.commit is not None:
        changed = " with changes of its own" if result.code.dirty else ""
        where = f" -> {_short(result.code.worktree, result.directory)}" if result.code.worktree else ""
        yield f"code         commit {result.code.commit[:10]}{changed}{where}"
    yield f"parameters   {result.params_file.name}"
    if result.environment_file is not None:
        yield f"environment  {result.environment_file.name}: {_difference(result.environment)}"
    if result.command is not None:
        yield f"command      {result.command}"
    if result.rerun is not None and result.rerun.run_id is not None:
        yield f"new run      {result.rerun.run_id}"


def _difference(difference: EnvironmentDifference | None) -> str:
    if not difference:
        return "the same packages are installed here"
    parts = [f"{name} {then} is {now} here" for name, (then, now) in difference.changed.items()]
    parts += [f"{name} {version} is not installed here" for name, version in difference.removed.items()]
    parts += [f"{name} {version} is new here" for name, version in difference.added.items()]
    if difference.python:
        parts.insert(0, f"Python {difference.python[0]} is {difference.python[1]} here")
    more = f", and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


def _row(metric: MetricComparison) -> tuple[Any, ...]:
    then, now = ("" if value is None else f"{value:.10g}" for value in (metric.recorded, metric.reproduced))
    if metric.match is not None:
        verdict = "same" if metric.match else "missing" if metric.reproduced is None else "DIFFERS"
    else:
        verdict = "new" if metric.recorded is None else "not judged"
    return metric.name, then, now, verdict


def _short(path: Path, directory: Path) -> str:
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)


@app.callback()
def _group() -> None:
    """Keep ``reproduce`` a named command although it is the only one."""
