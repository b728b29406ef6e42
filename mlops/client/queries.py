"""Verbs that ask: what the project holds, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.client import inventory, metadata_export, usage
from mlops.client.session import ProjectSession
from mlops.integrations.mlflow_tracking import comparison
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    import pandas as pd

    from mlops.client.reclaimable import ReclaimableSpace
    from mlops.integrations.mlflow_tracking.comparison import RunComparison


class QueryVerbs(ProjectSession):
    """What reports; none of these creates anything."""

    def get_status(self) -> dict[str, Any]:
        """Return the project's configuration and, for each tool, its state and what it holds.

        A tool's state is ``ready``, ``not-created``, ``not-installed`` or ``unavailable``, the last two with
        the reason in ``error``; a tool in trouble never hides the others.
        """
        status: dict[str, Any] = {
            "project_name": self.project_name,
            "workspace_path": str(self.workspace_path),
            "workspace": ProjectWorkspace.load_metadata(
                self.workspace_path, project_name=self.project_name
            ).to_dict(),
        }
        for tool in tools.registered():
            status[tool] = inventory.tool_status(self._context, tool, adapter=self._adapters.get(tool))
        return status

    def list_runs(
        self,
        pipeline_name: str | None = None,
        limit: int | None = 100,
        *,
        status: str | None = None,
        order_by: str | None = None,
        steps: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the project's runs, newest first.

        Args:
            pipeline_name: Only the runs of this pipeline.
            limit: At most so many; None for all.
            status: Only runs that are ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
            order_by: ``metrics.NAME DESC`` and the like; see ``MLflowTracking.list_runs``.
            steps: List the runs of single steps of pipelines too, which are nested in the pipelines' runs.
        """
        return self.tracking.list_runs(
            pipeline_name=pipeline_name, status=status, order_by=order_by, limit=limit, steps=steps
        )

    def runs_frame(self, **query: Any) -> pd.DataFrame:
        """Return runs as a data frame, with columns such as ``params.depth`` and ``metrics.loss``.

        Args:
            **query: As for ``list_runs``.
        """
        return comparison.to_frame(self.list_runs(**query))

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Return one run, as in ``list_runs``.

        Raises:
            DataNotFoundError: The project has no such run.
        """
        return self.tracking.get_run(run_id)

    def best_run(self, metric: str, mode: str = "max", *, pipeline_name: str | None = None) -> dict[str, Any]:
        """Return the finished run with the best latest value of a metric.

        Args:
            metric: The metric's name.
            mode: ``max`` or ``min``.
            pipeline_name: Only the runs of this pipeline.

        Raises:
            DataNotFoundError: No finished run has a number there.
        """
        return self.tracking.best_run(metric, mode, pipeline_name=pipeline_name)

    def compare_runs(self, *run_ids: str) -> RunComparison:
        """Put runs side by side: parameters, metrics and data versions, and in ``changed`` what differs.

        Args:
            *run_ids: Two or more runs.

        Raises:
            DataNotFoundError: The project has no such run.
        """
        return self.tracking.compare_runs(*run_ids)

    def get_artifacts(
        self, artifact_type: str | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Return what the project produced, newest first.

        Args:
            artifact_type: ``model`` (a registered version), ``data`` (a data version), ``metrics`` (the
                latest values of a run, or what ``Project.log_model_metrics`` recorded), ``report`` (a
                monitoring check) or ``file`` (a file that a run stored). What the steps of pipelines returned
                is among them by what it is, and is found by its Python type too, such as ``DataFrame``.
            limit: At most so many; None for all.

        Returns:
            Dictionaries with ``name``, ``type``, ``created_at`` (aware), ``run_id`` (or None) and ``uri``; a
            file has its ``bytes``, logged metrics have their values in ``metrics``, and what a step returned
            has its ``python_type`` and the name of the ``step``.

        Raises:
            ConfigError: The type is none of these and cannot be a Python type, or the limit is no whole
                number of at least 0.
        """
        return inventory.artifacts(self, artifact_type=artifact_type, limit=limit)

    def get_stats(self) -> dict[str, Any]:
        """Return exact counts: pipelines, runs by outcome, models, artifacts, data versions and checks.

        A run of a pipeline is one run, however many steps it has.
        """
        return inventory.statistics(self)

    def get_storage_usage(self) -> dict[str, Any]:
        """Return the bytes each tool's store costs, and ``total_bytes``; hard links are counted once.

        Where limits are set, ``quota`` has one dictionary for each: ``scope`` (``total``, or a directory such
        as ``dvc``), ``used_bytes``, ``soft_bytes``, ``hard_bytes`` and ``state`` (``ok``, ``soft`` or
        ``hard``: over that limit). ``quota_error`` says why limits cannot be understood.
        """
        return usage.storage(self.workspace)

    def get_reclaimable(self) -> ReclaimableSpace:
        """Return what clean-up would free in each tool, and the command or call that does it.

        That is data no version in use needs, deleted runs, artifacts of no run, Bento models that are neither
        in a Bento nor registered, snapshots beyond ``retention``, outputs of pipelines that no run names, and
        results kept for steps. Nothing is removed.
        """
        from mlops.client.reclaimable import reclaimable

        return reclaimable(self._context)

    def export_metadata(self, path: Path | str) -> Path:
        """Write everything known about the project, except the stored files themselves, as one JSON file.

        It holds every run, however many there are, and ``mlops.MetadataExport`` reads it back.

        Args:
            path: The file to write, whole or not at all; its directories are created.

        Returns:
            The file's absolute path.

        Raises:
            ConfigError: The path is a directory.
        """
        return metadata_export.write(self, Path(path))

    def get_workspace_path(self, subdir: str | None = None) -> Path:
        """Return the workspace's directory, or the path of something inside it.

        Raises:
            IsolationError: ``subdir`` leads out of the workspace.
        """
        return inventory.path_inside(self.workspace, subdir)
