"""The page of a project: its runs and their curves, data, models, monitoring, pipelines, storage, lineage."""

from __future__ import annotations

import contextlib
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.errors import WorkspaceCorruptError
from mlops.integrations.dvc_data import DVCData
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.integrations.mlflow_tracking.run_query import STATUSES
from mlops.reporting import registry
from mlops.reporting.dashboard import curves, project_data
from mlops.reporting.dashboard.opened import open_context, read
from mlops.reporting.dashboard.project_monitoring import monitoring
from mlops.reporting.dashboard.project_runs import runs_page
from mlops.reporting.dashboard.rendering import render, render_json
from mlops.reporting.facts import ProjectReport
from mlops.reporting.report import StatusReport

# As many digits as a number of a page of a project's runs can have.
_LAST_PAGE: Final = 1_000_000


def routes() -> list[Route]:
    """Return the routes of a project's page, of its facts as JSON, and of the curves of its metrics."""
    return [
        Route("/projects/{project}", _project, name="project"),
        Route("/projects/{project}/report.json", _report, name="project-report"),
        Route("/projects/{project}/curves.json", _curves, name="curves"),
    ]


def _project(request: Request) -> Response:
    name, manager = request.path_params["project"], request.app.state.manager
    page, status, pipeline = _chosen(request)
    try:
        context = open_context(manager, name)
    except WorkspaceCorruptError as error:
        return render(request, "project_corrupt.html", name=name, error=error)
    tracking, data = MLflowTracking(context), DVCData(context)
    return render(
        request,
        "project.html",
        name=name,
        project=_facts(request, name),
        runs=read(lambda: runs_page(tracking, page=page, status=status, pipeline=pipeline)),
        page_address=lambda number: _address(request, page=number),
        data=read(lambda: project_data.datasets(data)),
        models=read(lambda: registry.collect(manager, project=name)),
        monitoring=read(lambda: monitoring(EvidentlyMonitoring(context))),
        pipelines=read(lambda: project_data.pipelines(tracking)),
    )


def _report(request: Request) -> Response:
    name = request.path_params["project"]
    # One that cannot be read is reported as corrupt.
    with contextlib.suppress(WorkspaceCorruptError):
        open_context(request.app.state.manager, name)
    return render_json(_facts(request, name).to_dict())


def _curves(request: Request) -> Response:
    asked = request.query_params
    metric, runs, axis = asked.get("metric", ""), asked.getlist("run"), asked.get("axis", "step")
    if not metric or not runs or axis not in curves.AXES or len(runs) > curves.MAX_RUNS:
        raise HTTPException(
            400, f"Give metric=, one to {curves.MAX_RUNS} times run=, and axis= {' or '.join(curves.AXES)}."
        )
    context = open_context(request.app.state.manager, request.path_params["project"])
    found = curves.collect(MLflowTracking(context), list(dict.fromkeys(runs)), metric, axis=axis)
    return render_json(curves.answer(metric, found, axis=axis))


def _facts(request: Request, name: str) -> ProjectReport:
    """Return what reports say of the project, as it is now."""
    return StatusReport.collect(manager=request.app.state.manager, projects=[name]).project(name)


def _chosen(request: Request) -> tuple[int, str | None, str | None]:
    """Return the page, status and pipeline that an address asks for; nonsense counts as nothing."""
    asked = request.query_params
    text = asked.get("page", "")
    page = min(max(int(text), 1), _LAST_PAGE) if text.isdecimal() and len(text) < 10 else 1
    status = asked.get("status")
    return page, status if status in STATUSES else None, asked.get("pipeline") or None


def _address(request: Request, **changed: object) -> str:
    """Return the address of this page with some of its parameters changed, at its runs."""
    asked = {**request.query_params, **{key: str(value) for key, value in changed.items()}}
    return f"?{urlencode(asked)}#runs"
