"""What one project's tools hold, read once and only when asked for; a tool that fails is noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from mlops.errors import DataNotFoundError, MLOpsError
from mlops.integrations.bentoml_serving import BentoServing
from mlops.integrations.dvc_data import DVCData
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.workspace import links

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving.entries import StoreEntry
    from mlops.integrations.dvc_data import DataVersion
    from mlops.integrations.mlflow_tracking.queries import ModelRow
    from mlops.workspace.tools import ToolContext

_Value = TypeVar("_Value")


class ProjectRecords:
    """A project as lineage sees it; only reads.

    Args:
        context: The project.

    Attributes:
        errors: Tool to why it could not be read.
    """

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self.project = context.workspace.project_name
        self.errors: dict[str, str] = {}
        self.tracking = MLflowTracking(context)
        self.data = DVCData(context)
        self.serving = BentoServing(context)
        self.monitoring = EvidentlyMonitoring(context)
        self._runs: dict[str, dict[str, Any] | None] = {}

    @cached_property
    def collected(self) -> links.Collected:
        """The links of the tools and of the log."""
        found = links.collect(self.context)
        self.errors.update(found.errors)
        return found

    @cached_property
    def data_versions(self) -> Mapping[str, DataVersion]:
        """Every data version by md5; of equal ones the one added last."""
        return self._read("dvc", lambda: {each.md5: each for each in self.data.history()}, {})

    @cached_property
    def model_versions(self) -> Mapping[str, ModelRow]:
        """Every registered model version by ``<full name>:<version>``."""
        return self._read(
            "mlflow", lambda: {f"{r.name}:{r.version}": r for r in self.tracking.model_versions()}, {}
        )

    @cached_property
    def bento_models(self) -> Mapping[str, StoreEntry]:
        """Every Bento model by tag."""
        return self._read("bentoml", lambda: {each.tag: each for each in self.serving.models()}, {})

    @cached_property
    def bentos(self) -> Mapping[str, StoreEntry]:
        """Every Bento by tag."""
        return self._read("bentoml", lambda: {each.tag: each for each in self.serving.bentos()}, {})

    @cached_property
    def snapshots(self) -> Mapping[str, dict[str, Any]]:
        """Every check by the id of its snapshot, oldest first."""
        return self._read(
            "evidently", lambda: {c["snapshot_id"]: c for c in reversed(self.monitoring.history())}, {}
        )

    @cached_property
    def references(self) -> frozenset[str]:
        """The hashes of the reference data that is stored."""
        return self._read("evidently", lambda: frozenset(self.monitoring.reference_hashes()), frozenset())

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return a run, or None if the project has none of that id."""
        if run_id not in self._runs:
            self._runs[run_id] = self._read("mlflow", lambda: self._get_run(run_id), None)
        return self._runs[run_id]

    def run_ids(self) -> list[str]:
        """Return the ids of all runs."""
        return self._read("mlflow", lambda: [r["run_id"] for r in self.tracking.list_runs(limit=None)], [])

    def _get_run(self, run_id: str) -> dict[str, Any] | None:
        try:
            return self.tracking.get_run(run_id)
        except DataNotFoundError:
            return None

    def _read(self, tool: str, read: Callable[[], _Value], nothing: _Value) -> _Value:
        try:
            return read()
        except (MLOpsError, OSError) as error:
            # One broken tool must not hide what the others know; the answer carries the reason.
            self.errors[tool] = str(error)
            return nothing
