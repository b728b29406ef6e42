"""Looking for words in everything that has a name: projects, models, runs, pipelines, schedules, alerts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.errors import MLOpsError
from mlops.integrations.mlflow_tracking import MLflowTracking, queries
from mlops.integrations.mlflow_tracking.run_search import find_runs
from mlops.reporting.dashboard.opened import open_context
from mlops.reporting.dashboard.registry_page import words_of
from mlops.reporting.dashboard.rendering import render, report_of
from mlops.reporting.facts import ProjectReport
from mlops.reporting.registry import Registry
from mlops.reporting.report import StatusReport
from mlops.workspace import WorkspaceManager

# More words, or longer ones, find nothing that fewer would not.
_MOST_WORDS: Final = 8
# What is shown of each kind; the page says how many there are.
_SHOWN: Final = 50
# Runs of one project, so that one does not hide the others.
_OF_PROJECT: Final = 20
# Longer than a person waits; then what was found is shown, and what was not looked at is named.
_SECONDS: Final = 4.0
_LATE: Final = "there was no time left"


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that has all words.

    Args:
        kind: What it is, as a heading.
        project: Its project.
        label: Its name.
        address: The page that shows it.
        detail: What else is known of it, in a line.
        status: A run's status, or None.
        moment: When it began or was raised, aware; or None.
    """

    kind: str
    project: str
    label: str
    address: str
    detail: str = ""
    status: str | None = None
    moment: datetime | None = None


@dataclass(slots=True)
class Found:
    """What was found.

    Args:
        hits: By kind, at most ``_SHOWN`` of each.
        counts: How many there are, by kind.
        unread: Project to why its runs were not looked through.
    """

    hits: dict[str, list[Hit]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def add(self, hit: Hit) -> None:
        """Count a hit, and keep it if there is room."""
        self.counts[hit.kind] = self.counts.get(hit.kind, 0) + 1
        kept = self.hits.setdefault(hit.kind, [])
        if len(kept) < _SHOWN:
            kept.append(hit)


def routes() -> list[Route]:
    """Return the page's route."""
    return [Route("/search", _search, name="search")]


def search(text: str, *, report: StatusReport, registry: Registry, manager: WorkspaceManager) -> Found:
    """Return what has every word of a text in its name, tags or parameters.

    Args:
        text: Words with spaces between them, in any case.
        report: Where projects, pipelines, schedules and alerts are looked for.
        registry: Where models are looked for.
        manager: The base, whose projects' runs are looked through.
    """
    words = text.casefold().split()[:_MOST_WORDS]
    found = Found()
    if not words:
        return found
    for hit, own in (*_of_projects(report.projects), *_of_models(registry)):
        haystack = " ".join(own).casefold()
        if all(word in haystack for word in words):
            found.add(hit)
    deadline = time.monotonic() + _SECONDS
    for project in report.projects:
        try:
            for hit in _runs(manager, project.project_name, words, deadline):
                found.add(hit)
        except (MLOpsError, OSError, sqlite3.Error) as error:
            late = time.monotonic() > deadline
            found.unread[project.project_name] = _LATE if late else str(error)
    return found


def _of_projects(projects: Sequence[ProjectReport]) -> Iterator[tuple[Hit, list[str]]]:
    for each in projects:
        name, page = each.project_name, project_address(each.project_name)
        labels = [f"{key}={value}" for key, value in each.tags.items()]
        detail = " · ".join(filter(None, (each.description, ", ".join(labels))))
        yield Hit("Projects", name, name, page, detail), [name, each.description, *labels]
        for pipeline in each.pipelines:
            yield Hit("Pipelines", name, pipeline, f"{page}#pipelines"), [pipeline]
        for schedule in each.schedules:
            detail = f"{schedule.target}, {schedule.when}"
            yield Hit("Schedules", name, schedule.name, f"{page}#schedules", detail), [schedule.name, detail]
        for alert in each.monitoring.open_alerts:
            own = [alert.kind, alert.model or "", alert.message, alert.alert_id]
            yield Hit("Alerts", name, alert.kind, page, alert.message, moment=alert.raised_at), own


def _of_models(registry: Registry) -> Iterator[tuple[Hit, list[str]]]:
    for each in registry.entries:
        label = f"{each.model}:{each.version}"
        address = f"/registry?{urlencode({'find': f'{each.project}.{label}'})}"
        detail = ", ".join(filter(None, (each.made_with, *(f"@{alias}" for alias in each.aliases))))
        yield Hit("Models", each.project, label, address, detail, moment=each.created_at), words_of(each)


def _runs(manager: WorkspaceManager, project: str, words: Sequence[str], deadline: float) -> Iterator[Hit]:
    if time.monotonic() > deadline:
        raise MLOpsError(_LATE)
    tracking = MLflowTracking(open_context(manager, project))
    if not tracking.embedded:
        raise MLOpsError("its runs are on a server, whose own pages search them")
    if not tracking.database.exists():
        return
    if not queries.known_schema(tracking.database):
        raise MLOpsError("its database is of another version of MLflow")
    for run in find_runs(tracking.database, words, limit=_OF_PROJECT, deadline=deadline):
        address = f"{project_address(project)}/runs/{quote(run.run_id, safe='')}"
        label = run.run_name or run.run_id
        yield Hit("Runs", project, label, address, run.run_id, run.status, run.started_at)


def project_address(project: str) -> str:
    """Return the address of a project's page."""
    return f"/projects/{quote(project, safe='')}"


def _search(request: Request) -> Response:
    text = request.query_params.get("q", "").strip()
    state = request.app.state
    found = search(text, report=report_of(request), registry=state.registry.get(), manager=state.manager)
    return render(request, "search.html", text=text, found=found)
