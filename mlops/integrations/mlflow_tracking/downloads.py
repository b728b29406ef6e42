"""From whatever names a model to a directory with its files."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import DataIntegrityError, IntegrationError, IsolationError, ModelNotFoundError
from mlops.integrations.mlflow_tracking import store, versions
from mlops.integrations.mlflow_tracking.flavors import MLMODEL
from mlops.integrations.mlflow_tracking.registry import Registry
from mlops.integrations.mlflow_tracking.versions import ModelVersion

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

RUN_ID: Final = re.compile(r"\A[0-9a-f]{32}\Z")
MODEL_ID: Final = re.compile(r"\Am-[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Located:
    """Where a model's files are.

    Args:
        uri: The location, as the store has it.
        key: What tells it from every other model of the project; usable as a file name.
        version: The registered version, or the logged model if it is not registered.
    """

    uri: str
    key: str
    version: ModelVersion

    @property
    def label(self) -> str:
        """What to call the model in messages."""
        return f"{self.version.name}:{self.version.version}".rstrip(":")


class ModelFiles:
    """Finds and fetches the files of the project's models.

    Args:
        tracking: The project's MLflow adapter.
        registry: Its registry.
    """

    def __init__(self, tracking: MLflowTracking, registry: Registry) -> None:
        self._tracking = tracking
        self._registry = registry

    def locate(
        self, ref: ModelVersion | str, *, version: str | int | None, alias: str | None, operation: str
    ) -> Located:
        """Find a model's files.

        Args:
            ref: A ``ModelVersion``; a short or full name, also as ``name:3``, ``name/3`` or ``name@alias``; a
                run's id; a logged model's id; a ``models:/`` or ``runs:/`` URI.
            version: With a name, its version.
            alias: With a name, an alias.
            operation: The calling method, for errors.

        Raises:
            ModelNotFoundError: There is no such model.
            IsolationError: It belongs to another project.
        """
        if isinstance(ref, ModelVersion):
            if ref.project != self._registry.project:
                raise self._registry.foreign(ref.full_name, ref.project, operation=operation)
            if not ref.version:
                return self._logged(ref.model_id, operation=operation)
            return self._version(ref.full_name, version=ref.version, alias=None, operation=operation)
        text = str(ref)
        if text.startswith("runs:/"):
            run_id, _, path = text.removeprefix("runs:/").strip("/").partition("/")
            return self._of_run(run_id, path, operation=operation)
        if text.startswith("models:/"):
            text = text.removeprefix("models:/").strip("/")
        elif RUN_ID.match(text):
            return self._of_run(text, "", operation=operation)
        if MODEL_ID.match(text):
            return self._logged(text, operation=operation)
        if version is None and alias is None:
            text, version, alias = _split(text)
        return self._version(text, version=version, alias=alias, operation=operation)

    def fetch(self, located: Located, destination: Path | None, *, operation: str) -> Path:
        """Return a directory with the model's files.

        Files in the workspace are used where they are; files on a server are downloaded once and kept, as
        stored models never change.

        Args:
            located: The model.
            destination: A directory to copy them to, which must not exist or be empty; None for no copy.
            operation: The calling method, for errors.

        Raises:
            DataIntegrityError: The files are gone.
            IsolationError: The store points outside the project.
        """
        source = versions.local_path(located.uri)
        if source is not None:
            source = self._own(source, located, operation=operation)
            if not (source / MLMODEL).is_file():
                raise DataIntegrityError(
                    f"The files of the model {located.label!r} are missing: no {MLMODEL} in {source}",
                    tool=store.TOOL,
                    operation=operation,
                    workspace=self._registry.project,
                    hint="restore the workspace from a backup, or log the model again",
                )
        if destination is None:
            return source if source is not None else self._cached(located, operation=operation)
        target = Path(destination).expanduser().absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise IntegrationError(
                f"The destination {target} exists and is not an empty directory",
                tool=store.TOOL,
                operation=operation,
                workspace=self._registry.project,
                hint="choose a new directory",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        self._place(located, source, target, operation=operation)
        return target

    def _version(self, name: str, *, version: str | int | None, alias: str | None, operation: str) -> Located:
        found = self._registry.get(name, version=version, alias=alias, operation=operation)
        with self._registry.translated(operation):
            uri = self._tracking.client().get_model_version_download_uri(found.full_name, found.version)
        # Not by name and version: a server may give them again after the model was deleted.
        key = found.model_id or hashlib.sha256(uri.encode()).hexdigest()
        return Located(uri, key, found)

    def _logged(self, model_id: str, *, operation: str) -> Located:
        from mlflow.exceptions import MlflowException

        if self._registry.exists():
            try:
                model = self._tracking.client().get_logged_model(model_id)
            except MlflowException as error:
                if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
                    with self._registry.translated(operation):
                        raise
            else:
                self._check_experiment(str(model.experiment_id), model_id, operation=operation)
                return self._from_logged(model, operation=operation)
        raise self._not_found(f"The project has no logged model {model_id!r}", operation=operation)

    def _from_logged(self, model: Any, *, operation: str) -> Located:
        registered = self._registry.of_logged(model, operation=operation)
        return Located(model.artifact_location, model.model_id, registered)

    def _of_run(self, run_id: str, name: str, *, operation: str) -> Located:
        from mlflow.exceptions import MlflowException

        if not self._registry.exists():
            raise self._not_found(f"The project has no run {run_id!r}", operation=operation)
        client = self._tracking.client()
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            raise self._not_found(
                f"The project has no run {run_id!r}: {error}", operation=operation
            ) from error
        self._check_experiment(str(run.info.experiment_id), f"runs:/{run_id}", operation=operation)
        with self._registry.translated(operation):
            outputs = (run.outputs.model_outputs if run.outputs else None) or []
            models = [client.get_logged_model(output.model_id) for output in outputs]
            models = [
                m
                for m in models
                if str(m.status) == "READY" and (not name or versions.logged_name(m) == name)
            ]
            if (
                name
                and not models
                and any(f.path == f"{name}/{MLMODEL}" for f in client.list_artifacts(run_id, name))
            ):
                uri = f"{run.info.artifact_uri}/{name}"
                found = versions.from_run(
                    run, name=name, source=uri, project=self._registry.project, prefix=self._registry.prefix
                )
                return Located(uri, hashlib.sha256(uri.encode()).hexdigest(), found)
        if len({versions.logged_name(model) for model in models}) == 1:
            newest = max(models, key=lambda m: m.creation_timestamp)
            return self._from_logged(newest, operation=operation)
        if not models:
            what = f"no model {name!r}" if name else "no model"
            raise self._not_found(f"The run {run_id} logged {what}", operation=operation)
        listed = ", ".join(sorted(versions.logged_name(m) for m in models))
        raise IntegrationError(
            f"The run {run_id} logged several models: {listed}",
            tool=store.TOOL,
            operation=operation,
            workspace=self._registry.project,
            hint=f"name one of them, as runs:/{run_id}/{versions.logged_name(models[0])}",
        )

    def _check_experiment(self, experiment_id: str, label: str, *, operation: str) -> None:
        if not self._registry.embedded and experiment_id != str(self._tracking.experiment_id):
            raise IsolationError(
                f"{label} belongs to the experiment {experiment_id}, which is not the project's",
                operation=operation,
                workspace=self._registry.project,
                hint="open the project it belongs to",
            )

    def _own(self, path: Path, located: Located, *, operation: str) -> Path:
        """Return a local path, or raise if the project has no business there."""
        if self._registry.embedded:
            root = self._tracking.context.workspace.root_path
        else:
            with self._registry.translated(operation):
                experiment = self._tracking.client().get_experiment(self._tracking.experiment_id)
            root = (
                versions.local_path(experiment.artifact_location)
                or self._tracking.context.workspace.root_path
            )
        resolved = path.resolve()
        if root.resolve() not in resolved.parents:
            raise IsolationError(
                f"The files of the model {located.label!r} are in {path}, outside the project's {root}",
                operation=operation,
                workspace=self._registry.project,
                hint="log the model again in this project",
            )
        return resolved

    def _cached(self, located: Located, *, operation: str) -> Path:
        workspace = self._tracking.context.workspace
        target = workspace.state_path / "cache" / workspace.id / "models" / located.key
        if not (target / MLMODEL).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._place(located, None, target, operation=operation)
        return target

    def _place(self, located: Located, source: Path | None, target: Path, *, operation: str) -> None:
        """Put the files at ``target`` whole or not at all."""
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            if source is not None:
                shutil.copytree(source, partial)
            else:
                from mlflow.artifacts import download_artifacts

                partial.mkdir()
                with self._registry.translated(operation):
                    download_artifacts(
                        artifact_uri=located.uri, dst_path=str(partial), tracking_uri=self._tracking.uri
                    )
            root = partial if (partial / MLMODEL).is_file() else _only_directory(partial)
            if root is None:
                raise DataIntegrityError(
                    f"The files of the model {located.label!r} at {located.uri} hold no {MLMODEL}",
                    tool=store.TOOL,
                    operation=operation,
                    workspace=self._registry.project,
                    hint="log the model again",
                )
            if target.is_dir() and not any(target.iterdir()):
                target.rmdir()
            try:
                root.rename(target)
            except OSError:
                # Another process downloaded the same model meanwhile; its copy is as good.
                if not (target / MLMODEL).is_file():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _not_found(self, message: str, *, operation: str) -> ModelNotFoundError:
        known = (
            ", ".join(sorted(self._registry.short_name(m.name) for m in self._registry.models())) or "none"
        )
        return ModelNotFoundError(
            f"{message}; registered models: {known}",
            tool=store.TOOL,
            operation=operation,
            workspace=self._registry.project,
            hint="use one of those listed, or log the model with client.log_model(...)",
        )


def _split(text: str) -> tuple[str, str | None, str | None]:
    """Split ``name@alias``, ``name/3`` and ``name:3``; ``latest`` is the newest."""
    name, at, alias = text.partition("@")
    if at:
        return name, None, alias
    for separator in "/:":
        name, found, version = text.rpartition(separator)
        if found:
            return name, None if version == "latest" else version, None
    return text, None, None


def _only_directory(path: Path) -> Path | None:
    """Return the one model below ``path``; downloads keep the last part of their location."""
    found: list[Any] = [entry for entry in path.iterdir() if (entry / MLMODEL).is_file()]
    return found[0] if len(found) == 1 else None
