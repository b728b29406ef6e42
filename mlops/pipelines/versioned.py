"""A pipeline that is made first and brought into a project by assignment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import PipelineError
from mlops.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking


class VersionedPipeline(Pipeline):
    """A ``Pipeline`` whose project can be assigned after it was made.

    >>> versioned = VersionedPipeline("training")
    >>> versioned.version = "v1.0.0"
    >>> versioned.metadata_store = project.metadata_store  # doctest: +SKIP

    Everything it can do with versions, every pipeline can.
    """

    _runs_dir: Path | None = None

    @property
    def metadata_store(self) -> MLflowTracking | None:
        """Where runs and versions are recorded, which decides the project: ``project.metadata_store``."""
        return self.tracking

    @metadata_store.setter
    def metadata_store(self, store: MLflowTracking) -> None:
        from mlops.integrations.mlflow_tracking import MLflowTracking

        if not isinstance(store, MLflowTracking):
            raise self._error(
                f"cannot be recorded in {store!r}",
                "metadata_store",
                "assign a project's: pipeline.metadata_store = project.metadata_store",
            )
        self._refuse_other_project(store, self._runs_dir)
        self.tracking = store

    @property
    def runs_dir(self) -> Path | None:
        """The directory of the project's runs; it follows from ``metadata_store``."""
        return self._runs_dir if self.tracking is None else self.tracking.context.workspace.mlflow_path

    @runs_dir.setter
    def runs_dir(self, path: Path | str) -> None:
        self._refuse_other_project(self.tracking, Path(path))
        self._runs_dir = Path(path)

    def _refuse_other_project(self, store: MLflowTracking | None, runs_dir: Path | None) -> None:
        if store is None or runs_dir is None:
            return
        own = store.context.workspace.mlflow_path
        if runs_dir.absolute() != own:
            raise PipelineError(
                f"The pipeline {self.name!r} cannot have its runs in {runs_dir}:"
                f" those of {store.project!r} are in {own}",
                operation="runs_dir",
                workspace=store.project,
                hint="assign runs_dir and metadata_store of the same project",
            )
