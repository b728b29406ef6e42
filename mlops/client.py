"""MLOpsClient: one project's everyday verbs, over the four tools."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from mlops import inventory, settings
from mlops.deployment import deploy
from mlops.errors import DataNotFoundError
from mlops.workspace import tools
from mlops.workspace.manager import WorkspaceManager
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import open_project

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import BentoServing, Deployment, Server
    from mlops.integrations.dvc_data import DataVersion, DVCData
    from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, MonitoringResult, ReferenceData
    from mlops.integrations.mlflow_tracking import MLflowTracking, Run
    from mlops.integrations.mlflow_tracking.models import ModelVersion


class MLOpsClient:
    """One project with its MLflow experiment, DVC remote, BentoML models and Evidently workspace.

    Opening a project is offline and imports none of the tools; each is loaded when it is first used.

    Args:
        project_name: The project, created on first use.
        repo_root: A repository; its base is ``mlops/workspace`` below it.
        base_path: The directory that holds the workspaces, instead of the one found from here.
        workspace_path: Exactly this directory for the workspace, instead of one below a base.
        workspace_manager: The manager to use instead of one made from the paths above.
        description: One line for people.
        **overrides: Settings that win over every other layer, such as ``mlflow_tracking_uri``; a workspace
            created by this call keeps them.

    Attributes:
        project_name: The project's name.
        workspace: Its workspace.
        settings: The settings in force for this client.
    """

    def __init__(
        self,
        project_name: str,
        *,
        repo_root: Path | str | None = None,
        base_path: Path | str | None = None,
        workspace_path: Path | str | None = None,
        workspace_manager: WorkspaceManager | None = None,
        description: str | None = None,
        **overrides: Any,
    ) -> None:
        self.manager = workspace_manager or WorkspaceManager(base_path, repo_root)
        self._context = open_project(
            self.manager,
            project_name,
            description=description,
            overrides=overrides,
            directory=Path(workspace_path) if workspace_path is not None else None,
        )
        self.workspace: ProjectWorkspace = self._context.workspace
        self.settings = self._context.settings
        self.project_name: str = self.workspace.project_name
        self._adapters: dict[str, tools.ToolAdapter] = {}
        self._adapters_lock = threading.Lock()

    @classmethod
    def from_project(
        cls,
        project_name: str | None = None,
        *,
        repo_root: Path | str | None = None,
        base_path: Path | str | None = None,
        description: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Open a project, creating its workspace on first use.

        Args:
            project_name: The project; by default the one the nearest pyproject.toml names.
            repo_root: A repository; its base is ``mlops/workspace`` below it.
            base_path: The directory that holds the workspaces.
            description: One line for people.
            **overrides: Settings that win over every other layer.

        Raises:
            InvalidProjectNameError: The name breaks the rule or collides with another project's.
            WorkspaceCorruptError: The workspace exists and cannot be read.
            ConfigError: No name was given and none is configured, or a setting is wrong.
        """
        name = settings.find_project_name() if project_name is None else project_name
        return cls(name, repo_root=repo_root, base_path=base_path, description=description, **overrides)

    def __repr__(self) -> str:
        return f"MLOpsClient({self.project_name!r}, workspace_path={str(self.workspace_path)!r})"

    @property
    def workspace_path(self) -> Path:
        """The workspace's directory."""
        return self.workspace.root_path

    @property
    def tracking(self) -> MLflowTracking:
        """MLflow: runs, metrics, artifacts and registered models."""
        return cast("MLflowTracking", self.adapter("mlflow"))

    @property
    def data(self) -> DVCData:
        """DVC: versions of files and directories."""
        return cast("DVCData", self.adapter("dvc"))

    @property
    def serving(self) -> BentoServing:
        """BentoML: packaged models and running services."""
        return cast("BentoServing", self.adapter("bentoml"))

    @property
    def monitoring(self) -> EvidentlyMonitoring:
        """Evidently: reference data, drift and performance checks."""
        return cast("EvidentlyMonitoring", self.adapter("evidently"))

    def adapter(self, tool: str) -> tools.ToolAdapter:
        """Return the project's adapter of a tool, built on first use.

        Raises:
            IntegrationError: There is no such tool, or its adapter cannot be imported.
        """
        with self._adapters_lock:
            if tool not in self._adapters:
                self._adapters[tool] = tools.create(tool, self._context)
            return self._adapters[tool]

    def start_run(
        self,
        run_name: str | None = None,
        *,
        nested: bool = False,
        tags: Mapping[str, str] | None = None,
        description: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[Run]:
        """Start an MLflow run of this project; use it in a ``with`` statement.

        Inside the block plain ``mlflow`` calls and autologging land in this project too. The run ends
        FINISHED; FAILED when the block raises, and the exception passes through unchanged; KILLED on Ctrl-C.

        Args:
            run_name: A name for people; MLflow makes one up by default.
            nested: Make it a child of the active run.
            tags: Tags to set.
            description: The run's note.
            params: Parameters to log at once.
        """
        return self.tracking.start_run(
            run_name, nested=nested, tags=tags, description=description, params=params
        )

    def log_param(self, key: str, value: Any) -> None:
        """Log one parameter of the active run."""
        self.tracking.log_param(key, value)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters of the active run."""
        self.tracking.log_params(params)

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one metric value of the active run."""
        self.tracking.log_metric(key, value, step=step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several metric values of the active run."""
        self.tracking.log_metrics(metrics, step=step)

    def log_artifact(self, local_path: Path | str, artifact_path: str | None = None) -> None:
        """Store a file with the active run, below ``artifact_path``."""
        self.tracking.log_artifact(local_path, artifact_path)

    def log_artifacts(self, local_dir: Path | str, artifact_path: str | None = None) -> None:
        """Store the files of a directory with the active run."""
        self.tracking.log_artifacts(local_dir, artifact_path)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Store text as a file of the active run."""
        self.tracking.log_text(text, artifact_file)

    def log_figure(self, figure: Any, artifact_file: str) -> None:
        """Store a Matplotlib or Plotly figure as a file of the active run."""
        self.tracking.log_figure(figure, artifact_file)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the active run."""
        self.tracking.set_tags(tags)

    def log_model(
        self,
        model: Any,
        name: str,
        *,
        registered: bool = True,
        input_example: Any = None,
        signature: Any = None,
        flavor: str | None = None,
        pip_requirements: Sequence[str] | None = None,
    ) -> ModelVersion:
        """Store a model with the active run and register it as ``<project>.<name>``.

        Args:
            model: A model of any supported framework, or a directory such as an adapter checkpoint.
            name: The model's short name.
            registered: Register a new version; otherwise only the run has the model.
            input_example: A few input rows; the signature is inferred from them.
            signature: An explicit MLflow signature.
            flavor: The MLflow flavour, where the choice by the object's type is not wanted.
            pip_requirements: What serving needs; by default the framework at its installed version.
        """
        return self.tracking.models.log(
            model,
            name,
            registered=registered,
            input_example=input_example,
            signature=signature,
            flavor=flavor,
            pip_requirements=pip_requirements,
        )

    def dvc_add(self, path: Path | str) -> DataVersion:
        """Version a file or directory anywhere on disk, and write its ``.dvc`` pointer beside it.

        The version becomes a dataset input and a tag of the active run, if there is one.

        Args:
            path: The file or directory.

        Raises:
            DataNotFoundError: There is no such path.
        """
        version = self.data.add(path)
        # A run can only be active if the adapter is loaded; looking must not import MLflow.
        tracking = self._adapters.get("mlflow")
        if tracking is not None and cast("MLflowTracking", tracking).active_run is not None:
            source = {"tool": "dvc", "md5": version.md5, "name": version.name, "bytes": version.size}
            cast("MLflowTracking", tracking).log_dataset(version.name, digest=version.digest, source=source)
        return version

    def dvc_push(self, targets: Any = None) -> Any:
        """Copy data versions to this project's remote, and check that the remote holds them.

        Args:
            targets: Paths, dataset names or versions; everything not pushed yet by default.

        Raises:
            DataIntegrityError: Something is missing afterwards.
        """
        return self.data.push(targets)

    def dvc_pull(
        self,
        targets: Any = None,
        *,
        version: str | None = None,
        run_id: str | None = None,
        destination: Path | str | None = None,
        force: bool = False,
    ) -> list[DataVersion]:
        """Bring data versions back from the remote.

        Args:
            targets: Paths, dataset names or versions; every dataset by default.
            version: An older version by its md5, or its first characters.
            run_id: The versions a run was trained on.
            destination: Where to write instead of the place the data came from.
            force: Overwrite local changes.

        Raises:
            DataNotFoundError: There is no such version.
            DataIntegrityError: The stored bytes are not what was recorded.
        """
        if run_id is None:
            return self.data.pull(targets, version=version, destination=destination, force=force)
        inputs = [item for item in self.tracking.datasets(run_id) if "md5" in item["source"]]
        if not inputs:
            raise DataNotFoundError(
                f"Run {run_id} has no data versions",
                tool="mlflow",
                operation="dvc_pull",
                workspace=self.project_name,
                hint="call dvc_add inside `with client.start_run():` to link data with a run",
            )
        pulled: list[DataVersion] = []
        for item in inputs:
            source = item["source"]
            place = (
                destination if destination is None or len(inputs) == 1 else Path(destination) / source["name"]
            )
            pulled += self.data.pull(targets, version=source["md5"], destination=place, force=force)
        return pulled

    def dvc_status(self) -> Any:
        """Return the state of every dataset; takes no lock and does not import DVC."""
        return self.data.status()

    def deploy_model(
        self,
        model: Any,
        *,
        version: str | int | None = None,
        name: str | None = None,
        build_bento: bool = True,
    ) -> Deployment:
        """Package a model as a Bento model and a Bento, ``<project>.<model>:<version>``.

        Args:
            model: What ``log_model`` returned, a model's name, a run id, or a directory in MLflow's format.
            version: The registered version; the newest by default.
            name: The short name for a model that is not registered.
            build_bento: Build the Bento too; otherwise only the Bento model is stored.

        Raises:
            ModelNotFoundError: There is no such model or version.
        """
        return deploy(self, model, version=version, name=name, build_bento=build_bento)

    def serve(
        self, model: Any, *, version: str | int | None = None, port: int | None = None, timeout: float = 120
    ) -> Server:
        """Start a packaged model as a child process on 127.0.0.1 and wait until it answers.

        Args:
            model: What ``deploy_model`` returned, or the model's name.
            version: The version; the newest by default.
            port: The port; a free one by default.
            timeout: Seconds to wait for it.

        Returns:
            A handle with ``url``, ``predict(rows)`` and ``stop()``; it can be used in a ``with`` statement.
        """
        target = getattr(model, "tag", model)
        return self.serving.serve(target, version=version, port=port, timeout=timeout)

    def set_reference_data(
        self,
        df: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        model: str | None = None,
    ) -> ReferenceData:
        """Freeze the data that later batches are compared with; it stays with the project.

        Args:
            df: A data frame, table or list of rows.
            target_column: The column with the true values.
            prediction_column: The column with the model's predictions.
            model: The model it belongs to; the project's default reference otherwise.

        Raises:
            ReferenceDataError: It is empty, or a named column is missing.
        """
        return self.monitoring.set_reference_data(
            df, target_column=target_column, prediction_column=prediction_column, model=model
        )

    def monitor_predictions(
        self,
        df: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        latency_ms: Any = None,
        memory_mb: Any = None,
        model: str | None = None,
    ) -> MonitoringResult:
        """Compare a batch with the reference data: drift, performance, missing values.

        A snapshot is stored in the project's Evidently workspace; the numbers become metrics of the active
        run, if there is one.

        Args:
            df: The batch: a data frame, table or list of rows.
            target_column: The column with the true values; the reference's by default.
            prediction_column: The column with the predictions; the reference's by default.
            latency_ms: One value or one per row, in milliseconds.
            memory_mb: One value or several, in megabytes.
            model: The model that made the predictions.

        Raises:
            ReferenceDataError: There is no reference data, or a named column is missing.
        """
        tracking = cast("MLflowTracking | None", self._adapters.get("mlflow"))
        run = tracking.active_run if tracking is not None else None
        result = self.monitoring.monitor(
            df,
            target_column=target_column,
            prediction_column=prediction_column,
            latency_ms=latency_ms,
            memory_mb=memory_mb,
            model=model,
            metadata={"run_id": run.run_id} if run else None,
        )
        if tracking is not None and run is not None:
            tracking.log_metrics(result.metrics())
            tracking.set_tags({"mlops.snapshot": result.snapshot_id})
        return result

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

    def list_runs(self, pipeline_name: str | None = None, limit: int | None = 100) -> list[dict[str, Any]]:
        """Return the project's runs, newest first.

        Args:
            pipeline_name: Only the runs of this pipeline.
            limit: At most so many; None for all.
        """
        return self.tracking.list_runs(pipeline_name=pipeline_name, limit=limit)

    def get_artifacts(
        self, artifact_type: str | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Return what the project produced, newest first: models, data versions, reports and run files.

        Args:
            artifact_type: ``model``, ``data``, ``report`` or ``file``.
            limit: At most so many; None for all.
        """
        return inventory.artifacts(self, artifact_type=artifact_type, limit=limit)

    def get_stats(self) -> dict[str, Any]:
        """Return exact counts: runs by outcome, models, artifacts, data versions and checks."""
        return inventory.statistics(self)

    def get_storage_usage(self) -> dict[str, Any]:
        """Return the bytes each tool's store costs, and ``total_bytes``; hard links are counted once."""
        return inventory.storage(self.workspace)

    def export_metadata(self, path: Path | str) -> Path:
        """Write everything known about the project, except the stored files themselves, as one JSON file.

        Args:
            path: The file to write, whole or not at all.
        """
        return inventory.export_metadata(self, Path(path))

    def get_workspace_path(self, subdir: str | None = None) -> Path:
        """Return the workspace's directory, or the path of something inside it.

        Raises:
            IsolationError: ``subdir`` leads out of the workspace.
        """
        return inventory.path_inside(self.workspace, subdir)

    def close(self) -> None:
        """Write out what is buffered and let go of every open store; the client can be used again."""
        with self._adapters_lock:
            for adapter in self._adapters.values():
                adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def create_client(name: str, repo_root: Path | str | None = None) -> MLOpsClient:
    """Open a project, creating its workspace on first use; short for ``MLOpsClient.from_project``."""
    return MLOpsClient.from_project(name, repo_root=repo_root)
