"""The application of the pages: what they share, and which pages there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mlops.errors import (
    DataNotFoundError,
    InvalidProjectNameError,
    MLOpsError,
    ModelNotFoundError,
    WorkspaceNotFoundError,
)
from mlops.reporting.dashboard import (
    analytics_page,
    assets,
    heat_map,
    lineage_page,
    overview,
    project_page,
    registry_page,
    run_page,
    search,
)
from mlops.reporting.dashboard.known_models import KnownModels
from mlops.reporting.dashboard.remembered import Remembered
from mlops.reporting.dashboard.rendering import render
from mlops.reporting.dashboard.security import Access, Guard
from mlops.workspace import WorkspaceManager

if TYPE_CHECKING:
    from mlops.reporting.registry import Registry
    from mlops.reporting.report import StatusReport

# Each has ``routes() -> list[Route]``; what answers is run in a thread unless it is async.
PAGES: Final = (
    assets,
    overview,
    project_page,
    lineage_page,
    run_page,
    registry_page,
    analytics_page,
    search,
)
# No project can have a name that breaks the rule.
_MISSING: Final = (WorkspaceNotFoundError, InvalidProjectNameError, DataNotFoundError, ModelNotFoundError)


class ToolPages(Protocol):
    """Where MLflow's and Evidently's own pages are, if they run."""

    def mlflow(self, project: str | None = None, *, run_id: str | None = None) -> str | None:
        """Return the address of MLflow's page of a project or run, or None if it does not run."""

    def evidently(self, project: str | None = None) -> str | None:
        """Return the address of Evidently's page of a project, or None if it does not run."""


class NoToolPages:
    """Neither runs."""

    def mlflow(self, project: str | None = None, *, run_id: str | None = None) -> str | None:
        """Return None."""

    def evidently(self, project: str | None = None) -> str | None:
        """Return None."""


def create_app(
    manager: WorkspaceManager,
    *,
    access: Access,
    tool_pages: ToolPages | None = None,
    reports: Remembered[StatusReport] | None = None,
    models: Remembered[Registry] | None = None,
) -> Guard:
    """Return the application, which only reads.

    Args:
        manager: The base.
        access: Where it is served, and to whom.
        tool_pages: The tools' own pages.
        reports: What collects the report.
        models: What collects the registry.
    """
    app = Starlette(
        routes=[route for page in PAGES for route in page.routes()],
        exception_handlers={HTTPException: _refused, MLOpsError: _failed, Exception: _broken},
    )
    app.state.manager = manager
    app.state.tool_pages = tool_pages or NoToolPages()
    app.state.reports = reports or reports_of(manager)
    app.state.registry = models or models_of(manager)
    app.state.drift = Remembered(lambda: heat_map.collect(manager))
    return Guard(app, access)


def reports_of(manager: WorkspaceManager) -> Remembered[StatusReport]:
    """Return what collects the report of a base whenever the last one is too old.

    Args:
        manager: The base.
    """

    def collect() -> StatusReport:
        # Starting to listen must not wait for what the report reads with.
        from mlops.reporting.report import StatusReport

        return StatusReport.collect(manager=manager)

    return Remembered(collect)


def models_of(manager: WorkspaceManager) -> Remembered[Registry]:
    """Return what collects the registry of a base whenever the last one is too old.

    Args:
        manager: The base.
    """
    return Remembered(KnownModels(manager).collect)


def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    title = "Not found" if status == 404 else "This cannot be shown"
    text = "There is no such page." if status == 404 else str(getattr(error, "detail", ""))
    return render(request, "error.html", status=status, code=status, title=title, text=text, hint=None)


def _failed(request: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, _MISSING) else 500
    title = "Not found" if status == 404 else "This cannot be read"
    return render(
        request,
        "error.html",
        status=status,
        code=status,
        title=title,
        text=str(error),
        hint=getattr(error, "hint", None),
    )


def _broken(request: Request, _error: Exception) -> Response:
    # The server's log has the traceback: Starlette raises the error again once this is sent.
    return render(
        request,
        "error.html",
        status=500,
        code=500,
        title="This page failed",
        text="Something in here is wrong; the terminal in which mlops dashboard runs says what.",
        hint=None,
    )
