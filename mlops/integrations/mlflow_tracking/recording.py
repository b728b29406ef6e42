"""What can be logged to a run, the same on the run's handle and on the adapter."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import DataNotFoundError, IntegrationError
from mlops.integrations.mlflow_tracking import metrics
from mlops.integrations.mlflow_tracking.store import TOOL

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.runs import Run

# The column that MLflow keeps a dataset's digest in has this many characters.
MAX_DIGEST: Final = 36
CONTEXT_TAG: Final = "mlflow.data.context"
DATA_TAG_PREFIX: Final = "mlops.data."
_KEY: Final = re.compile(r"[^\w\-./ :]", re.ASCII)


class Recorder(ABC):
    """The ``log_*`` and ``set_*`` verbs."""

    __slots__ = ()

    @abstractmethod
    def _recording_run(self, operation: str) -> Run:
        """Return the run that a call writes to, or raise ``NoActiveRunError``."""

    def log_param(self, key: str, value: Any) -> None:
        """Log one parameter.

        Args:
            key: Its name.
            value: Its value, stored as text.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: The name is invalid, or the run has another value for it.
        """
        self._log_params({key: value}, "log_param")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters in one write.

        Args:
            params: Values by name.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: A name is invalid, or the run has another value for it.
        """
        self._log_params(params, "log_params")

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one value of a metric; it is written in the background within a second.

        Args:
            key: The metric's name.
            value: A number; NaN and infinities are allowed.
            step: The training step, 0 by default.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: The value is no number, or an earlier metric could not be written.
        """
        self._log_metrics({key: value}, step, "log_metric")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one value each of several metrics; they are written in the background within a second.

        Args:
            metrics: Numbers by name.
            step: The training step, 0 by default.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: A value is no number (none is logged then), or an earlier metric could not be
                written.
        """
        self._log_metrics(metrics, step, "log_metrics")

    def log_artifact(self, local_path: Path | str, artifact_path: str | None = None) -> None:
        """Copy a file into the run's artifacts.

        Args:
            local_path: The file.
            artifact_path: A directory inside the run's artifacts.

        Raises:
            NoActiveRunError: No run is open here.
            DataNotFoundError: The file does not exist.
            QuotaExceededError: The project has no room for it.
        """
        run = self._recording_run("log_artifact")
        path = _storable(local_path, run, "log_artifact")
        with run.tracking.calling("log_artifact", run.run_id) as client:
            client.log_artifact(run.run_id, str(path), artifact_path)

    def log_artifacts(self, local_dir: Path | str, artifact_path: str | None = None) -> None:
        """Copy a directory's content into the run's artifacts.

        Args:
            local_dir: The directory.
            artifact_path: A directory inside the run's artifacts.

        Raises:
            NoActiveRunError: No run is open here.
            DataNotFoundError: The directory does not exist.
            QuotaExceededError: The project has no room for it.
        """
        run = self._recording_run("log_artifacts")
        path = _storable(local_dir, run, "log_artifacts")
        with run.tracking.calling("log_artifacts", run.run_id) as client:
            client.log_artifacts(run.run_id, str(path), artifact_path)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Store text as an artifact.

        Args:
            text: The text.
            artifact_file: The file's path inside the run's artifacts.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: The path leads out of the run's artifacts.
        """
        run = self._recording_run("log_text")
        with run.tracking.calling("log_text", run.run_id) as client:
            client.log_text(run.run_id, text, artifact_file)

    def log_figure(self, figure: Any, artifact_file: str) -> None:
        """Store a Matplotlib or Plotly figure as an artifact.

        Args:
            figure: The figure.
            artifact_file: The file's path inside the run's artifacts; its suffix decides the format.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: It is no figure, or the path leads out of the run's artifacts.
        """
        run = self._recording_run("log_figure")
        try:
            with run.tracking.calling("log_figure", run.run_id) as client:
                client.log_figure(run.run_id, figure, artifact_file)
        except TypeError as error:
            raise IntegrationError(
                f"A {type(figure).__name__} cannot be stored as {artifact_file}: {error}",
                tool=TOOL,
                operation="log_figure",
                workspace=run.tracking.project,
                hint="pass a matplotlib or plotly figure, and a name such as 'roc.png' or 'roc.html'",
            ) from error

    def set_tag(self, key: str, value: Any) -> None:
        """Set one tag of the run.

        Args:
            key: Its name.
            value: Its value, stored as text.

        Raises:
            NoActiveRunError: No run is open here.
        """
        self._set_tags({key: value}, "set_tag")

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run in one write.

        Args:
            tags: Values by name.

        Raises:
            NoActiveRunError: No run is open here.
        """
        self._set_tags(tags, "set_tags")

    def log_dataset(
        self,
        name: str,
        *,
        digest: str,
        source: Mapping[str, Any],
        context: str = "training",
        tags: Mapping[str, Any] | None = None,
        source_type: str = "dvc",
    ) -> None:
        """Record that the run used a version of a dataset, without loading it.

        The run also gets the tag ``mlops.data.<name>`` with the digest.

        Args:
            name: The dataset's name.
            digest: What identifies the version, such as its MD5; at most 36 characters.
            source: Where it can be had again, as plain JSON values.
            context: What it was used for, such as ``training`` or ``validation``.
            tags: Further tags of this use.
            source_type: The kind of source.

        Raises:
            NoActiveRunError: No run is open here.
            IntegrationError: The digest is too long, or the source is not plain JSON.
        """
        run = self._recording_run("log_dataset")
        if not digest or len(digest) > MAX_DIGEST:
            raise IntegrationError(
                f"The digest of the dataset {name!r} has {len(digest)} characters, not 1 to {MAX_DIGEST}",
                tool=TOOL,
                operation="log_dataset",
                workspace=run.tracking.project,
                hint="use an MD5, or the first 36 characters of a longer hash",
            )
        try:
            text = json.dumps(dict(source), sort_keys=True)
        except (TypeError, ValueError) as error:
            raise IntegrationError(
                f"The source of the dataset {name!r} is not plain JSON: {error}",
                tool=TOOL,
                operation="log_dataset",
                workspace=run.tracking.project,
                hint="use text, numbers, lists and dictionaries only",
            ) from error
        with run.tracking.calling("log_dataset", run.run_id) as client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            labels = {CONTEXT_TAG: context} | {str(k): str(v) for k, v in (tags or {}).items()}
            dataset = Dataset(name=name, digest=digest, source_type=source_type, source=text)
            use = DatasetInput(dataset, tags=[InputTag(key, value) for key, value in labels.items()])
            client.log_inputs(run.run_id, [use])
            client.set_tag(run.run_id, data_tag(name), digest)

    def _log_params(self, params: Mapping[str, Any], operation: str) -> None:
        run = self._recording_run(operation)
        with run.tracking.calling(operation, run.run_id) as client:
            from mlflow.entities import Param

            client.log_batch(run.run_id, params=[Param(str(k), str(v)) for k, v in params.items()])

    def _set_tags(self, tags: Mapping[str, Any], operation: str) -> None:
        run = self._recording_run(operation)
        with run.tracking.calling(operation, run.run_id) as client:
            from mlflow.entities import RunTag

            client.log_batch(run.run_id, tags=[RunTag(str(k), str(v)) for k, v in tags.items()])

    def _log_metrics(self, values: Mapping[str, Any], step: int | None, operation: str) -> None:
        run = self._recording_run(operation)
        project = run.tracking.project
        run.tracking.buffer(
            run.run_id,
            [
                (
                    metrics.name(key, operation=operation, workspace=project),
                    metrics.number(key, value, operation=operation, workspace=project),
                    metrics.whole(key, step, operation=operation, workspace=project),
                )
                for key, value in values.items()
            ],
            operation=operation,
        )


def data_tag(name: str) -> str:
    """Return the tag of a run that holds the version of a dataset; MLflow refuses some characters in it."""
    return DATA_TAG_PREFIX + _KEY.sub("_", name)


def _storable(path: Path | str, run: Run, operation: str) -> Path:
    found = Path(path)
    if not found.exists():
        raise DataNotFoundError(
            f"There is no file or directory {found}",
            tool=TOOL,
            operation=operation,
            workspace=run.tracking.project,
            hint="check the path; a relative one starts at the working directory",
        )
    run.tracking.require_room(lambda: _content_bytes(found), operation=operation)
    return found


def _content_bytes(path: Path) -> int:
    """Return the bytes of a file, or of the files in a directory, as copies of them take."""
    files = (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files)
