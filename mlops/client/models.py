"""Verbs for models: load one, promote it, package it, and serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.client.deployment import deploy
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
