"""The lineage of a project, or of one thing in it; the project's page takes it in when it is scrolled to."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.reporting.dashboard import project_lineage
from mlops.reporting.dashboard.opened import open_context, read
from mlops.reporting.dashboard.rendering import render


def routes() -> list[Route]:
    """Return the route of the page."""
    return [Route("/projects/{project}/lineage", _lineage, name="lineage")]


def _lineage(request: Request) -> Response:
    name, manager = request.path_params["project"], request.app.state.manager
    ref = request.query_params.get("ref", "").strip()
    context = open_context(manager, name)
    if ref:
        drawing = read(lambda: project_lineage.of_thing(manager, context, ref))
    else:
        drawing = read(lambda: project_lineage.of_project(manager, context))
    return render(request, "lineage.html", name=name, ref=ref, lineage=drawing)
