"""What a project holds in MLflow: its runs, datasets and models, listed and counted; nothing is created."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from typing import Any, ClassVar, Final

from mlops.errors import DataNotFoundError, IntegrationError
from mlops.files import Usage, measure
from mlops.integrations.mlflow_tracking import lineage, metrics, queries, run_query, server, store
from mlops.integrations.mlflow_tracking.comparison import RunComparison, compare
from mlops.integrations.mlflow_tracking.connection import StoreConnection
from mlops.integrations.mlflow_tracking.run_record import MetricPoint
from mlops.workspace.tools import Link, ToolHealth, ToolState, installed_version

# More than the models of a project: each may have one run that monitoring made.
_CANDIDATES: Final = 100
_LAST_RUN_TEXTS: Final = ("run_id", "run_name", "pipeline_name", "status")
_LAST_RUN_TIMES: Final = ("start_time", "end_time")


class StoreInspection(StoreConnection):
    """The reading half of the adapter."""

    tool: ClassVar[str] = store.TOOL

    def list_runs(
        self,
        *,
        pipeline_name: str | None = None,
        status: str | None = None,
        order_by: str | None = None,
        limit: int | None = 100,
        steps: bool = True,
        offset: int = 0,
        parent: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the project's runs, newest first.

        Args:
            pipeline_name: Only runs of this pipeline.
            status: Only runs that are ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
            order_by: ``metrics.NAME``, ``params.NAME``, ``start_time``, ``end_time``, ``duration``,
                ``run_name`` or ``status``, with ``ASC`` (the default) or ``DESC`` behind it. Runs that lack
                the value come last.
            limit: At most so many; None for all.
            steps: Whether the runs of single steps of pipelines, and those that monitoring made, are among
                them.
            offset: Leave out so many of the first, to read page by page.
            parent: Only the runs nested in this one, such as the steps of a pipeline's run.

        Returns:
            Dictionaries with ``run_id``, ``run_name``, ``pipeline_name`` (or None), ``status``,
            ``start_time`` and ``end_time`` (aware), ``duration`` (seconds, or None while it runs),
            ``params``, ``metrics`` (the latest values) and ``tags``.

        Raises:
            IntegrationError: An argument is not one of these.
        """
        query = run_query.parse(
            pipeline=pipeline_name,
            status=status,
            order_by=order_by,
            limit=limit,
            workspace=self.project,
            operation="list_runs",
            steps=steps,
            offset=offset,
            parent=parent,
        )
        with self._reading("list_runs") as reader:
            return [] if reader is None else reader.runs(query)

    def each_run(self) -> Iterator[dict[str, Any]]:
        """Yield every run as ``list_runs`` gives it, newest first, holding no more than a page of them."""
        with self._reading("each_run") as reader:
            if reader is not None:
                yield from reader.each_run()

    def metric_history(self, run_id: str, metric: str) -> Iterator[MetricPoint]:
        """Yield every value that a metric of a run had, by step and then by time.

        Args:
            run_id: The run; one that the project does not have has no values.
            metric: The metric's name.
        """
        with self._reading("metric_history") as reader:
            if reader is not None:
                yield from reader.history(run_id, metric)

    def measured_runs(self) -> int:
        """Return how many runs have a metric."""
        with self._reading("measured_runs") as reader:
            return 0 if reader is None else reader.measured()

    def best_run(self, metric: str, mode: str = "max", *, pipeline_name: str | None = None) -> dict[str, Any]:
        """Return the finished run with the best latest value of a metric.

        Args:
            metric: The metric's name.
            mode: ``max`` or ``min``.
            pipeline_name: Only runs of this pipeline.

        Raises:
            DataNotFoundError: No finished run has a number there.
            IntegrationError: The mode is neither.
        """
        if mode not in ("max", "min"):
            raise IntegrationError(
                f"mode must be 'max' or 'min', not {mode!r}",
                tool=self.tool,
                operation="best_run",
                workspace=self.project,
                hint="pass mode='min' for a loss",
            )
        way = "DESC" if mode == "max" else "ASC"
        best = self.list_runs(
            pipeline_name=pipeline_name,
            status="FINISHED",
            order_by=f"metrics.{metric} {way}",
            limit=_CANDIDATES,
        )
        # What a check measured on a batch is no result of training.
        best = [run for run in best if queries.MONITORING_TAG not in run["tags"]]
        if not best or math.isnan(best[0]["metrics"].get(metric, math.nan)):
            known = sorted({name for run in self.list_runs(limit=100) for name in run["metrics"]})
            raise DataNotFoundError(
                f"No finished run of {self.project!r} has the metric {metric!r}",
                tool=self.tool,
                operation="best_run",
                workspace=self.project,
                hint=f"recent runs have: {', '.join(known) or 'no metrics'}",
            )
        return best[0]

    def compare_runs(self, *run_ids: str) -> RunComparison:
        """Put runs side by side: parameters, latest metrics and data versions.

        Args:
            *run_ids: Two or more runs of this project.

        Raises:
            DataNotFoundError: The project has no such run.
            IntegrationError: Fewer than two are named.
        """
        if len(run_ids) < 2:
            raise IntegrationError(
                f"compare_runs needs at least two runs, not {len(run_ids)}",
                tool=self.tool,
                operation="compare_runs",
                workspace=self.project,
                hint="call compare_runs(first_run_id, second_run_id)",
            )
        runs = [self.get_run(run_id) for run_id in run_ids]
        return compare(runs, [self.datasets(run_id) for run_id in run_ids])

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Return one run of the project, as in ``list_runs``.

        Raises:
            DataNotFoundError: The project has no such run.
        """
        with self._reading("get_run") as reader:
            found = None if reader is None else reader.run(run_id)
        if found is None:
            raise self._no_run(run_id, "get_run")
        return found

    def count_runs(self) -> dict[str, int]:
        """Return the number of runs by status, for the statuses that occur; exact, never capped."""
        with self._reading("count_runs") as reader:
            return {} if reader is None else reader.counts()

    def datasets(self, run_id: str) -> list[dict[str, Any]]:
        """Return the datasets a run used.

        Returns:
            Dictionaries with ``name``, ``digest``, ``source`` (a dictionary), ``source_type``, ``context``
            and ``tags``; empty for a run that recorded none or that the project does not have.
        """
        with self._reading("datasets") as reader:
            return [] if reader is None else [use for _, use in reader.datasets(run_id)]

    def health(self) -> ToolHealth:
        """Say whether runs can be logged now; nothing is created, and a dead server costs seconds at most."""
        version = installed_version(store.TOOL)
        location = server.redact(self.uri)
        if version is None:
            error = "the package 'mlflow' is not installed"
            return ToolHealth(self.tool, ToolState.NOT_INSTALLED, location, error=error)
        if not self.embedded:
            problem = server.probe(self.uri)
        elif not self.database.exists():
            return ToolHealth(self.tool, ToolState.NOT_CREATED, location, version)
        else:
            problem = self._database_problem()
        state = ToolState.UNAVAILABLE if problem else ToolState.READY
        return ToolHealth(self.tool, state, location, version, server.redact(problem) if problem else None)

    def summary(self) -> dict[str, Any]:
        """Return what the project holds.

        Returns:
            Exact counts: ``runs`` and ``runs_by_status`` (a run of a pipeline is one, without its steps'),
            ``experiments``, ``models``, ``model_versions``, ``artifacts`` (``files`` and ``bytes`` that the
            workspace keeps); and ``last_run`` or None.
        """
        artifacts = measure(self.artifact_root)
        with self._reading("summary") as reader:
            counts = {} if reader is None else reader.counts(steps=False)
            last = [] if reader is None else reader.runs(run_query.RunQuery(limit=1, steps=False))
            return {
                "runs": sum(counts.values()),
                "runs_by_status": counts,
                "experiments": 0 if reader is None else reader.experiments(),
                "models": 0 if reader is None else len(reader.models()),
                "model_versions": 0 if reader is None else len(reader.versions()),
                "last_run": _plain(last[0]) if last else None,
                "artifacts": {"files": artifacts.files, "bytes": artifacts.bytes},
            }

    def usage(self) -> Usage:
        """Return what the store costs in the workspace; what a server keeps is not counted."""
        return measure(self._context.workspace.mlflow_path)

    def links(self) -> Iterator[Link]:
        """Yield data and code to run, run to model and snapshot, and copies between projects."""
        with self._reading("links") as reader:
            return iter(() if reader is None else [*lineage.all_links(reader)])

    def model_versions(self) -> list[queries.ModelRow]:
        """Return the registered model versions with their tags and aliases, by name and version.

        A project's own store is read without importing MLflow.
        """
        with self._reading("model_versions") as reader:
            return [] if reader is None else reader.versions()

    def flush_store(self, operation: str) -> None:
        """Write what this process still buffers for the store, whichever adapter logged it.

        Args:
            operation: The calling method, for errors.

        Raises:
            IntegrationError: It could not be written; it is kept and tried again.
        """
        if waiting := metrics.waiting(self.uri):
            with self.translated(operation):
                for buffer in waiting:
                    buffer.flush()

    @contextlib.contextmanager
    def _reading(self, operation: str) -> Iterator[queries.Reader | None]:
        """Yield a reader of the project's store, or None where there is nothing yet."""
        self.flush_store(operation)
        local = self.database if self.embedded else server.sqlite_file(self.uri)
        if local is not None:
            if not local.exists():
                yield None
                return
            experiment = None if self.embedded else self.experiment_name
            prefix = "" if self.embedded else self.model_prefix
            try:
                if queries.known_schema(local):
                    yield queries.SqliteReader(local, experiment=experiment, prefix=prefix)
                    return
            except sqlite3.Error as error:
                raise store.unreadable(local, error, operation=operation, workspace=self.project) from error
        with self.translated(operation):
            yield self._api_reader(operation)

    def _api_reader(self, operation: str) -> queries.Reader | None:
        from mlops.integrations.mlflow_tracking.api_queries import ApiReader

        client = self.client(operation=operation)
        if self.embedded:
            return ApiReader(client, experiment_id=None)
        found = client.get_experiment_by_name(self.experiment_name)
        if found is None or found.lifecycle_stage != "active":
            return None
        return ApiReader(client, experiment_id=str(found.experiment_id), prefix=self.model_prefix)

    def _database_problem(self) -> str | None:
        try:
            if queries.known_schema(self.database):
                queries.SqliteReader(self.database).experiments()
        except sqlite3.Error as error:
            return f"the database {self.database} cannot be read: {error}"
        return None


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    values = {name: run[name] for name in _LAST_RUN_TEXTS}
    for name in _LAST_RUN_TIMES:
        values[name] = run[name].isoformat() if run[name] else None
    return values | {"duration": run["duration"]}
