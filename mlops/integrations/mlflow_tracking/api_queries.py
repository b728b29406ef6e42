"""Reading a project's runs through MLflow's public API, for servers and for schemas not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from mlops.integrations.mlflow_tracking.queries import PARTS, ModelRow
from mlops.integrations.mlflow_tracking.run_query import RunQuery, in_order
from mlops.integrations.mlflow_tracking.run_record import (
    PARENT_TAG,
    PIPELINE_TAG,
    MetricPoint,
    dataset,
    ordered,
    record,
    restored,
)

# What every kind of MLflow search accepts in one page.
_PAGE: Final = 1000


class ApiReader:
    """Reads through MLflow's public API.

    Args:
        client: An ``MlflowClient``.
        experiment_id: The project's experiment; None for every experiment of the store.
        prefix: The project's registered model prefix.
    """

    def __init__(self, client: Any, *, experiment_id: str | None, prefix: str = "") -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._prefix = prefix

    def runs(self, query: RunQuery) -> list[dict[str, Any]]:
        """Return runs as plain values, in the order asked for."""
        conditions = []
        # A value with both kinds of quotes cannot be written in MLflow's filter language.
        if query.pipeline is not None and '"' not in query.pipeline:
            conditions.append(f'tags."{PIPELINE_TAG}" = "{query.pipeline}"')
        if query.parent is not None:
            conditions.append(f"tags.`{PARENT_TAG}` = '{query.parent}'")
        if query.status is not None:
            conditions.append(f"attributes.status = '{query.status}'")
        end = None if query.limit is None else query.offset + query.limit
        # MLflow sorts missing values and names differently; anything but the plain order is sorted here.
        enough = end if query.by_start else None
        found: list[dict[str, Any]] = []
        if query.limit == 0:
            return found
        for run in self._search(
            " AND ".join(conditions), page=_PAGE if enough is None else min(enough, _PAGE)
        ):
            entry = _from_entity(run)
            if query.pipeline not in (None, entry["pipeline_name"]):
                continue
            if query.steps or not entry["tags"].keys() & PARTS:
                found.append(entry)
            if enough is not None and len(found) >= enough:
                break
        return (found if query.by_start else in_order(query)(found))[query.offset : end]

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return one run, or None if the project has none of that id."""
        found = self._get(run_id)
        return None if found is None else _from_entity(found)

    def each_run(self) -> Iterator[dict[str, Any]]:
        """Yield every run, newest first, without holding more than a page of them."""
        return map(_from_entity, self._search("", page=_PAGE))

    def counts(self, *, steps: bool = True) -> dict[str, int]:
        """Return the number of runs by status, for the statuses that occur; of ``PARTS`` too, or not."""
        counts: dict[str, int] = {}
        for run in self._search("", page=_PAGE):
            if not steps and run.data.tags.keys() & PARTS:
                continue
            counts[run.info.status] = counts.get(run.info.status, 0) + 1
        return ordered(counts)

    def measured(self) -> int:
        """Return the number of runs that have a metric."""
        return sum(bool(run.data.metrics) for run in self._search("", page=_PAGE))

    def history(self, run_id: str, metric: str) -> Iterator[MetricPoint]:
        """Yield every value a metric of a run had, by step and time; none for a run that is not there."""
        if self._get(run_id) is None:
            return
        points = [
            MetricPoint(point.step, point.timestamp, restored(float(point.value)))
            for point in self._client.get_metric_history(run_id, metric)
        ]
        yield from sorted(points)

    def datasets(self, run_id: str | None) -> list[tuple[str, dict[str, Any]]]:
        """Return the run id and the dataset of each use, of one run or of all."""
        if run_id is None:
            runs = list(self._search("", page=_PAGE))
        else:
            found = self._get(run_id)
            runs = [] if found is None else [found]
        uses = [
            (run.info.run_id, use.dataset, {tag.key: tag.value for tag in use.tags})
            for run in runs
            for use in (run.inputs.dataset_inputs if run.inputs else ())
        ]
        uses.sort(key=lambda use: (use[0], use[1].name, use[1].digest))
        return [(run, dataset(d.name, d.digest, d.source_type, d.source, tags)) for run, d, tags in uses]

    def tags(self, *prefixes: str) -> list[tuple[str, str, str]]:
        """Return run, key and value of every tag whose key starts with one of the prefixes, in that order."""
        return sorted(
            (str(run.info.run_id), str(key), str(value))
            for run in self._search("", page=_PAGE)
            for key, value in run.data.tags.items()
            if key.startswith(prefixes)
        )

    def experiments(self) -> int:
        """Return the number of experiments."""
        return len(self._experiments())

    def models(self) -> list[str]:
        """Return the registered models' names."""
        condition = f"name LIKE '{self._prefix}%'" if self._prefix else None
        client = self._client
        found = _pages(
            lambda token: client.search_registered_models(
                filter_string=condition, max_results=_PAGE, page_token=token
            )
        )
        # `_` in the prefix is a wildcard to LIKE.
        return sorted(model.name for model in found if model.name.startswith(self._prefix))

    def versions(self) -> list[ModelRow]:
        """Return the registered model versions."""
        client = self._client
        found: list[ModelRow] = []
        for name in self.models():
            # A search leaves the aliases out.
            aliases = client.get_registered_model(name).aliases
            found += [
                _model_row(version, aliases)
                for version in _pages(
                    lambda token, name=name: client.search_model_versions(  # type: ignore[misc]
                        filter_string=f"name = '{name}'", max_results=_PAGE, page_token=token
                    )
                )
            ]
        return sorted(found, key=lambda row: (row.name, int(row.version)))

    def _experiments(self) -> list[str]:
        if self._experiment_id is not None:
            return [self._experiment_id]
        client = self._client
        pages = _pages(lambda token: client.search_experiments(max_results=_PAGE, page_token=token))
        return [str(experiment.experiment_id) for experiment in pages]

    def _search(self, condition: str, *, page: int) -> Iterator[Any]:
        experiments = self._experiments()
        return _pages(
            lambda token: self._client.search_runs(
                experiments, filter_string=condition, max_results=page, page_token=token
            )
        )

    def _get(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        outside = self._experiment_id is not None and found.info.experiment_id != self._experiment_id
        return None if outside or found.info.lifecycle_stage != "active" else found


def _from_entity(run: Any) -> dict[str, Any]:
    info, data = run.info, run.data
    return record(
        info.run_id,
        info.run_name,
        info.status,
        info.start_time,
        info.end_time,
        params=dict(data.params),
        metrics=dict(data.metrics),
        tags=dict(data.tags),
    )


def _model_row(version: Any, aliases: Mapping[str, Any]) -> ModelRow:
    created = version.creation_timestamp
    return ModelRow(
        str(version.name),
        str(version.version),
        version.run_id or None,
        str(version.source or ""),
        datetime.fromtimestamp(created / 1000, UTC) if created else None,
        {str(key): str(value) for key, value in sorted(version.tags.items())},
        tuple(sorted(alias for alias, of in aliases.items() if str(of) == str(version.version))),
    )


def _pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token
        if not token:
            return
