"""What a project's MLflow store holds: straight from its SQLite file, else through MLflow's own API."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import names
from mlops.integrations.mlflow_tracking import queries, server, store
from mlops.integrations.mlflow_tracking.flushing import flusher
from mlops.integrations.mlflow_tracking.versions import COPIED_FROM, DATA
from mlops.reporting.facts import Gap, RunsFacts
from mlops.reporting.reading import days, runs, statements
from mlops.reporting.reading.runs import MetricRow, RunRow
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a tracking store holds.

    Args:
        runs: The runs.
        models: Number of registered models.
        versions: The registered versions: short name and version of each.
        production: Short name to the version in production.
        by_day: Day to the number of versions registered then.
        gaps: What is not known of versions.
    """

    runs: RunsFacts = field(default_factory=RunsFacts)
    models: int = 0
    versions: frozenset[tuple[str, str]] = frozenset()
    production: Mapping[str, str] = field(default_factory=dict)
    by_day: days.Days = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class _Version:
    name: str
    version: str
    created: int | None
    production: bool
    copied: bool
    run: bool
    data: bool
    commit: bool


def file_of(context: ToolContext) -> Path | None:
    """Return the SQLite file of a project's store; None if it is a server.

    Args:
        context: The project.
    """
    uri = context.settings.mlflow_tracking_uri
    return context.workspace.mlflow_path / store.DATABASE if uri is None else server.sqlite_file(uri)


def read_file(path: Path, context: ToolContext, *, modes: Mapping[str, str], first: date) -> Tracked | None:
    """Read a SQLite file; None if its tables are of an MLflow that is not known here.

    Every statement is on its own, so that a run that writes at the same time waits for none longer than for
    that one.

    Args:
        path: The file.
        context: The project.
        modes: What the project says of its metrics.
        first: The earliest day that is counted by day.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    uri, project = context.settings.mlflow_tracking_uri, context.workspace.project_name
    if flusher.busy and flusher.waiting(uri or store.database_uri(store.database_path(context.workspace))):
        _tracking(context).flush_store("collect")
    own_prefix = context.settings.bentoml_tag_prefix or names.default_tag_prefix(project)
    # A store of its own is all the project's; of a shared file one experiment is, and models with the prefix.
    experiment = None if uri is None else context.settings.mlflow_experiment_name or project
    prefix = "" if uri is None else own_prefix
    scope = (experiment, experiment)
    with store.reading(path) as connection:
        schema = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if schema is None or schema[0] not in queries.KNOWN_SCHEMAS:
            return None
        facts = runs.tally(connection.execute(statements.RUNS, scope), first=first)
        best = runs.best_of(connection.execute(statements.METRICS, scope), modes=modes)
        models = {name for (name,) in connection.execute(statements.MODELS, (prefix, prefix))}
        rows = connection.execute(statements.VERSIONS).fetchall() if models else []
    versions = [_Version(name, str(number), *rest) for name, number, *rest in rows if name in models]
    return _tracked(replace(facts, best=best), len(models), versions, prefix=own_prefix, first=first)


def read_server(context: ToolContext, *, modes: Mapping[str, str], first: date) -> Tracked:
    """Read a store through MLflow's API, which is imported for it.

    Args:
        context: The project.
        modes: What the project says of its metrics.
        first: The earliest day that is counted by day.

    Raises:
        IntegrationError: The server cannot be reached, or refuses.
    """
    tracking = _tracking(context)
    known: dict[str, tuple[bool, bool]] = {}
    measured: list[MetricRow] = []

    def counted() -> Iterator[RunRow]:
        for run in tracking.each_run():
            tags, started = run["tags"], _milliseconds(run["start_time"])
            known[run["run_id"]] = _origin(tags)
            if run["status"] == "FINISHED" and queries.MONITORING_TAG not in tags:
                measured.extend(
                    MetricRow(metric, value, run["run_id"], run["run_name"], started)
                    for metric, value in run["metrics"].items()
                    if not math.isnan(value)
                )
            if not tags.keys() & set(queries.PARTS):
                ended = _milliseconds(run["end_time"])
                yield RunRow(
                    run["run_id"], run["run_name"], run["status"], started, ended, run["pipeline_name"]
                )

    facts = runs.tally(counted(), first=first)
    best = runs.best_of(measured, modes=modes)
    versions = [_from_server(row, known, tracking) for row in tracking.model_versions()]
    models = int(tracking.summary()["models"])
    return _tracked(replace(facts, best=best), models, versions, prefix=tracking.model_prefix, first=first)


def _tracking(context: ToolContext) -> MLflowTracking:
    """Return the adapter, which most reports need of no project, and whose import is long."""
    from mlops.integrations.mlflow_tracking import MLflowTracking

    return MLflowTracking(context)


def _tracked(
    facts: RunsFacts, models: int, versions: Iterable[_Version], *, prefix: str, first: date
) -> Tracked:
    every = list(versions)
    short = [(each.name.removeprefix(prefix), each.version) for each in every]
    return Tracked(
        facts,
        models,
        frozenset(short),
        {name: version for (name, version), each in zip(short, every, strict=True) if each.production},
        days.counted_by_time(((each.created, "versions") for each in every), first=first),
        tuple(
            Gap(f"model:{each.name}:{each.version}", missing)
            for each in every
            if not each.copied
            for missing in ("run", "data", "commit")
            if not getattr(each, missing)
        ),
    )


def _from_server(
    row: queries.ModelRow, known: Mapping[str, tuple[bool, bool]], tracking: MLflowTracking
) -> _Version:
    data, commit = _origin(row.tags)
    if row.run_id is not None and row.run_id in known:
        of_run = known[row.run_id]
        data, commit = data or of_run[0], commit or of_run[1]
        # The uses of data sets are asked for only where nothing else tells.
        data = data or any(use["source_type"] == statements.DVC for use in tracking.datasets(row.run_id))
    return _Version(
        row.name,
        row.version,
        _milliseconds(row.created_at),
        production=statements.PRODUCTION in row.aliases,
        copied=COPIED_FROM in row.tags,
        run=row.run_id in known,
        data=data,
        commit=commit,
    )


def _origin(tags: Mapping[str, str]) -> tuple[bool, bool]:
    """Say whether tags name a data version, and whether a commit."""
    return any(key.startswith(DATA) for key in tags), any(key in tags for key in statements.COMMITS)


def _milliseconds(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
