"""From something a training script has in its hand to a packaged model, and from there to its Bento."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import names
from mlops.errors import DataNotFoundError, IntegrationError, ModelNotFoundError
from mlops.files import hash_file
from mlops.workspace import links

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession
    from mlops.integrations.bentoml_serving import Deployment
    from mlops.integrations.mlflow_tracking.versions import ModelVersion

# Characters of the hash of its MLmodel that are the version of a model that has none.
VERSION_LENGTH: Final = 12
_TAG_PREFIX: Final = "mlops."
_DATA: Final = "mlops.data."
_CODE: Final = ("mlops.git_commit", "mlops.git_dirty")
# References that only the registry understands: URIs, ids, `name@alias` and `name/3`.
_IN_REGISTRY: Final = re.compile(
    r"\A(?:(?:runs|models):/.*|[0-9a-f]{32}|m-[0-9a-f]{32}|[^/\\]+@[^/\\]+|[^/\\~.][^/\\]*/\d+)\Z", re.DOTALL
)


def deploy(
    client: ProjectSession,
    model: Any,
    *,
    version: str | int | None = None,
    alias: str | None = None,
    name: str | None = None,
    build_bento: bool = True,
    input_example: Any = None,
    signature: Any = None,
) -> Deployment:
    """Package a model; see ``MLOpsClient.deploy_model``."""
    deployment = _deploy(
        client,
        getattr(model, "model_uri", model),  # what MLflow's own log_model returned
        version=version,
        alias=alias,
        name=name,
        build_bento=build_bento,
        input_example=input_example,
        signature=signature,
    )
    links.record(client.workspace, client.serving.links_of(deployment), operation="deploy_model")
    return deployment


def _deploy(
    client: ProjectSession,
    model: Any,
    *,
    version: str | int | None,
    alias: str | None,
    name: str | None,
    build_bento: bool,
    input_example: Any,
    signature: Any,
) -> Deployment:
    operation = "deploy_model"
    directory = _directory(model)
    registered: ModelVersion
    if directory is None and not _is_reference(model):
        if version is not None or alias is not None:
            raise _error(
                client,
                "A model object gets its version when it is registered",
                operation,
                "leave version= and alias= out, or pass the model's name instead of the object",
            )
        registered = _log(client, model, name, input_example=input_example, signature=signature)
    elif input_example is not None or signature is not None:
        raise _error(
            client,
            f"{model!r} is stored already, with the example and the signature it has",
            operation,
            "leave input_example= and signature= out, or log the model again with them",
        )
    elif directory is not None:
        if alias is not None:
            raise _error(client, f"{directory} is no registered model", operation, "leave alias= out")
        return _deploy_directory(client, directory, version=version, name=name, build_bento=build_bento)
    else:
        registered = client.tracking.models.find(model, version=version, alias=alias)
    return client.serving.deploy(
        client.tracking.models.download(registered),
        model=registered.name,
        version=_version(registered),
        labels=_passport(
            client,
            run_id=registered.run_id,
            tags=registered.tags,
            flavor=registered.flavor,
            framework=registered.framework,
        ),
        build_bento=build_bento,
    )


def packaged(
    client: ProjectSession, model: Any, *, version: str | int | None, alias: str | None, operation: str
) -> tuple[str, str | None]:
    """Return the tag or name, and the version if it is known, under which a model was packaged.

    Args:
        client: The project.
        model: What ``deploy_model`` takes or returns.
        version: The version.
        alias: An alias, instead of a version.
        operation: The calling method, for errors.

    Raises:
        ModelNotFoundError: There is no such model, version or alias.
        IntegrationError: A model object was given: it is not known whether it was ever packaged.
    """
    if (tag := getattr(model, "tag", None)) is not None:
        return str(tag), None if version is None else str(version)
    model = getattr(model, "model_uri", model)
    directory = _directory(model)
    if directory is not None:
        _require_model(client, directory, operation)
        return directory.name, str(version) if version is not None else _content_version(directory)
    if not _is_reference(model):
        raise _error(
            client,
            f"{operation} takes a packaged model, not an object of type {type(model).__name__}",
            operation,
            'package it first: client.deploy_model(model, name="...")',
        )
    if alias is not None or not isinstance(model, str) or _IN_REGISTRY.match(model):
        registered = client.tracking.models.find(model, version=version, alias=alias)
        return registered.name, _version(registered)
    return model, None if version is None else str(version)


def _is_reference(model: Any) -> bool:
    from mlops.integrations.mlflow_tracking.versions import ModelVersion

    return isinstance(model, str | ModelVersion)


def _directory(model: Any) -> Path | None:
    if isinstance(model, Path) or (
        isinstance(model, str) and ("/" in model or "\\" in model) and not _IN_REGISTRY.match(model)
    ):
        return Path(model).expanduser().absolute()
    return None


def _log(
    client: ProjectSession, model: Any, name: str | None, *, input_example: Any, signature: Any
) -> ModelVersion:
    """Store an object in the active run, or in one of its own, so that its origin is known."""
    from mlops.integrations.mlflow_tracking import flavors

    operation, tracking = "deploy_model", client.tracking
    if name is None:
        raise _error(
            client,
            f"An object of type {type(model).__name__} has no name to be registered under",
            operation,
            'pass one: client.deploy_model(model, name="...")',
        )
    # What is wrong with the arguments is said before a run is made for them.
    names.validate_model_name(
        name.removeprefix(tracking.model_prefix), project=client.project_name, operation=operation
    )
    flavors.detect(model, operation=operation, project=client.project_name)
    run: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if tracking.active_run is None:
        run = tracking.start_run(f"deploy-{name}")
    with run:
        return tracking.models.log(model, name, input_example=input_example, signature=signature)


def _deploy_directory(
    client: ProjectSession,
    directory: Path,
    *,
    version: str | int | None,
    name: str | None,
    build_bento: bool,
) -> Deployment:
    from mlops.integrations.bentoml_serving.model_card import read_card
    from mlops.integrations.mlflow_tracking import packaging

    operation = "deploy_model"
    _require_model(client, directory, operation)
    card = read_card(directory, operation=operation, workspace=client.project_name)
    facts = packaging.describe(directory)
    return client.serving.deploy(
        directory,
        model=name or directory.name,
        version=str(version) if version is not None else _content_version(directory),
        labels=_passport(
            client, run_id=card.run_id or "", tags={}, flavor=facts.flavor, framework=facts.framework
        ),
        build_bento=build_bento,
    )


def _require_model(client: ProjectSession, directory: Path, operation: str) -> None:
    if not (directory / "MLmodel").is_file():
        raise ModelNotFoundError(
            f"{directory} is not a model in MLflow's format: it has no file MLmodel",
            tool="bentoml",
            operation=operation,
            workspace=client.project_name,
            hint="log the model with client.log_model, or save it with mlflow.<flavour>.save_model",
        )


def _content_version(directory: Path) -> str:
    # A directory has no version of its own; its MLmodel has the ids and times that identify it.
    return hash_file(directory / "MLmodel")[:VERSION_LENGTH]


def _version(registered: ModelVersion) -> str:
    # A model that was only logged has no version.
    return registered.version or registered.model_id


def _passport(
    client: ProjectSession, *, run_id: str, tags: Mapping[str, str], flavor: str, framework: str
) -> dict[str, str]:
    """Return the labels that say where a model comes from; aliases move, so they are not among them.

    ``run_id``, ``git_commit``, ``git_dirty``, ``flavor``, ``framework``, and ``data.<dataset>`` with the md5
    of each version it was trained on. The version's own tags come first: they are of the time it was logged.
    """
    of_run: Mapping[str, str] = {}
    data: Mapping[str, str] = {}
    if run_id:
        # A directory may come from elsewhere, and a run may have been deleted.
        with contextlib.suppress(DataNotFoundError):
            of_run = client.tracking.get_run(run_id)["tags"]
            data = {f"{_DATA}{use['name']}": use["digest"] for use in client.tracking.datasets(run_id)}
    origin = {key: tags.get(key) or of_run.get(key) for key in _CODE}
    for known in (tags, of_run, data):
        if versions := {key: value for key, value in known.items() if key.startswith(_DATA)}:
            origin |= versions
            break
    facts = {"run_id": run_id, "flavor": flavor, "framework": framework}
    labels = facts | {key.removeprefix(_TAG_PREFIX): value for key, value in origin.items()}
    return {key: value for key, value in labels.items() if value}


def _error(client: ProjectSession, message: str, operation: str, hint: str) -> IntegrationError:
    return IntegrationError(
        message, tool="bentoml", operation=operation, workspace=client.project_name, hint=hint
    )
