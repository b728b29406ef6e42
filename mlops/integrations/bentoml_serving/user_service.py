"""Packaging a service that the user wrote, with the models it uses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops.errors import IntegrationError
from mlops.files import hash_file
from mlops.integrations.bentoml_serving import builder, service_files
from mlops.integrations.bentoml_serving.bento_model import MLFLOW_FOLDER
from mlops.integrations.bentoml_serving.entries import StoreEntry
from mlops.integrations.bentoml_serving.lineage import MODEL_LABEL, SOURCE_LABEL
from mlops.integrations.bentoml_serving.model_card import read_card
from mlops.integrations.bentoml_serving.service_files import ServiceFiles
from mlops.integrations.bentoml_serving.store import BentoStore
from mlops.workspace.room import require_room


def deploy(
    store: BentoStore,
    service: Any,
    *,
    model: str,
    name: str,
    version: str,
    models: Sequence[StoreEntry],
    requirements: Sequence[str] | None,
    labels: Mapping[str, str],
    operation: str,
) -> StoreEntry:
    """Build the Bento of a user's service unless it is there already.

    Args:
        store: The project's store.
        service: What ``service_files.find`` takes.
        model: The service's name without the project's prefix.
        name: The name part of the tag.
        version: The version part of the tag.
        models: The stored models it uses; they are packaged with it.
        requirements: Requirement lines; None for those of the models.
        labels: Checked labels.
        operation: The calling method, for errors.

    Returns:
        The stored Bento.

    Raises:
        IntegrationError: The service is in no file, its build failed, or the tag holds something else.
        QuotaExceededError: The project has no room for it.
    """
    project = store.workspace.project_name
    files = service_files.find(service, operation=operation, workspace=project)
    lines = _requirements(store, models, operation) if requirements is None else [*requirements]
    source = _digest(files, [entry.digest or entry.tag for entry in models], lines)
    stored = store.find("bento", model, version)
    if stored is None and store.find("model", model, version) is None:
        require_room(
            store.workspace,
            directory=store.home.name,
            adding_bytes=lambda: sum((files.root / path).stat().st_size for path in files.paths),
            operation=operation,
        )
        uses = {f"{MODEL_LABEL}{number}": entry.tag for number, entry in enumerate(models, 1)}
        options = {
            "service": files.target,
            "labels": {**labels, **uses, SOURCE_LABEL: source},
            "include": ["**"],
            # Under its short name a service finds a model whatever the project and the version are.
            "models": [{"tag": entry.tag, "alias": entry.model} for entry in models],
            "python": {"packages": lines},
        }
        with builder.built(
            store,
            lambda target: _copy(files, target),
            options,
            name=name,
            version=version,
            operation=operation,
        ) as directory:
            store.publish(directory, kind="bento", name=name, version=version, operation=operation)
        stored = store.find("bento", model, version)
    if stored is not None and stored.error:
        raise store.damaged(stored, operation)
    if stored is None or stored.labels.get(SOURCE_LABEL) != source:
        raise IntegrationError(
            f"{name}:{version} exists already, and is not this service as it is now",
            tool="bentoml",
            operation=operation,
            workspace=project,
            hint=f"deploy it as a new version, or first delete({model!r}, {version!r})",
        )
    return stored


def _requirements(store: BentoStore, models: Sequence[StoreEntry], operation: str) -> list[str]:
    lines: dict[str, None] = {}
    for entry in models:
        card = read_card(
            entry.path / MLFLOW_FOLDER, operation=operation, workspace=store.workspace.project_name
        )
        lines |= dict.fromkeys(builder.packages(card))
    return [*lines]


def _digest(files: ServiceFiles, models: Sequence[str], requirements: Sequence[str]) -> str:
    contents = {path.as_posix(): hash_file(files.root / path) for path in files.paths}
    facts = json.dumps([files.target, contents, [*models], [*requirements]], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def _copy(files: ServiceFiles, target: Path) -> None:
    for path in files.paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files.root / path, target / path)
