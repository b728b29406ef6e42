"""The first page: all projects in one table, what needs attention, and what they come to together."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.reporting.charts import RUNS, charts, runs_table
from mlops.reporting.dashboard.rendering import render, render_json, report_of
from mlops.reporting.gates import MEANINGS, Failure, evaluate
from mlops.reporting.summary import summary

# The page has all findings; more than this at once would push the projects out of sight.
_SHOWN_FINDINGS: Final = 100


def routes() -> list[Route]:
    """Return the routes of the page and of the report as JSON."""
    return [Route("/", _overview, name="overview"), Route("/report.json", _report, name="report")]


def _overview(request: Request) -> Response:
    report = report_of(request)
    failures = evaluate(report.projects)
    by_project: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        by_project[failure.project_name].append(failure)
    today = report.generated_at.astimezone(UTC).date()
    return render(
        request,
        "overview.html",
        report=report,
        summary=summary(report.projects),
        findings=failures[:_SHOWN_FINDINGS],
        found=len(failures),
        by_project=by_project,
        meanings=MEANINGS,
        chart=next((chart for chart in charts(report.projects, today=today) if chart.name == RUNS), None),
        runs_table=runs_table(report.projects, today=today),
    )


def _report(request: Request) -> Response:
    return render_json(report_of(request).to_dict())
