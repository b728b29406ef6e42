"""Models of one project: log, find, label, download and load."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import errno
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import IsolationError, NoActiveRunError
from mlops.integrations.mlflow_tracking import flavors, packaging, requirements, signatures, store, versions
from mlops.integrations.mlflow_tracking.downloads import ModelFiles
from mlops.integrations.mlflow_tracking.registry import Registry, check_tags
from mlops.integrations.mlflow_tracking.telemetry import import_mlflow
from mlops.integrations.mlflow_tracking.versions import ModelVersion
from mlops.workspace.tools import require

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

_STAGED: Final = "model-"
# Far longer than any model takes to be written.
_ABANDONED_SECONDS: Final = 24 * 3600.0
# What MLflow allows in a tag's name on every system.
_NOT_IN_TAG: Final = re.compile(r"[^/\w.\- ]")


class Models:
    """The project's models, used as ``client.tracking.models``.

    Everything goes through an explicit client, so MLflow's process-wide tracking URI is neither read nor
    changed. Constructing it does nothing.

    Args:
        tracking: The project's MLflow adapter.
    """

    def __init__(self, tracking: MLflowTracking) -> None:
        self._tracking = tracking
        self._registry = Registry(tracking)
        self._files = ModelFiles(tracking, self._registry)

    def log(
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
        origin: str | None = None,
    ) -> ModelVersion:
        """Store a model with the active run and register it as ``<project>.<name>``.

        The model is written, loaded and tried on its example in a staging directory first, so a model that
        cannot be stored leaves nothing behind.

        Args:
            model: A model object, a function or object that predicts, or the path of a directory or file: an
                MLflow model directory is stored as it is, anything else as a directory model.
            name: The short name.
            registered: Whether to add a version to the registry.
            input_example: Rows of input: DataFrame, array, list of dicts, or dict. The signature is inferred
                from it and the model's own predictions; the first five rows are stored.
            signature: An ``mlflow.models.ModelSignature``, instead of inferring one.
            flavor: A flavour's name, instead of choosing by the model's class.
            pip_requirements: Requirement lines or a requirements file, instead of the installed versions.
            metadata: Whatever is to be kept in the model's ``MLmodel`` file.
            tags: Tags of the version.
            origin: The model version of another project that this is a copy of, as links write it.

        Raises:
            NoActiveRunError: No run is open.
            InvalidModelNameError: The name breaks the rule.
            IsolationError: The name is another project's.
            IntegrationError: The object fits no flavour, cannot be saved, or cannot predict on its example.
            QuotaExceededError: The project has no room for it.
        """
        operation, project = "log_model", self._tracking.project
        run = self._tracking.active_run
        if run is None:
            raise NoActiveRunError(
                f"log_model was called for {name!r} outside a run",
                tool=store.TOOL,
                operation=operation,
                workspace=project,
                hint="call it inside: with client.start_run():",
            )
        short = self._registry.check_new_name(name, operation=operation)
        own_tags = check_tags(tags, operation=operation, project=project)
        if origin is not None:
            own_tags[versions.COPIED_FROM] = origin
        lines = requirements.given(pip_requirements, operation=operation, project=project)
        chosen = flavors.detect(model, flavor=flavor, operation=operation, project=project)
        self._import(operation)
        if chosen.module:
            # The framework of the model itself: named explicitly, it may not be installed.
            require(chosen.packages[0], tool=chosen.distribution, operation=operation, workspace=project)
        # Slow the first time, and a fault of the installation would otherwise look like one of the model.
        require("mlflow.pyfunc", tool=store.TOOL, operation=operation, workspace=project)
        request = packaging.Request(
            model=model,
            name=short,
            project=project,
            flavor=chosen,
            input_example=input_example,
            signature=signatures.given(signature, operation=operation, project=project),
            requirements=lines,
            metadata=metadata,
            operation=operation,
        )
        with self._staging() as directory:
            package = packaging.package(request, directory / "model")
            self._tracking.require_room(lambda: package.size_bytes, operation=operation)
            with self._registry.translated(operation):
                return self._store(package, short, run_id=run.run_id, tags=own_tags, registered=registered)

    def get(self, name: str, *, version: str | int | None = None, alias: str | None = None) -> ModelVersion:
        """Return one version of a model, the newest unless a version or alias is given.

        Raises:
            ModelNotFoundError: There is no such model, version or alias; the message lists what there is.
            IsolationError: The name is another project's.
        """
        self._import("get")
        return self._registry.get(name, version=version, alias=alias)

    def find(
        self, ref: ModelVersion | str, *, version: str | int | None = None, alias: str | None = None
    ) -> ModelVersion:
        """Return the version that a reference names: anything ``download`` takes.

        Of a run, or of a logged model's id, that is the registered version made from it, if there is one.

        Raises:
            ModelNotFoundError: There is no such model.
            IsolationError: It is another project's.
        """
        operation = "find"
        self._import(operation)
        return self._files.locate(ref, version=version, alias=alias, operation=operation).version

    def list(self, name: str | None = None) -> builtins.list[ModelVersion]:
        """Return the registered versions of one model or of all, newest first, with their aliases."""
        if name is None and not self._registry.exists():
            return []
        self._import("list")
        return self._registry.search(name)

    def aliases(self, name: str) -> dict[str, str]:
        """Return which version each alias of a model points to."""
        self._import("aliases")
        return self._registry.aliases(name)

    def promote(self, name: str, alias: str, *, version: str | int | None = None) -> ModelVersion:
        """Point an alias such as ``production`` to a version, the newest unless one is given.

        The version keeps a note of when that was and which version it replaced; see ``history``.

        Raises:
            ModelNotFoundError: There is no such model or version.
            IntegrationError: The alias has characters MLflow refuses, or is reserved.
        """
        self._import("promote")
        return self._registry.promote(name, alias, version=version)

    def history(self, name: str, alias: str) -> builtins.list[dict[str, Any]]:
        """Return the promotions to an alias, newest first: ``version``, ``previous`` and ``at`` of each."""
        self._import("history")
        return self._registry.history(name, alias)

    def set_tags(self, name: str, version: str | int, tags: Mapping[str, Any]) -> ModelVersion:
        """Set tags on a version; keys that start with ``mlops.`` are refused."""
        self._import("set_tags")
        return self._registry.set_tags(name, version, tags)

    def note_copy(self, version: ModelVersion, copy: str) -> None:
        """Note on a version that another project has a copy of it.

        Args:
            version: A registered version.
            copy: The copy, as links write it: ``<project>/model:<project>.<name>:<version>``.
        """
        self._registry.note_copy(version, copy)

    def download(
        self,
        ref: ModelVersion | str,
        destination: Path | str | None = None,
        *,
        version: str | int | None = None,
        alias: str | None = None,
    ) -> Path:
        """Return a directory that holds the model's files and its ``MLmodel``.

        Args:
            ref: A ``ModelVersion``; a short or full name, also as ``name:3``, ``name/3`` or ``name@alias``;
                the id of a run or of a logged model; a ``models:/`` or ``runs:/`` URI.
            destination: A new directory to copy the files to. Without it files stored in the workspace are
                returned where they are: do not change them.
            version: With a name, the version.
            alias: With a name, an alias.

        Raises:
            ModelNotFoundError: There is no such model.
            IsolationError: It is another project's, or its files are outside the project.
            DataIntegrityError: Its files are gone.
        """
        operation = "download"
        self._import(operation)
        located = self._files.locate(ref, version=version, alias=alias, operation=operation)
        return self._files.fetch(
            located, None if destination is None else Path(destination), operation=operation
        )

    def load(
        self,
        name: ModelVersion | str,
        *,
        version: str | int | None = None,
        alias: str | None = None,
        flavor: str | None = None,
        as_pyfunc: bool = False,
    ) -> Any:
        """Load a model from this project's store, whatever MLflow's globals point to.

        Args:
            name: Whatever ``download`` takes.
            version: With a name, the version; the newest by default.
            alias: With a name, an alias.
            flavor: Load with this flavour instead of the one it was logged with.
            as_pyfunc: Return MLflow's ``PyFuncModel`` with its input checks, instead of the native object.

        Returns:
            The object its framework knows (an estimator, a booster, a module); for a directory model the path
            of the directory; for a Python function model the ``PyFuncModel``.
        """
        operation = "load_model"
        self._import(operation)
        located = self._files.locate(name, version=version, alias=alias, operation=operation)
        path = self._files.fetch(located, None, operation=operation)
        return packaging.load(
            path, label=located.label, project=self._tracking.project, flavor=flavor, as_pyfunc=as_pyfunc
        )

    def _import(self, operation: str) -> None:
        import_mlflow(operation=operation, workspace=self._tracking.project)

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        staging = self._tracking.context.workspace.state_path / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        _sweep(staging)
        directory = staging / f"{_STAGED}{uuid.uuid4().hex}"
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _store(
        self,
        package: packaging.Package,
        short: str,
        *,
        run_id: str,
        tags: Mapping[str, str],
        registered: bool,
    ) -> ModelVersion:
        """Put a finished package into the store; whatever fails, no ready model and no version remains."""
        from mlflow.entities import LoggedModelOutput

        client = self._tracking.client()
        facts = self._facts(package, short, client.get_run(run_id))
        logged = client.create_logged_model(
            self._tracking.experiment_id,
            name=short.replace(".", "_"),
            source_run_id=run_id,
            tags={**facts, **tags},
        )
        location = versions.local_path(logged.artifact_location)
        try:
            if not package.foreign:
                packaging.stamp(package.path, name=short, model_id=logged.model_id, run_id=run_id)
            if location is None or not self._move(package.path, location):
                client.log_model_artifacts(logged.model_id, str(package.path))
            ready = client.finalize_logged_model(logged.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
            if not registered:
                stored = versions.from_logged(
                    ready, project=self._tracking.project, full_name=self._registry.full_name(short)
                )
                return dataclasses.replace(stored, signature=package.signature)
            return self._registry.register(
                short,
                ready,
                tags={
                    **facts,
                    **tags,
                    versions.MODEL_ID: logged.model_id,
                    **versions.signature_tag(package.signature),
                },
            )
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            if location is not None and self._contains(location):
                shutil.rmtree(location, ignore_errors=True)
            raise

    def _facts(self, package: packaging.Package, short: str, run: Any) -> dict[str, str]:
        """Return what a model's tags say of its origin."""
        tags = run.data.tags
        data: dict[str, list[str]] = {}
        for item in (run.inputs.dataset_inputs if run.inputs else None) or []:
            key = versions.DATA + _NOT_IN_TAG.sub("_", item.dataset.name)
            if item.dataset.digest not in data.setdefault(key, []):
                data[key].append(item.dataset.digest)
        facts = {
            versions.PROJECT: self._tracking.project,
            versions.NAME: short,
            versions.RUN_ID: run.info.run_id,
            versions.FLAVOR: package.flavor,
            versions.FRAMEWORK: package.framework,
            versions.SIZE: str(package.size_bytes),
            versions.GIT_COMMIT: tags.get(versions.GIT_COMMIT) or tags.get(versions.MLFLOW_GIT_COMMIT, ""),
            versions.GIT_DIRTY: tags.get(versions.GIT_DIRTY, ""),
            **{key: ",".join(digests) for key, digests in data.items()},
        }
        return {key: value for key, value in facts.items() if value}

    def _contains(self, path: Path) -> bool:
        return self._tracking.context.workspace.root_path.resolve() in path.resolve().parents

    def _move(self, source: Path, target: Path) -> bool:
        """Rename the staged directory into the workspace's artifacts; False if that takes a copy."""
        if not self._registry.embedded:
            return False
        if not self._contains(target):
            raise IsolationError(
                f"The store would put the model's files in {target}, outside the project",
                operation="log_model",
                workspace=self._tracking.project,
                hint="open the project again, so that its store is re-pointed after the move",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST}:
                raise
            return False
        return True


def _sweep(staging: Path) -> None:
    """Remove what processes that were killed while they logged a model have left."""
    limit = time.time() - _ABANDONED_SECONDS
    for entry in staging.glob(f"{_STAGED}*"):
        # Another process may remove it at the same time.
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < limit:
                shutil.rmtree(entry, ignore_errors=True)
