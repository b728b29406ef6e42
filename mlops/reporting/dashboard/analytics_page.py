"""The page over all projects: deployed models compared, where data drifts, what is stored, how many runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.reporting.dashboard import analytics
from mlops.reporting.dashboard.heat_map import ACROSS, DAYS, Across, heat_map
from mlops.reporting.dashboard.rendering import render, report_of, since


def routes() -> list[Route]:
    """Return the route of the page."""
    return [Route("/analytics", _analytics, name="analytics")]


def _analytics(request: Request) -> Response:
    state, asked = request.app.state, request.query_params
    across: Across = "column" if asked.get("by") == "column" else "day"
    report, drift = report_of(request), state.drift.get(since=since(request))
    by_day = analytics.runs_by_day(report.projects)
    return render(
        request,
        "analytics.html",
        compared=analytics.compare(
            state.registry.get(since=since(request)),
            asked.get("metric"),
            modes=analytics.modes_of(report.projects),
        ),
        drift=heat_map(drift, across),
        drift_errors=drift.errors,
        across=ACROSS,
        days=DAYS,
        bars=analytics.MAX_BARS,
        projects=analytics.by_size(report.projects),
        storage_bars=analytics.storage_bars(report.projects),
        storage_map=analytics.storage_map(report.projects),
        runs=by_day,
        runs_figure=analytics.runs_figure(by_day),
    )
