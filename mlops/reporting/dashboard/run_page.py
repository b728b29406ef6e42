"""The page of one run: parameters, metrics with their curves, tags, datasets, files, steps and lineage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.integrations.mlflow_tracking.artifacts import files
from mlops.integrations.mlflow_tracking.run_record import PARENT_TAG
from mlops.integrations.mlflow_tracking.runs import NOTE_TAG
from mlops.reporting import registry
from mlops.reporting.dashboard import project_lineage
from mlops.reporting.dashboard.opened import open_context, read
from mlops.reporting.dashboard.project_runs import with_curves_first
from mlops.reporting.dashboard.rendering import render

if TYPE_CHECKING:
    from mlops.reporting.registry import RegistryEntry
    from mlops.workspace import WorkspaceManager

# What a page lists; whoever needs the others finds them where the files are.
SHOWN_FILES: Final = 500
SHOWN_STEPS: Final = 200


def routes() -> list[Route]:
    """Return the route of a run's page."""
    return [Route("/projects/{project}/runs/{run_id}", _run, name="run")]


def _run(request: Request) -> Response:
    name, run_id = request.path_params["project"], request.path_params["run_id"]
    manager = request.app.state.manager
    context = open_context(manager, name)
    tracking = MLflowTracking(context)
    # A run that is not there is the page's own 404; what else fails is told where it belongs.
    run = tracking.get_run(run_id)
    tags = run["tags"]
    return render(
        request,
        "run.html",
        name=name,
        run=run,
        metrics=with_curves_first(tracking, [run], run["metrics"]),
        note=tags.get(NOTE_TAG),
        parent=_parent(tracking, tags.get(PARENT_TAG)),
        tags={key: tags[key] for key in sorted(tags) if key != NOTE_TAG},
        datasets=read(lambda: tracking.datasets(run_id)),
        steps=read(lambda: tracking.list_runs(parent=run_id, limit=SHOWN_STEPS)[::-1]),
        artifacts=read(lambda: _files(tracking, run_id)),
        models=read(lambda: list(_models(manager, name, run_id))),
        lineage=read(lambda: project_lineage.of_run(manager, context, run_id)),
    )


def _parent(tracking: MLflowTracking, run_id: str | None) -> dict[str, Any] | None:
    """Return the run that a run is part of, or None; it may have been deleted."""
    return None if run_id is None else read(lambda: tracking.get_run(run_id)).value


def _files(tracking: MLflowTracking, run_id: str) -> tuple[list[dict[str, Any]], bool]:
    """Return the files a run stored, and whether there are more than that."""
    found = list(islice(files(tracking, run_id=run_id), SHOWN_FILES + 1))
    return found[:SHOWN_FILES], len(found) > SHOWN_FILES


def _models(manager: WorkspaceManager, name: str, run_id: str) -> Iterator[RegistryEntry]:
    """Yield the versions of models that a run made."""
    for entry in registry.collect(manager, project=name).entries:
        if entry.run_id == run_id:
            yield entry
