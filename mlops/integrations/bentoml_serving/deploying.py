"""Putting an MLflow model into the store: as a Bento model, and as the Bento that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops.errors import IntegrationError
from mlops.files import measure
from mlops.integrations.bentoml_serving import bento_model, lineage
from mlops.integrations.bentoml_serving.builder import build
from mlops.integrations.bentoml_serving.entries import StoreEntry
from mlops.integrations.bentoml_serving.model_card import digest, read_card
from mlops.integrations.bentoml_serving.store import BentoStore
from mlops.workspace.room import require_room


def deploy(
    store: BentoStore,
    source: Path,
    *,
    model: str,
    name: str,
    version: str,
    build_bento: bool,
    labels: Mapping[str, str],
    metadata: Mapping[str, Any],
    bentoml_version: str,
    operation: str,
) -> StoreEntry:
    """Store a model under a tag unless it is there already, and build its Bento unless that is.

    Whoever else deploys the same tag at the same time, one of them stores it. The others get what that one
    stored, or an error if it is something else.

    Args:
        store: The project's store.
        source: A local MLflow model directory.
        model: The model's name without the project's prefix.
        name: The name part of the tag.
        version: The version part of the tag.
        build_bento: Whether to build the Bento too.
        labels: Checked labels; ``run_id`` is added from the model's own file if it is not among them.
        metadata: Checked metadata.
        bentoml_version: The installed version.
        operation: The calling method, for errors.

    Returns:
        The stored Bento model.

    Raises:
        ModelNotFoundError: The directory does not exist or holds no MLflow model.
        DataIntegrityError: The model lacks a file.
        IntegrationError: The version exists with other content, or the build failed.
        QuotaExceededError: The project has no room for it.
    """
    project = store.workspace.project_name
    card = read_card(source, operation=operation, workspace=project)
    if build_bento and not card.servable:
        raise _error(
            store,
            f"{source} has no python_function flavour, so it cannot be served",
            operation,
            "save it with a flavour that has one, or pass build_bento=False to store it only",
        )
    run = {"run_id": card.run_id} if card.run_id else {}
    with store.reporting(f"{source} could not be stored as {name}:{version}", operation):
        stored = store.find("model", model, version)
        taken = store.find("bento", model, version)
        if stored is None and taken is not None and lineage.is_user_service(taken):
            raise _error(
                store,
                f"{name}:{version} is a service of your own",
                operation,
                "choose another name or version",
            )
        if stored is None:
            require_room(
                store.workspace,
                directory=store.home.name,
                adding_bytes=lambda: measure(source).bytes,
                linked=source.resolve().is_relative_to(store.workspace.mlflow_path.resolve()),
                operation=operation,
            )
            with store.scratch("model", operation) as (staging, _):
                content = bento_model.write(
                    source,
                    staging / "model",
                    name=name,
                    version=version,
                    labels={**run, **labels},
                    metadata=metadata,
                    bentoml_version=bentoml_version,
                    linkable=(store.workspace.mlflow_path, store.workspace.state_path),
                )
                store.publish(
                    staging / "model", kind="model", name=name, version=version, operation=operation
                )
            stored = store.find("model", model, version)
        else:
            content = digest(source)
            store.complete(stored, operation)
        if stored is None:
            raise _error(store, f"{name}:{version} was deleted while it was stored", operation, "try again")
        _require_same(store, stored, content, source, operation)
        if build_bento and store.twin(stored) is None:
            card = read_card(stored.path / bento_model.MLFLOW_FOLDER, operation=operation, workspace=project)
            build(store, stored, card, operation=operation)
    return stored


def _require_same(store: BentoStore, stored: StoreEntry, content: str, source: Path, operation: str) -> None:
    if stored.error:
        raise store.damaged(stored, operation)
    known = stored.digest
    if known is None and (stored.path / bento_model.MLFLOW_FOLDER).is_dir():
        # Stored by BentoML itself.
        known = digest(stored.path / bento_model.MLFLOW_FOLDER)
    if known != content:
        raise _error(
            store,
            f"{stored.tag} exists already, with another content than {source}",
            operation,
            f"deploy it as a new version, or first delete({stored.model!r}, {stored.version!r})",
        )


def _error(store: BentoStore, message: str, operation: str, hint: str) -> IntegrationError:
    return IntegrationError(
        message, tool="bentoml", operation=operation, workspace=store.workspace.project_name, hint=hint
    )
