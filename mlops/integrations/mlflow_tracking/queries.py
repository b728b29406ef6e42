"""Reading a project's runs: straight from SQLite where its schema is known, else through MLflow's public API.

Both give the same answers. Reading SQLite needs no import of MLflow and takes milliseconds, so a report over
many projects stays quick; the database is opened read-only.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from mlops.integrations.mlflow_tracking.run_query import RunQuery
from mlops.integrations.mlflow_tracking.run_record import (
    PARENT_TAG,
    PIPELINE_TAG,
    MetricPoint,
    dataset,
    moment,
    ordered,
    record,
    restored,
)
from mlops.integrations.mlflow_tracking.store import reading

# The alembic heads whose tables are read directly: MLflow 3.17.
KNOWN_SCHEMAS: Final = frozenset({"dc11669786a5"})
# The run of a single step of a pipeline, nested in the pipeline's.
STEP_TAG: Final = "mlops.step"
# The run that has what checks of a model found while no run was open.
MONITORING_TAG: Final = "mlops.monitoring"
# Runs that are part of something else, or of what this library does by itself.
PARTS: Final = (STEP_TAG, MONITORING_TAG)
_NO_PARTS: Final = f" AND r.run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key IN {PARTS})"  # noqa: S608
# SQLite's limit on bound values is 999 in old builds.
_CHUNK: Final = 500
# Each page costs a look at every run, and holds a few kilobytes of each that it has.
_PAGE: Final = 2000
# A key is the first value bound after the conditions'.
_SORTED_BY: Final = {
    "start_time": "r.start_time",
    "end_time": "NULLIF(r.end_time, 0)",
    "duration": "(NULLIF(r.end_time, 0) - r.start_time)",
    "run_name": "COALESCE(r.name, '')",
    "status": "r.status",
    "metrics": "(SELECT m.value FROM latest_metrics m"
    " WHERE m.run_uuid = r.run_uuid AND m.key = ? AND NOT m.is_nan)",
    "params": "(SELECT p.value FROM params p WHERE p.run_uuid = r.run_uuid AND p.key = ?)",
}
_PROMPT_TAG: Final = "mlflow.prompt.is_prompt"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A registered model version.

    Args:
        name: The registered name.
        version: The version, as text.
        run_id: The run that made it, or None.
        source: Where MLflow says it came from.
        created_at: When it was registered, aware.
        tags: Its tags.
        aliases: The aliases that point to it, sorted.
    """

    name: str
    version: str
    run_id: str | None
    source: str
    created_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


class Reader(Protocol):
    """What the adapter asks; every answer counts all runs, never a first page."""

    def runs(self, query: RunQuery) -> list[dict[str, Any]]:
        """Return runs as plain values, in the order asked for."""

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return one run, or None if the project has none of that id."""

    def each_run(self) -> Iterator[dict[str, Any]]:
        """Yield every run, newest first, without holding more than a page of them."""

    def counts(self, *, steps: bool = True) -> dict[str, int]:
        """Return the number of runs by status, for the statuses that occur; of ``PARTS`` too, or not."""

    def measured(self) -> int:
        """Return the number of runs that have a metric."""

    def history(self, run_id: str, metric: str) -> Iterator[MetricPoint]:
        """Yield every value a metric of a run had, by step and time; none for a run that is not there."""

    def datasets(self, run_id: str | None) -> list[tuple[str, dict[str, Any]]]:
        """Return the run id and the dataset of each use, of one run or of all."""

    def tags(self, *prefixes: str) -> list[tuple[str, str, str]]:
        """Return run, key and value of every tag whose key starts with one of the prefixes, in that order."""

    def experiments(self) -> int:
        """Return the number of experiments."""

    def models(self) -> list[str]:
        """Return the registered models' names."""

    def versions(self) -> list[ModelRow]:
        """Return the registered model versions."""


def known_schema(path: Path) -> bool:
    """Say whether a database's tables are those this module reads.

    Raises:
        sqlite3.Error: The file is not a database, or has no MLflow tables.
    """
    with reading(path) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row is not None and row[0] in KNOWN_SCHEMAS


class SqliteReader:
    """Reads an MLflow database file directly.

    Args:
        path: The file.
        experiment: Only this experiment's name and only models with ``prefix``; None for the whole file.
        prefix: The project's registered model prefix.
    """

    def __init__(self, path: Path, *, experiment: str | None = None, prefix: str = "") -> None:
        self._path = path
        self._experiment = experiment
        self._prefix = prefix

    def runs(self, query: RunQuery) -> list[dict[str, Any]]:
        """Return runs as plain values, in the order asked for."""
        conditions, values = self._scope()
        for tag, value in ((PIPELINE_TAG, query.pipeline), (PARENT_TAG, query.parent)):
            if value is not None:
                conditions += " AND r.run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)"
                values += [tag, value]
        if query.status is not None:
            conditions += " AND r.status = ?"
            values.append(query.status)
        if not query.steps:
            conditions += _NO_PARTS
        if query.key is not None:
            values.append(query.key)
        values += [-1 if query.limit is None else query.limit, query.offset]
        order = f"{_SORTED_BY[query.field]} {'DESC' if query.descending else 'ASC'} NULLS LAST"
        order += ", r.start_time DESC, r.run_uuid LIMIT ? OFFSET ?"
        return self._select(f"{conditions} ORDER BY {order}", values)

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return one run, or None if the project has none of that id."""
        conditions, values = self._scope()
        found = self._select(f"{conditions} AND r.run_uuid = ?", [*values, run_id])
        return found[0] if found else None

    def each_run(self) -> Iterator[dict[str, Any]]:
        """Yield every run, newest first, without holding more than a page of them."""
        conditions, values = self._scope()
        behind: list[Any] = []
        after = ""
        while True:
            page = self._select(
                f"{conditions}{after} ORDER BY COALESCE(r.start_time, 0) DESC, r.run_uuid LIMIT ?",
                [*values, *behind, _PAGE],
            )
            yield from page
            if len(page) < _PAGE:
                return
            # A page starts behind the last run, so none is missed or told twice when others come or go.
            after = " AND (-COALESCE(r.start_time, 0), r.run_uuid) > (-?, ?)"
            start = page[-1]["start_time"]
            behind = [round(start.timestamp() * 1000) if start else 0, page[-1]["run_id"]]

    def counts(self, *, steps: bool = True) -> dict[str, int]:
        """Return the number of runs by status, for the statuses that occur; of ``PARTS`` too, or not."""
        conditions, values = self._scope()
        with reading(self._path) as connection:
            rows = connection.execute(
                f"SELECT r.status, count(*) {conditions}{'' if steps else _NO_PARTS} GROUP BY r.status",
                values,
            ).fetchall()
        return ordered({str(status): int(count) for status, count in rows})

    def measured(self) -> int:
        """Return the number of runs that have a metric."""
        conditions, values = self._scope()
        with reading(self._path) as connection:
            (count,) = connection.execute(
                f"SELECT count(*) {conditions}"  # noqa: S608
                " AND EXISTS (SELECT 1 FROM latest_metrics m WHERE m.run_uuid = r.run_uuid)",
                values,
            ).fetchone()
        return int(count)

    def history(self, run_id: str, metric: str) -> Iterator[MetricPoint]:
        """Yield every value a metric of a run had, by step and time; none for a run that is not there."""
        conditions, values = self._scope()
        with reading(self._path) as connection:
            rows = connection.execute(
                "SELECT m.step, m.timestamp, m.value, m.is_nan FROM metrics m"  # noqa: S608
                f" WHERE m.run_uuid = ? AND m.key = ? AND EXISTS (SELECT 1 {conditions}"
                " AND r.run_uuid = ?) ORDER BY m.step, m.timestamp, m.value",
                [run_id, metric, *values, run_id],
            )
            for step, at, value, undefined in rows:
                yield MetricPoint(step, at, math.nan if undefined else restored(float(value)))

    def datasets(self, run_id: str | None) -> list[tuple[str, dict[str, Any]]]:
        """Return the run id and the dataset of each use, of one run or of all."""
        conditions, values = self._scope()
        if run_id is not None:
            conditions, values = f"{conditions} AND r.run_uuid = ?", [*values, run_id]
        with reading(self._path) as connection:
            rows = connection.execute(
                "SELECT i.input_uuid, i.destination_id, d.name, d.digest, d.dataset_source_type,"  # noqa: S608
                " d.dataset_source FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"
                " WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN'"
                f" AND i.destination_id IN (SELECT r.run_uuid {conditions})"
                " ORDER BY i.destination_id, d.name, d.digest",
                values,
            ).fetchall()
            tags = _grouped(
                connection,
                "SELECT input_uuid, name, value FROM input_tags WHERE input_uuid",
                [r[0] for r in rows],
            )
        return [
            (run, dataset(name, digest, kind, source, dict(tags.get(use, ()))))
            for use, run, name, digest, kind, source in rows
        ]

    def tags(self, *prefixes: str) -> list[tuple[str, str, str]]:
        """Return run, key and value of every tag whose key starts with one of the prefixes, in that order."""
        conditions, values = self._scope()
        keys = " OR ".join(["substr(t.key, 1, length(?)) = ?"] * len(prefixes))
        with reading(self._path) as connection:
            rows = connection.execute(
                f"SELECT t.run_uuid, t.key, t.value FROM tags t WHERE ({keys})"  # noqa: S608
                f" AND t.run_uuid IN (SELECT r.run_uuid {conditions}) ORDER BY t.run_uuid, t.key",
                [*(each for prefix in prefixes for each in (prefix, prefix)), *values],
            ).fetchall()
        return [(str(run), str(key), str(value)) for run, key, value in rows]

    def experiments(self) -> int:
        """Return the number of experiments."""
        condition = "" if self._experiment is None else " AND name = ?"
        values = [] if self._experiment is None else [self._experiment]
        with reading(self._path) as connection:
            (count,) = connection.execute(
                f"SELECT count(*) FROM experiments WHERE lifecycle_stage = 'active'{condition}",  # noqa: S608
                values,
            ).fetchone()
        return int(count)

    def models(self) -> list[str]:
        """Return the registered models' names."""
        with reading(self._path) as connection:
            rows = connection.execute(
                "SELECT name FROM registered_models WHERE substr(name, 1, length(:prefix)) = :prefix"
                " AND name NOT IN (SELECT name FROM registered_model_tags"
                " WHERE key = :prompt AND lower(value) = 'true') ORDER BY name",
                {"prefix": self._prefix, "prompt": _PROMPT_TAG},
            ).fetchall()
        return [str(name) for (name,) in rows]

    def versions(self) -> list[ModelRow]:
        """Return the registered model versions."""
        names = set(self.models())
        tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        aliases: dict[tuple[str, int], list[str]] = defaultdict(list)
        with reading(self._path) as connection:
            rows = connection.execute(
                "SELECT name, version, run_id, source, creation_time FROM model_versions"
                " WHERE current_stage <> 'Deleted_Internal' ORDER BY name, version"
            ).fetchall()
            for name, version, key, value in connection.execute(
                "SELECT name, version, key, value FROM model_version_tags ORDER BY key"
            ):
                tags[name, version][str(key)] = str(value)
            for name, version, alias in connection.execute(
                "SELECT name, version, alias FROM registered_model_aliases ORDER BY alias"
            ):
                aliases[name, int(version)].append(str(alias))
        return [
            ModelRow(
                str(name),
                str(version),
                run_id or None,
                str(source or ""),
                moment(created),
                tags.get((name, version), {}),
                tuple(aliases.get((name, version), ())),
            )
            for name, version, run_id, source, created in rows
            if name in names
        ]

    def _scope(self) -> tuple[str, list[Any]]:
        conditions = (
            "FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"
            " WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'"
        )
        if self._experiment is None:
            return conditions, []
        return f"{conditions} AND e.name = ?", [self._experiment]

    def _select(self, conditions: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        with reading(self._path) as connection:
            # One transaction, so that a run and its metrics are of the same moment.
            connection.execute("BEGIN")
            rows = connection.execute(
                f"SELECT r.run_uuid, r.name, r.status, r.start_time, r.end_time {conditions}",
                values,
            ).fetchall()
            ids = [row[0] for row in rows]
            params = _grouped(connection, "SELECT run_uuid, key, value FROM params WHERE run_uuid", ids)
            tags = _grouped(connection, "SELECT run_uuid, key, value FROM tags WHERE run_uuid", ids)
            metrics = _grouped(
                connection,
                "SELECT run_uuid, key, CASE WHEN is_nan THEN 'nan' ELSE value END"
                " FROM latest_metrics WHERE run_uuid",
                ids,
            )
        return [
            record(
                run_id,
                name,
                status,
                start,
                end,
                params=dict(params.get(run_id, ())),
                metrics={key: float(value) for key, value in metrics.get(run_id, ())},
                tags=dict(tags.get(run_id, ())),
            )
            for run_id, name, status, start, end in rows
        ]


def _grouped(
    connection: sqlite3.Connection, query: str, keys: Sequence[str]
) -> dict[str, list[tuple[str, Any]]]:
    groups: dict[str, list[tuple[str, Any]]] = {}
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        for owner, key, value in connection.execute(f"{query} IN ({marks})", chunk):
            groups.setdefault(owner, []).append((key, value))
    return groups
