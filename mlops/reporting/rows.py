"""The rows of each project in the tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mlops.reporting.cells import UNKNOWN, Cell, count, foreign, share, size, time
from mlops.reporting.facts import BestMetric, CheckFacts, ProjectReport, RunFacts, StorageFacts
from mlops.reporting.formatting import number
from mlops.reporting.wording import better
from mlops.workspace.model import DIRECTORIES

# How many of a project's metrics stand in its row; all of them are in the table of metrics.
_METRICS_IN_ROW: Final = 3
_OUTCOMES: Final = {"FAILED": "bad", "KILLED": "warn"}
_LIMITS: Final = {
    "ok": Cell("within", tone="ok"),
    "soft": Cell("over the soft limit", tone="warn"),
    "hard": Cell("over the hard limit", tone="bad"),
}


def project(project: ProjectReport) -> tuple[Cell, ...]:
    """Return the row of a project."""
    runs, data = project.runs, project.data
    unread = {trouble.tool for trouble in project.troubles}

    def read(cell: Cell, tool: str) -> Cell:
        # That nothing was found says nothing where nothing could be read.
        return Cell("?", UNKNOWN) if cell.text in ("0", "-") and unread & {"", tool} else cell

    return (
        foreign(project.project_name),
        _state(project),
        read(count(runs.total), "mlflow"),
        read(count(runs.by_status.get("FAILED", 0), "warn"), "mlflow"),
        read(_last(runs.last), "mlflow"),
        foreign(", ".join(f"{best.metric} {number(best.value)}" for best in runs.best[:_METRICS_IN_ROW])),
        read(count(data.versions), "dvc"),
        read(count(data.unpushed, "warn"), "dvc"),
        read(count(project.models.models), "mlflow"),
        read(count(len(project.models.deployments)), "bentoml"),
        read(_drift(project.monitoring.last), "evidently"),
        read(count(len(project.monitoring.open_alerts), "bad"), "evidently"),
        _used(project.storage),
        foreign(project.description),
    )


def _last(run: RunFacts | None) -> Cell:
    return time(None) if run is None else time(run.started_at, run.status, _OUTCOMES.get(run.status, ""))


def _used(storage: StorageFacts) -> Cell:
    exceeded = {row.state for row in storage.quota} - {"ok"}
    return size(storage.total_bytes, "bad" if "hard" in exceeded else "warn" if exceeded else "")


def _state(project: ProjectReport) -> Cell:
    if not project.troubles:
        return Cell(project.state, tone="" if project.state == "ready" else "bad")
    told = ", ".join(f"{each.tool} {each.state}".strip() for each in project.troubles)
    return foreign(told, tone="bad")


def _drift(checks: Sequence[CheckFacts]) -> Cell:
    if not checks:
        return Cell("-", UNKNOWN)
    drifting = sum(check.drift_detected for check in checks)
    if not drifting:
        return Cell("none", 0, "ok")
    return Cell("drift" if len(checks) == 1 else f"{drifting} of {len(checks)} models", drifting, "bad")


def metrics(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for the best value of each metric."""

    def row(best: BestMetric) -> tuple[Cell, ...]:
        way, value = Cell(better(best.mode)), Cell(number(best.value), best.value)
        return foreign(best.metric), way, value, foreign(best.run_name), foreign(best.run_id)

    yield from map(row, project.runs.best)


def deployments(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each Bento, and for each version in production that has none."""
    packaged = set()
    for each in project.models.deployments:
        packaged.add((each.model, each.version))
        yield (
            foreign(each.model),
            foreign(each.version),
            Cell("production", tone="ok") if each.production else Cell("-"),
            foreign(each.tag),
            time(each.created_at),
            foreign(", ".join(each.urls)),
        )
    for model, version in sorted(project.models.production.items()):
        if (model, version) not in packaged:
            in_production = Cell("production", tone="ok")
            yield foreign(model), foreign(version), in_production, Cell("-"), time(None), Cell("-")


def checks(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for the latest check of each model."""
    for check in project.monitoring.last:
        performance = ", ".join(f"{name} {number(value)}" for name, value in check.performance.items())
        yield (
            foreign(check.model or ""),
            foreign(check.model_version or ""),
            time(check.checked_at),
            count(check.rows),
            Cell("drift", tone="bad") if check.drift_detected else Cell("none", tone="ok"),
            Cell(
                f"{check.n_drifted} of {check.n_compared}",
                UNKNOWN if check.drift_share is None else check.drift_share,
            ),
            share(check.missing_share),
            foreign(performance),
        )


def storage(project: ProjectReport) -> tuple[Cell, ...]:
    """Return the row of what each part of a project costs."""
    held = project.storage
    parts = (size(held.by_directory.get(directory, 0)) for directory in DIRECTORIES)
    return foreign(project.project_name), *parts, size(held.total_bytes)


def quotas(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each limit that is set."""
    for row in project.storage.quota:
        yield (
            foreign(row.scope),
            size(row.used_bytes),
            size(row.soft_bytes),
            size(row.hard_bytes),
            _LIMITS.get(row.state, Cell(row.state, tone="bad")),
        )


def pipelines(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each pipeline, with its last run that finished or failed."""
    ended = project.runs.last_ended_by_pipeline
    for name in sorted({*project.pipelines, *ended}):
        run = ended.get(name)
        last = (Cell("-"), Cell("-")) if run is None else (foreign(run.run_name), foreign(run.run_id))
        yield foreign(name), _last(run), *last


def schedules(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each schedule."""
    for each in project.schedules:
        yield (
            foreign(each.name),
            foreign(each.target),
            foreign(each.when),
            Cell("paused", UNKNOWN) if each.paused else time(each.next_at),
            time(each.last_at),
            foreign(each.last_status or ""),
        )


def gaps(project: ProjectReport) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each thing whose origin is not known."""
    for gap in project.gaps:
        yield foreign(gap.ref), Cell(gap.missing)
