"""``mlops runs``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.arguments import Project
from mlops.cli.output import JsonOption, manager_of, print_json, print_table

app = typer.Typer()


@app.command()
def runs(
    context: typer.Context,
    project: Project,
    pipeline: Annotated[str | None, typer.Option(help="Only the runs of this pipeline.")] = None,
    status: Annotated[str | None, typer.Option(help="Only running, finished, failed or killed ones.")] = None,
    order_by: Annotated[
        str | None, typer.Option("--order-by", help="Such as 'metrics.accuracy DESC' or duration.")
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="The runs of single steps too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: JsonOption = False,
) -> None:
    """List a project's runs, newest first or in another order."""
    from mlops.client import MLOpsClient

    manager = manager_of(context)
    manager.get_workspace(project)  # a reading command must not create what is not there
    found = MLOpsClient(project, workspace_manager=manager).list_runs(
        pipeline, limit, status=status, order_by=order_by, steps=steps
    )
    if json:
        print_json(found)
        return
    rows = [
        (
            run["run_name"],
            run["status"],
            f"{run['start_time']:%Y-%m-%d %H:%M:%S}",
            "" if run["duration"] is None else f"{run['duration']:.1f} s",
            ", ".join(f"{key}={value:.4g}" for key, value in sorted(run["metrics"].items())[:4]),
            run["run_id"],
        )
        for run in found
    ]
    print_table(("run", "status", "started (UTC)", "took", "metrics", "id"), rows)


@app.callback()
def _group() -> None:
    """Keep ``runs`` a named command although it is the only one."""
