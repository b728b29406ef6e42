"""The first page: all projects in one table, and what they come to together."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.reporting.dashboard.rendering import render, render_json, report_of


def routes() -> list[Route]:
    """Return the routes of the page and of the report as JSON."""
    return [Route("/", _overview, name="overview"), Route("/report.json", _report, name="report")]


def _overview(request: Request) -> Response:
    return render(request, "overview.html", report=report_of(request))


def _report(request: Request) -> Response:
    return render_json(report_of(request).to_dict())
