"""Verbs for models: package one, and serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.client.deployment import deploy
from mlops.client.session import ProjectSession

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import Deployment, Server


class ModelVerbs(ProjectSession):
    """What brings a model into use."""

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
