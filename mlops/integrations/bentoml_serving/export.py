"""A Bento as a folder of its own, which needs neither the workspace nor this library."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlops import plain_yaml
from mlops.errors import ConfirmationRequiredError, DataIntegrityError, IntegrationError
from mlops.files import sync_directory
from mlops.integrations.bentoml_serving import entries
from mlops.integrations.bentoml_serving.bento_model import MLFLOW_FOLDER, place
from mlops.integrations.bentoml_serving.entries import BENTO_FILE, StoreEntry
from mlops.integrations.bentoml_serving.model_card import digest
from mlops.integrations.bentoml_serving.store import LATEST, BentoStore
from mlops.workspace import scratch

REQUIREMENTS: Final = Path("env", "python", "requirements.txt")
# A requirement that only this machine can install: `name @ file:///...`, `/path`, `./path`, `../path`.
_LOCAL: Final = re.compile(r"(?:^|@\s*)(?:file:|[./~])")


def export_bento(
    store: BentoStore, bento: StoreEntry, directory: Path, *, force: bool, operation: str
) -> Path:
    """Write a Bento and its models into a folder, whole or not at all.

    Args:
        store: The project's store.
        bento: A readable Bento.
        directory: The folder to make.
        force: Replace an earlier export.
        operation: The calling method, for errors.

    Returns:
        The folder.

    Raises:
        DataIntegrityError: A model that the Bento needs is missing or not what was deployed.
        ConfirmationRequiredError: There is an earlier export and ``force`` is false.
        IntegrationError: The folder holds something else, or the Bento needs a path of this machine.
    """
    _check_target(store, directory, force=force, operation=operation)
    _check_requirements(store, bento, operation=operation)
    models = [_model(store, bento, tag, operation=operation) for tag in _tags(bento)]
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _beside(directory) as scratch:
        made = scratch / "bento"
        _copy_tree(bento.path, made)
        for model in models:
            _copy_model(store, model, made / "models", operation=operation)
        sync_directory(made)
        if directory.exists():
            # Moved away and not removed: should the second step fail, it goes back.
            directory.rename(scratch / "replaced")
        try:
            made.rename(directory)
        except OSError:
            if (scratch / "replaced").exists():
                (scratch / "replaced").rename(directory)
            raise
        sync_directory(directory.parent)
    return directory


def _check_target(store: BentoStore, directory: Path, *, force: bool, operation: str) -> None:
    project = store.workspace.project_name
    inside = store.home.resolve()
    if directory.resolve() == inside or inside in directory.resolve().parents:
        raise IntegrationError(
            f"{directory} is inside the project's own store",
            tool="bentoml",
            operation=operation,
            workspace=project,
            hint=f"choose a folder elsewhere, such as one below {store.workspace.outputs_path}",
        )
    if not os.path.lexists(directory) or (directory.is_dir() and not any(directory.iterdir())):
        return
    if directory.is_symlink() or not (directory / BENTO_FILE).is_file():
        raise IntegrationError(
            f"{directory} exists and is not an earlier export",
            tool="bentoml",
            operation=operation,
            workspace=project,
            hint="choose a new folder; force=True replaces exports only",
        )
    if not force:
        raise ConfirmationRequiredError(
            f"{directory} holds an exported Bento already; replacing it requires force=True",
            operation=operation,
            workspace=project,
            hint="pass force=True, or choose a new folder",
        )


def _check_requirements(store: BentoStore, bento: StoreEntry, *, operation: str) -> None:
    file = bento.path / REQUIREMENTS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    if local := [line for line in lines if _LOCAL.search(line.strip())]:
        raise IntegrationError(
            f"{bento.tag} requires {local[0].strip()!r}, which only this machine can install",
            tool="bentoml",
            operation=operation,
            workspace=store.workspace.project_name,
            details={"requirements": local},
            hint="log the model again with pip_requirements= that name published packages, and deploy it",
        )


def _tags(bento: StoreEntry) -> list[str]:
    """Return the tags of the models that a Bento loads."""
    values = plain_yaml.load((bento.path / BENTO_FILE).read_bytes())
    found: list[dict[str, Any]] = list(values.get("models") or [])
    for service in values.get("services") or []:
        found += service.get("models") or []
    return list(dict.fromkeys(str(model["tag"]) for model in found))


def _model(store: BentoStore, bento: StoreEntry, tag: str, *, operation: str) -> StoreEntry:
    name, _, version = tag.partition(":")
    entry = entries.read(store.root("model") / name / version, kind="model", prefix=store.prefix)
    if entry is None:
        raise DataIntegrityError(
            f"The model {tag} that the Bento {bento.tag} needs is not in the store",
            tool="bentoml",
            operation=operation,
            workspace=store.workspace.project_name,
            hint=f"deploy it again: client.deploy_model({bento.model!r}, version={bento.version!r})",
        )
    if entry.error:
        raise store.damaged(entry, operation)
    return entry


def _copy_model(store: BentoStore, model: StoreEntry, models: Path, *, operation: str) -> None:
    target = models / model.path.parent.name / model.version
    _copy_tree(model.path, target)
    (target.parent / LATEST).write_text(model.version, encoding="utf-8")
    if model.digest is not None and digest(target / MLFLOW_FOLDER) != model.digest:
        raise DataIntegrityError(
            f"The files of {model.tag} in the store are not what was deployed",
            tool="bentoml",
            operation=operation,
            workspace=store.workspace.project_name,
            details={"path": str(model.path)},
            hint=f"delete({model.model!r}, {model.version!r}) and deploy the model again",
        )


def _copy_tree(source: Path, target: Path) -> None:
    """Copy files, never links to them, and keep which ones can be executed."""
    for folder, _, files in os.walk(source, followlinks=True):
        inside = target / Path(folder).relative_to(source)
        inside.mkdir(parents=True)
        for name in files:
            path, copy = Path(folder, name), inside / name
            place(path, copy, link=False)
            if path.stat().st_mode & stat.S_IXUSR:
                copy.chmod(copy.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


@contextlib.contextmanager
def _beside(directory: Path) -> Iterator[Path]:
    """Give a scratch directory on the file system of ``directory``, clearing those of killed exports away."""
    name = f".{directory.name}.export"
    scratch.sweep(directory.parent, name)
    path, descriptor = scratch.claim(directory.parent, name)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)
