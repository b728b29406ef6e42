"""Verbs for models: load one, promote it, package it, and serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.client.deployment import deploy, packaged
from mlops.client.session import ProjectSession

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import Deployment, Server
    from mlops.integrations.mlflow_tracking.versions import ModelVersion


class ModelVerbs(ProjectSession):
    """What brings a model into use."""

    def load_model(self, name: str, *, version: str | int | None = None, alias: str | None = None) -> Any:
        """Load a registered model from this project's store, whatever MLflow's globals point to.

        Args:
            name: The model's name; also what ``log_model`` returned, ``name@alias``, a run's id or a
                ``models:/`` or ``runs:/`` URI.
            version: The version; the newest by default.
            alias: An alias such as ``production``, instead of a version.

        Returns:
            The object its framework knows; for a directory model the path of the directory; for a function
            MLflow's ``PyFuncModel``.

        Raises:
            ModelNotFoundError: There is no such model, version or alias.
            IsolationError: It is another project's.
            IntegrationError: Its framework refuses the files.
        """
        return self.tracking.models.load(name, version=version, alias=alias)

    def promote(self, name: str, alias: str, *, version: str | int | None = None) -> ModelVersion:
        """Point an alias such as ``production`` to a version of a model.

        ``client.tracking.models.history(name, alias)`` lists every promotion with its time and the version it
        replaced.

        Args:
            name: The model's name.
            alias: Letters, digits, ``_`` and ``-``.
            version: The version; the newest by default.

        Raises:
            ModelNotFoundError: There is no such model or version.
            IntegrationError: MLflow refuses the alias.
        """
        return self.tracking.models.promote(name, alias, version=version)

    def deploy_model(
        self,
        model: Any,
        *,
        version: str | int | None = None,
        alias: str | None = None,
        name: str | None = None,
        build_bento: bool = True,
        input_example: Any = None,
        signature: Any = None,
    ) -> Deployment:
        """Package a model as a Bento model and a Bento, ``<project>.<model>:<version>``.

        Both have labels that say where the model comes from: ``project``, ``model``, ``version``, ``run_id``,
        ``git_commit``, ``git_dirty``, ``flavor``, ``framework`` and ``data.<dataset>``. Packaging the same
        version again gives what is there already, and builds the Bento if only that is missing.

        Args:
            model: What ``log_model`` returned; a model's name, also as ``name@alias`` or ``name:3``; the id
                of a run; a ``models:/`` or ``runs:/`` URI; the path of a directory in MLflow's format; or a
                model object, which is logged first, to the active run or to one of its own.
            version: The registered version; the newest by default.
            alias: An alias such as ``production``, instead of a version.
            name: The short name for an object, which must have one, or for a directory.
            build_bento: Build the Bento too; otherwise only the Bento model is stored.
            input_example: For an object: a few input rows; the signature is inferred from them.
            signature: For an object: an explicit MLflow signature.

        Raises:
            ModelNotFoundError: There is no such model, version or alias.
            InvalidModelNameError: The name breaks the rule.
            IntegrationError: The version is packaged already with other content, the object cannot be logged,
                or the build failed.
        """
        return deploy(
            self,
            model,
            version=version,
            alias=alias,
            name=name,
            build_bento=build_bento,
            input_example=input_example,
            signature=signature,
        )

    def export_bento(
        self,
        model: Any,
        directory: Path | str,
        *,
        version: str | int | None = None,
        alias: str | None = None,
        force: bool = False,
    ) -> Path:
        """Write a packaged model as a folder that any container builder can build.

        The folder holds the service, the model and what they require. It needs neither this library nor the
        workspace: ``bentoml serve <directory>`` runs it, and ``docker build -f
        <directory>/env/docker/Dockerfile <directory>`` makes an image of it.

        Args:
            model: What ``deploy_model`` takes or returned, except an object.
            directory: The folder to make, whole or not at all.
            version: The version; the one that was packaged last by default.
            alias: An alias such as ``production``, instead of a version.
            force: Replace an earlier export in that folder; anything else there is never replaced.

        Returns:
            The folder's absolute path.

        Raises:
            ModelNotFoundError: There is no such model, or it was not packaged with a Bento.
            ConfirmationRequiredError: There is an earlier export and ``force`` is false.
            IntegrationError: The folder holds something else, or the model requires a path of this machine.
        """
        target, found = packaged(self, model, version=version, alias=alias, operation="export_bento")
        return self.serving.export_bento(target, directory, version=found, force=force)

    def deploy_service(
        self,
        service: Any,
        *,
        name: str,
        version: str | int,
        models: Sequence[Deployment | str] = (),
        requirements: Sequence[str] | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Package a BentoML service of your own as a Bento, ``<project>.<name>:<version>``.

        ``serve`` starts it like a model, and the server's ``call`` calls its routes.

        Args:
            service: A class with ``@bentoml.service``, ``"module:Class"``, or the path of a Python file.
            name: The service's name without the project in front.
            version: The version, such as ``3``.
            models: The deployments, or tags, that it loads.
            requirements: The packages it needs, as requirement lines; those of its models by default.
            labels: Text labels.

        Raises:
            ModelNotFoundError: One of the models is not there.
            IntegrationError: The service is defined in a notebook or the program itself, or its build failed.
        """
        deployment = self.serving.deploy_service(
            service, name=name, version=version, models=models, requirements=requirements, labels=labels
        )
        self._record(self.serving.links_of(deployment), operation="deploy_service")
        return deployment

    def predictions(
        self,
        model: str,
        *,
        version: str | int | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield what servers of a model logged, oldest first: rows, answers, and how long they took.

        Args:
            model: The model's name.
            version: Only this version's.
            since: Only requests from this moment on, aware.
            limit: Only the newest so many.
        """
        return self.serving.predictions(model, version=version, since=since, limit=limit)

    def serve(
        self,
        model: Any,
        *,
        version: str | int | None = None,
        alias: str | None = None,
        port: int | None = None,
        host: str = "127.0.0.1",
        workers: int | None = None,
        timeout: float = 120,
        log_predictions: bool = True,
        sample_rate: float = 1.0,
    ) -> Server:
        """Start a packaged model as a child process and wait until it answers.

        Args:
            model: What ``deploy_model`` takes or returned, except an object.
            version: The version; the one that was packaged last by default.
            alias: An alias such as ``production``, instead of a version.
            port: The port; a free one by default.
            host: The address to listen on. There is no authentication: keep it local, or behind a proxy.
            workers: Processes that predict at the same time; by default as many as the service says, for
                a model one.
            timeout: Seconds to wait for it.
            log_predictions: Log requests and predictions in the project.
            sample_rate: The share of requests that is logged, 0 to 1.

        Returns:
            A handle with ``url``, ``predict(rows)`` and ``stop()``; it can be used in a ``with`` statement.

        Raises:
            ModelNotFoundError: There is no such model, or it was not packaged with ``deploy_model``.
            IntegrationError: The server ended before it was ready; the message has the end of its log.
            IntegrationUnavailableError: It was not ready in time, or the port is in use.
        """
        target, found = packaged(self, model, version=version, alias=alias, operation="serve")
        return self.serving.serve(
            target,
            version=found,
            port=port,
            host=host,
            workers=workers,
            timeout=timeout,
            log_predictions=log_predictions,
            sample_rate=sample_rate,
        )
