"""Verbs for runs: start one, and log to the one that is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.client.session import ProjectSession

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import Run
    from mlops.integrations.mlflow_tracking.versions import ModelVersion


class RunVerbs(ProjectSession):
    """What training code calls; outside a run every ``log_*`` raises ``NoActiveRunError``."""

    def start_run(
        self,
        run_name: str | None = None,
        *,
        run_id: str | None = None,
        nested: bool = False,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[Run]:
        """Start an MLflow run of this project, or continue one; use it in a ``with`` statement.

        Inside the block plain ``mlflow`` calls and autologging land in this project too. The run ends
        FINISHED; FAILED when the block raises, and the exception passes through unchanged; KILLED on Ctrl-C.

        Args:
            run_name: A name for people; MLflow makes one up by default. Renames a run that is continued.
            run_id: A run of this project to continue instead of starting one.
            nested: Make it a child of the active run.
            tags: Tags to set.
            description: The run's note.
            params: Parameters to log at once.

        Raises:
            IntegrationError: On entering, if a run is open here and ``nested`` is false.
            DataNotFoundError: On entering, if ``run_id`` is not a run of this project.
        """
        return self.tracking.start_run(
            run_name, run_id=run_id, nested=nested, tags=tags, description=description, params=params
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
        pip_requirements: Sequence[str] | str | Path | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> ModelVersion:
        """Store a model with the active run and register it as ``<project>.<name>``.

        Args:
            model: A model of any supported framework, or a directory such as an adapter checkpoint.
            name: The model's short name.
            registered: Register a new version; otherwise only the run has the model.
            input_example: A few input rows; the signature is inferred from them.
            signature: An explicit MLflow signature.
            flavor: The MLflow flavour, where the choice by the object's type is not wanted.
            pip_requirements: What serving needs, as lines or a requirements file; by default the framework at
                its installed version.
            metadata: Whatever is to be kept in the model's ``MLmodel`` file.
            tags: Tags of the version.

        Raises:
            NoActiveRunError: No run is open.
            InvalidModelNameError: The name breaks the rule.
            IntegrationError: The object fits no flavour, cannot be saved, or cannot predict on its example.
        """
        version = self.tracking.models.log(
            model,
            name,
            registered=registered,
            input_example=input_example,
            signature=signature,
            flavor=flavor,
            pip_requirements=pip_requirements,
            metadata=metadata,
            tags=tags,
        )
        if version.version:
            from mlops.integrations.mlflow_tracking.lineage import past_of

            self._record(past_of(version), operation="log_model")
        return version
