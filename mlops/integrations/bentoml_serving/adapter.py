"""The BentoML adapter: package a project's models, find them again, and serve them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops import names
from mlops.files import Usage, measure
from mlops.integrations.bentoml_serving import (
    archive,
    deploying,
    export,
    lineage,
    renaming,
    starting,
)
from mlops.integrations.bentoml_serving.bento_model import MLFLOW_FOLDER
from mlops.integrations.bentoml_serving.entries import Deployment, StoreEntry
from mlops.integrations.bentoml_serving.inputs import check_labels, check_metadata
from mlops.integrations.bentoml_serving.lookup import resolve
from mlops.integrations.bentoml_serving.model_card import read_card
from mlops.integrations.bentoml_serving.serving_verbs import ServingVerbs
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import Link, ToolHealth, ToolState, installed_version

# From the registry by whoever deploys a registered model, else from the MLmodel file.
RUN_LABEL = "run_id"


class BentoServing(ServingVerbs):
    """BentoML in one project.

    The project's BentoML home is ``models/`` in its workspace: Bento models in ``models/models``, Bentos in
    ``models/bentos``, logs of servers in ``models/logs``. Tags are ``<project>.<model>:<version>``. BentoML
    itself is only run in child processes, so projects in one process share nothing of it.

    Args:
        context: The workspace and its settings.
    """

    def deploy(
        self,
        model_directory: Path | str,
        *,
        model: str,
        version: str | int,
        build_bento: bool = True,
        labels: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Package an MLflow model as a Bento model, and as a Bento that serves it.

        The same version with the same content can be deployed again and gives what is already there, with
        the labels and metadata of the first time. Two runs that saved the same model count as the same.

        Args:
            model_directory: A local MLflow model directory. Artifacts of this workspace are hard-linked
                where the file system can, everything else is copied.
            model: The model's name without the project's prefix.
            version: The version, such as ``3``.
            build_bento: Whether to build the Bento too; without one the model cannot be served here.
            labels: Text labels; ``project``, ``model``, ``version`` and, if known, ``run_id`` are added.
            metadata: Plain values to keep with the model.

        Raises:
            InvalidModelNameError: The name or version breaks the naming rule.
            ModelNotFoundError: The directory does not exist or holds no MLflow model.
            IntegrationError: The version exists with other content, or the build failed.
            IntegrationNotInstalledError: BentoML is not installed.
        """
        operation = "deploy"
        name = self._tag_name(model, operation)
        version = names.validate_version(version, project=self.project, operation=operation)
        own = {"project": self.project, "model": model, "version": version}
        stored = deploying.deploy(
            self.store,
            Path(model_directory).expanduser().absolute(),
            model=model,
            name=name,
            version=version,
            build_bento=build_bento,
            labels=own | check_labels(labels, operation=operation, workspace=self.project),
            metadata=check_metadata(metadata, operation=operation, workspace=self.project),
            bentoml_version=self._require_installed(operation),
            operation=operation,
        )
        return self.store.deployment(stored)

    def export_bento(
        self,
        target: str | Deployment,
        directory: Path | str,
        *,
        version: str | int | None = None,
        force: bool = False,
    ) -> Path:
        """Write a Bento with its models as a folder that any container builder can build.

        The folder needs neither this library nor the workspace: ``bentoml serve <directory>`` runs it, and
        ``docker build -f <directory>/env/docker/Dockerfile <directory>`` makes an image of it.

        Args:
            target: A deployment, a tag, or a model's name.
            directory: The folder to make, whole or not at all; its parent is made if need be.
            version: The version; None for the one that was deployed last.
            force: Replace an earlier export in that folder; anything else there is never replaced.

        Returns:
            The folder's absolute path.

        Raises:
            ModelNotFoundError: There is no such model, or it has no Bento.
            DataIntegrityError: The stored model is not what was deployed.
            ConfirmationRequiredError: There is an earlier export and ``force`` is false.
            IntegrationError: The folder holds something else, or the Bento needs a path of this machine.
        """
        operation = "export_bento"
        bento = self._bento(target, version, operation)
        with self.store.reporting(f"{bento.tag} could not be exported to {directory}", operation):
            return export.export_bento(
                self.store, bento, Path(directory).expanduser().absolute(), force=force, operation=operation
            )

    def models(self) -> list[StoreEntry]:
        """Return the stored Bento models by tag; one that cannot be read carries its error."""
        return [*self.store.entries("model")]

    def bentos(self) -> list[StoreEntry]:
        """Return the stored Bentos by tag; one that cannot be read carries its error."""
        return [*self.store.entries("bento")]

    def deployments(self) -> list[Deployment]:
        """Return the models that can be read, with their Bentos, by tag; then services of the user's own."""
        services = (entry for entry in self.store.entries("bento") if lineage.is_user_service(entry))
        return [
            self.store.deployment(entry)
            for entry in (*self.store.entries("model"), *services)
            if not entry.error
        ]

    def get(self, model: str, version: str | int) -> Deployment:
        """Return exactly one version of a model.

        Args:
            model: The model's name, with or without the project's prefix.
            version: The version.

        Raises:
            ModelNotFoundError: It is not there; the message lists what is.
            IntegrationError: It is there and cannot be read.
        """
        return self.store.deployment(self._readable(resolve(self.store, model, str(version), "get"), "get"))

    def inputs(self, tag: str) -> list[dict[str, Any]] | None:
        """Return the columns or tensors that a stored model takes, as MLflow writes them; None if unknown.

        Args:
            tag: The model's tag.

        Raises:
            ModelNotFoundError: It is not there; the message lists what is.
        """
        operation = "inputs"
        entry = self._readable(resolve(self.store, tag, None, operation), operation)
        folder = entry.path / MLFLOW_FOLDER
        return read_card(folder, operation=operation, workspace=self.project).inputs

    def delete(self, model: str, version: str | int) -> None:
        """Remove exactly one version of a model, and its Bento.

        Args:
            model: The model's name, with or without the project's prefix.
            version: The version.

        Raises:
            ModelNotFoundError: It is not there; the message lists what is.
            IntegrationError: It is being served.
        """
        operation = "delete"
        entry = resolve(self.store, model, str(version), operation)
        for server in starting.running(self.workspace):
            if server["tag"] == entry.tag:
                raise self._error(
                    f"{entry.tag} is being served at {server['url']} by process {server['pid']}",
                    operation,
                    "stop that server first",
                )
        twin = self.store.twin(entry)
        with self.store.reporting(f"{entry.tag} could not be removed", operation):
            # The Bento first: it refers to the model.
            doomed = sorted((e for e in (entry, twin) if e), key=lambda e: e.kind)
            self.store.remove(*doomed, operation=operation)

    def ensure(self) -> None:
        """Create the store's directories that are missing."""
        self.store.ensure()

    def health(self) -> ToolHealth:
        """Say whether models can be packaged, without importing BentoML."""
        installed = installed_version(self.tool)
        location = str(self.workspace.models_path)
        if installed is None:
            reason = "the package 'bentoml' is not installed"
            return ToolHealth(self.tool, ToolState.NOT_INSTALLED, location, error=reason)
        if problem := self.store.problem():
            return ToolHealth(self.tool, ToolState.UNAVAILABLE, location, installed, problem)
        created = self.store.root("model").is_dir()
        return ToolHealth(
            self.tool, ToolState.READY if created else ToolState.NOT_CREATED, location, installed
        )

    def summary(self) -> dict[str, Any]:
        """Return counts, the tags that are deployed, what is being served, and damaged entries."""
        models, bentos = self.models(), self.bentos()
        return {
            "models": sum(not entry.error for entry in models),
            "bentos": sum(not entry.error for entry in bentos),
            "deployments": [entry.tag for entry in models if not entry.error],
            "serving": self.servers(),
            "errors": [entry.error for entry in (*models, *bentos) if entry.error],
        }

    def usage(self) -> Usage:
        """Return what the store costs on disk; files shared with MLflow's artifacts are counted here too."""
        return measure(self.workspace.models_path)

    def links(self) -> Iterator[Link]:
        """Yield the origin of each model, from its labels, and the Bento it is served as."""
        for entry in self.store.entries("model"):
            if not entry.error:
                bento = self.store.twin(entry)
                yield from lineage.links_of(entry.tag, entry.labels, bento=bento.tag if bento else None)
        for entry in self.store.entries("bento"):
            if not entry.error and lineage.is_user_service(entry):
                yield from lineage.service_links(entry.tag, entry.labels)

    def links_of(self, made: Deployment) -> Iterator[Link]:
        """Yield the origin of a deployment, and its Bento."""
        if made.model_tag is None:
            return lineage.service_links(made.tag, made.labels)
        return lineage.links_of(made.model_tag, made.labels, bento=made.bento_tag)

    def export(self, destination: Path, *, include_data: bool = True) -> None:
        """Copy the models and Bentos into an existing empty directory."""
        with self.store.reporting(f"The store could not be copied to {destination}", "export"):
            archive.export_store(self.store, destination)

    def restore(self, source: Path) -> None:
        """Replace the models and Bentos by an exported copy."""
        with self.store.reporting(f"The store could not be replaced by {source}", "restore"):
            archive.restore_store(self.store, source)

    def adopt(self, former: ProjectWorkspace, *, moved: bool) -> None:
        """Give models and Bentos under a former prefix the present one.

        Raises:
            InvalidModelNameError: A name would be too long for a tag; nothing is renamed.
        """
        with self.store.reporting(f"The tags of {former.project_name} could not be renamed", "adopt"):
            renaming.adopt_store(self.store, former)

    def in_use(self) -> Iterator[str]:
        """Say which servers run."""
        for server in self.servers():
            yield f"{server['tag']} is being served at {server['url']} by process {server['pid']}"

    def close(self) -> None:
        """Stop every server that this process started for the project."""
        starting.stop_started(self.workspace)
