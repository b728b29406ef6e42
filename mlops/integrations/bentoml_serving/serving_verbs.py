"""What a project does with packaged models that are to be used: serve them, and read what they were asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from mlops import names
from mlops.errors import ConfigError, IntegrationError, IntegrationNotInstalledError, ModelNotFoundError
from mlops.integrations.bentoml_serving import prediction_log, starting, user_service
from mlops.integrations.bentoml_serving.entries import Deployment, StoreEntry
from mlops.integrations.bentoml_serving.inputs import check_labels
from mlops.integrations.bentoml_serving.lookup import resolve
from mlops.integrations.bentoml_serving.server import Server
from mlops.integrations.bentoml_serving.store import BentoStore
from mlops.workspace.tools import DISTRIBUTION, ToolContext, installed_version

# Loading MLflow alone can take half a minute on a busy machine.
SERVE_TIMEOUT_SECONDS: Final = 120.0


class ServingVerbs:
    """The part of the adapter that concerns servers.

    Args:
        context: The workspace and its settings.
    """

    tool: ClassVar[str] = "bentoml"

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self.workspace = context.workspace
        self.project = context.workspace.project_name
        self.prefix = context.settings.bentoml_tag_prefix or names.default_tag_prefix(self.project)
        self.store = BentoStore(
            context.workspace, prefix=self.prefix, lock_timeout=context.settings.lock_timeout
        )

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

        ``serve`` starts it like a model, and ``Server.call`` calls its routes. The same version with the same
        source can be deployed again and gives what is already there.

        Args:
            service: A class with ``@bentoml.service``, ``"module:Class"``, or the path of a Python file. The
                package it is in is packaged whole; of a single file, the modules beside it that it imports.
            name: The service's name without the project's prefix.
            version: The version, such as ``3``.
            models: The deployments, or tags, that it loads, such as with ``bentoml.models.BentoModel(tag)``.
            requirements: The packages it needs, as requirement lines; those of its models by default.
            labels: Text labels; ``project``, ``model`` and ``version`` are added.

        Raises:
            InvalidModelNameError: The name or version breaks the naming rule.
            ModelNotFoundError: One of the models is not there.
            IntegrationError: The service is defined in a notebook or the program itself, its build failed, or
                the version exists with something else.
            IntegrationNotInstalledError: BentoML is not installed.
        """
        operation = "deploy_service"
        full = self._tag_name(name, operation)
        version = names.validate_version(version, project=self.project, operation=operation)
        checked = check_labels(labels, operation=operation, workspace=self.project)
        self._require_installed(operation)
        tags = [each.tag if isinstance(each, Deployment) else each for each in models]
        with self.store.reporting(f"{full}:{version} could not be stored", operation):
            return self.store.deployment(
                user_service.deploy(
                    self.store,
                    service,
                    model=name,
                    name=full,
                    version=version,
                    models=[
                        self._readable(resolve(self.store, tag, None, operation), operation) for tag in tags
                    ],
                    requirements=requirements,
                    labels={"project": self.project, "model": name, "version": version, **checked},
                    operation=operation,
                )
            )

    def serve(
        self,
        target: str | Deployment,
        *,
        version: str | int | None = None,
        port: int | None = None,
        host: str = "127.0.0.1",
        timeout: float = SERVE_TIMEOUT_SECONDS,
        workers: int | None = None,
        log_predictions: bool = True,
        sample_rate: float = 1.0,
    ) -> Server:
        """Start a server for a model in child processes and wait until it can predict.

        It is stopped by its ``stop``, by ``close``, when this program ends however that happens, and when
        the workspace is deleted or moved.

        Args:
            target: A deployment, a tag, or a model's name.
            version: The version; None for the one that was deployed last.
            port: The port, or None for a free one.
            host: The address to listen on. There is no authentication: keep it local, or behind a proxy.
            timeout: Seconds to wait; loading MLflow alone can take 30 s on a busy machine.
            workers: Processes that predict at the same time; None for as many as the service says, which for
                a model is one.
            log_predictions: Whether requests and predictions are logged in the project, for ``predictions``
                to read; a service of the user's own does not log.
            sample_rate: The share of requests that is logged, 0 to 1.

        Raises:
            ModelNotFoundError: There is no such model, or it has no Bento.
            IntegrationError: The server ended before it was ready.
            IntegrationUnavailableError: It was not ready in time, or the port is in use.
        """
        operation = "serve"
        self._require_installed(operation)
        address = self._address(host, operation)
        if (workers is not None and workers < 1) or timeout <= 0:
            raise self._error(
                f"workers={workers} and timeout={timeout} must be positive", operation, "use 1 or more"
            )
        if not 0 <= sample_rate <= 1:
            raise self._error(f"sample_rate={sample_rate} is no share", operation, "use 0 to 1")
        bento = self._bento(target, version, operation)
        with self.store.reporting(f"The server of {bento.tag} could not be started", operation):
            return starting.start(
                self.store,
                bento,
                host=address,
                port=port,
                timeout=timeout,
                workers=workers,
                sample_rate=sample_rate if log_predictions else 0.0,
            )

    def predictions(
        self,
        model: str,
        *,
        version: str | int | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield what the servers of a model were asked and answered, by time; see ``prediction_log``.

        Args:
            model: The model's name, with or without the project's prefix.
            version: Only this version.
            since: Only requests from this moment on, aware.
            limit: Only the newest so many requests.

        Raises:
            InvalidModelNameError: The name breaks the naming rule.
            ConfigError: ``since`` has no time zone, or ``limit`` is negative.
        """
        short = model.removeprefix(self.prefix)
        names.validate_model_name(short, project=self.project, operation="predictions")
        return prediction_log.read(
            prediction_log.log_directory(self.workspace, short),
            version=None if version is None else str(version),
            since=since,
            limit=limit,
        )

    def servers(self) -> list[dict[str, Any]]:
        """Return the servers that run for this project now, whichever process started them."""
        return [*starting.running(self.workspace)]

    def _tag_name(self, model: str, operation: str) -> str:
        names.validate_model_name(model, project=self.project, operation=operation)
        name = f"{self.prefix}{model}"
        if not names.MODEL_NAME.match(name) or len(name) > names.MAX_FULL_MODEL_LENGTH:
            raise ConfigError(
                f"The tag prefix {self.prefix!r} makes {name!r}, which is not a valid Bento name",
                operation=operation,
                workspace=self.project,
                hint=f"use lower-case letters, digits, '.', '_' and '-', such as {self.project + '.'!r}; "
                f"prefix and model together may have {names.MAX_FULL_MODEL_LENGTH} characters",
            )
        return name

    def _require_installed(self, operation: str) -> str:
        installed = installed_version(self.tool)
        if installed is None:
            raise IntegrationNotInstalledError(
                "bentoml cannot be used because the package 'bentoml' is not installed",
                tool=self.tool,
                operation=operation,
                workspace=self.project,
                details={"package": "bentoml", "extra": "bentoml"},
                hint=f'install it with: pip install "{DISTRIBUTION}[bentoml]"',
            )
        return installed

    def _readable(self, entry: StoreEntry, operation: str) -> StoreEntry:
        if entry.error:
            raise self.store.damaged(entry, operation)
        return entry

    def _bento(self, target: str | Deployment, version: str | int | None, operation: str) -> StoreEntry:
        """Return the readable Bento that a target stands for."""
        name = target.tag if isinstance(target, Deployment) else target
        entry = resolve(self.store, name, None if version is None else str(version), operation)
        bento = self.store.twin(self._readable(entry, operation)) if entry.kind == "model" else entry
        if bento is None:
            raise ModelNotFoundError(
                f"{entry.tag} was stored without a Bento, which {operation} needs",
                tool=self.tool,
                operation=operation,
                workspace=self.project,
                hint=f"build it: client.deploy_model({entry.model!r}, version={entry.version!r})",
            )
        return self._readable(bento, operation)

    def _address(self, host: str, operation: str) -> str:
        if host == "localhost":
            return "127.0.0.1"
        try:
            return str(ipaddress.ip_address(host))
        except ValueError as error:
            raise self._error(
                f"{host!r} is not an IP address to listen on", operation, "use 127.0.0.1, or 0.0.0.0 for all"
            ) from error

    def _error(self, message: str, operation: str, hint: str) -> IntegrationError:
        return IntegrationError(
            message, tool=self.tool, operation=operation, workspace=self.project, hint=hint
        )
