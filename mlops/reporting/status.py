"""All projects side by side: one row each, and below them what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from mlops.files import human_bytes
from mlops.reporting.facts import CheckFacts, ProjectReport, StorageFacts
from mlops.reporting.formatting import ago
from mlops.reporting.wording import one_line

if TYPE_CHECKING:
    from rich.console import Group

    from mlops.reporting.report import StatusReport

_COLUMNS: Final = ("project", "runs", "last run", "data", "models", "bentos", "drifted", "alerts", "disk")
_NUMBERS: Final = ("runs", "data", "models", "bentos", "alerts", "disk")


def render(report: StatusReport) -> Group:
    """Return a report as one table for people, with what is wrong below it in red.

    Args:
        report: What to show.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    # As narrow as the columns allow: 80 characters for names of 17.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in _COLUMNS:
        table.add_column(
            column, justify="right" if column in _NUMBERS else "left", no_wrap=column == "project"
        )
    for project in report.projects:
        cells = _cells(project, report.generated_at) if project.tools else (project.project_name,)
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    return Group(table, *(Text(line, style="red") for line in problems(report.projects)))


def problems(projects: Iterable[ProjectReport]) -> list[str]:
    """Return one line for every project and every tool in trouble.

    Args:
        projects: What a report says of each.
    """
    return [
        one_line(
            f"{project.project_name}: "
            + (f"{trouble.tool} is {trouble.state}: " if trouble.tool else "")
            + trouble.message
        )
        for project in projects
        for trouble in project.troubles
    ]


def _cells(project: ProjectReport, now: datetime) -> tuple[str, ...]:
    runs, data, open_alerts = project.runs, project.data, project.monitoring.open_alerts
    failed = runs.by_status.get("FAILED", 0)

    def number(count: int, tool: str, more: str = "") -> str:
        # Nothing was found where nothing could be read.
        return "?" if not count and project.tools.get(tool) == "unavailable" else f"{count:,}{more}"

    return (
        project.project_name,
        number(runs.total, "mlflow", f", {failed:,} failed" if failed else ""),
        _last_run(project, now),
        number(data.versions, "dvc", f", {data.unpushed:,} unpushed" if data.unpushed else ""),
        number(project.models.versions, "mlflow"),
        number(len(project.models.deployments), "bentoml"),
        _drift(project.monitoring.last),
        f"{len(open_alerts):,}" if project.monitoring.last or open_alerts else "-",
        _disk(project.storage),
    )


def _last_run(project: ProjectReport, now: datetime) -> str:
    last = project.runs.last
    if last is None or last.started_at is None:
        return "-"
    began = ago(last.started_at, now)
    return began if last.status == "FINISHED" else f"{last.status}, {began}"


def _drift(checks: Sequence[CheckFacts]) -> str:
    if not checks:
        return "-"
    # Of several models the one in the worst state.
    worst = max(checks, key=lambda check: (check.drift_detected, check.drift_share or 0.0))
    return f"{worst.n_drifted} of {worst.n_compared}" + (", DRIFT" if worst.drift_detected else "")


def _disk(storage: StorageFacts) -> str:
    used = human_bytes(storage.total_bytes)
    over = [f"{row.scope} over its {row.state} limit" for row in storage.quota if row.state != "ok"]
    return ", ".join([used, *over])
