"""What an MLflow model directory says about itself, read from its files without importing MLflow."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlops import plain_yaml
from mlops.errors import DataIntegrityError, IntegrationError, ModelNotFoundError
from mlops.files import hash_file

MODEL_FILE: Final = "MLmodel"
# Facts about one act of saving, not about the model: the same model saved twice differs only in these.
_SAVE_FACTS: Final = ("run_id", "model_id", "model_uuid", "utc_time_created", "artifact_path")
# Written beside the model by a download from the registry, and by importing the model's own code.
_IGNORED_FILES: Final = {"registered_model_meta"}
_IGNORED_DIRECTORIES: Final = {"__pycache__"}
# What the python_function flavour may name as a file or folder of the model (mlflow/pyfunc/__init__.py).
_PARTS: Final = ("model_path", "data", "code", "python_model")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The facts of an MLflow model that packaging needs.

    Args:
        servable: Whether it has the ``python_function`` flavour.
        inputs: The input columns or tensors of its signature, as MLflow writes them; None without one.
        from_type_hint: Whether the signature comes from the type hint of a Python model's ``predict``.
        run_id: The run that logged it, or None.
        requirements: The packages it needs, as requirement lines.
        mlflow_version: The version of MLflow that saved it, or None.
        python_version: The version of Python that saved it, such as ``3.11.7``, or None.
    """

    servable: bool
    inputs: list[dict[str, Any]] | None
    from_type_hint: bool
    run_id: str | None
    requirements: tuple[str, ...]
    mlflow_version: str | None = None
    python_version: str | None = None


def read_card(directory: Path, *, operation: str, workspace: str) -> ModelCard:
    """Read a model directory's MLmodel file.

    Args:
        directory: A local MLflow model directory.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        ModelNotFoundError: The directory does not exist, or has no MLmodel file.
        IntegrationError: The MLmodel file cannot be read.
        DataIntegrityError: A file that it names is missing or empty.
    """
    import yaml

    path = directory / MODEL_FILE
    if not path.is_file():
        what = "has no MLmodel file" if directory.is_dir() else "does not exist"
        raise ModelNotFoundError(
            f"{directory} is not an MLflow model directory: it {what}",
            tool="bentoml",
            operation=operation,
            workspace=workspace,
            details={"path": str(directory)},
            hint="pass a directory written by mlflow's save_model, or a downloaded model artifact",
        )
    try:
        values = _load(path)
        signature = values.get("signature") or {}
        inputs = json.loads(signature["inputs"]) if signature.get("inputs") else None
        function = (values.get("flavors") or {}).get("python_function")
        python = (function or {}).get("python_version")
        card = ModelCard(
            servable=function is not None,
            inputs=inputs,
            from_type_hint=bool(values.get("is_signature_from_type_hint")),
            run_id=str(values["run_id"]) if values.get("run_id") else None,
            requirements=_requirements(directory / "requirements.txt"),
            mlflow_version=str(values["mlflow_version"]) if values.get("mlflow_version") else None,
            python_version=str(python) if python else None,
        )
        lost = _lost(directory, function or {})
    except (OSError, ValueError, AttributeError, TypeError, KeyError, yaml.YAMLError) as error:
        raise IntegrationError(
            f"{path} cannot be read as the description of an MLflow model: {' '.join(str(error).split())}",
            tool="bentoml",
            operation=operation,
            workspace=workspace,
            details={"path": str(path)},
            hint="save the model again",
        ) from error
    if lost is not None:
        raise DataIntegrityError(
            f"The model in {directory} is damaged: its file {lost.name!r} is missing or empty",
            tool="bentoml",
            operation=operation,
            workspace=workspace,
            details={"path": str(lost)},
            hint="restore the file, or log the model again",
        )
    return card


def forget_locations(directory: Path) -> None:
    """Take absolute places out of a model's MLmodel file: where it was logged to, and its artifacts were.

    MLflow writes them for whoever looks; it reads none of them back, and elsewhere they would be wrong.
    """
    import yaml

    path = directory / MODEL_FILE
    values = _load(path)
    portable = _portable(values)
    if portable != values:
        path.write_text(yaml.safe_dump(portable, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _portable(values: dict[str, Any]) -> dict[str, Any]:
    portable = {k: v for k, v in values.items() if k != "artifact_path" or not _absolute(v)}
    function = (values.get("flavors") or {}).get("python_function")
    if isinstance(function, dict) and isinstance(function.get("artifacts"), dict):
        artifacts = {
            name: {k: v for k, v in facts.items() if k != "uri" or not _absolute(v)}
            for name, facts in function["artifacts"].items()
        }
        flavors = {**values["flavors"], "python_function": {**function, "artifacts": artifacts}}
        portable["flavors"] = flavors
    return portable


def _absolute(place: object) -> bool:
    return isinstance(place, str) and place.startswith(("/", "file:"))


def _load(path: Path) -> Any:
    return plain_yaml.load(path.read_bytes())


def _lost(directory: Path, function: dict[str, Any]) -> Path | None:
    for key in _PARTS:
        name = function.get(key)
        if isinstance(name, str) and name:
            part = directory / name
            if not part.exists() or (part.is_file() and part.stat().st_size == 0):
                return part
    return None


def _requirements(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    # Options such as `-c constraints.txt` point at files that a Bento does not carry.
    return tuple(line for line in lines if line and not line.startswith(("#", "-")))


def model_files(directory: Path) -> Iterator[Path]:
    """Yield the files that make up a model, links followed, in the order of their relative paths."""
    found: list[Path] = []
    for folder, folders, files in os.walk(directory, followlinks=True):
        folders[:] = [name for name in folders if name not in _IGNORED_DIRECTORIES]
        found.extend(Path(folder, name) for name in files)
    by_name = sorted((path.relative_to(directory).as_posix(), path) for path in found)
    yield from (path for name, path in by_name if name not in _IGNORED_FILES)


def digest(directory: Path) -> str:
    """Return a hash of a model's content that is equal for the same model saved twice."""
    total = hashlib.sha256()
    for path in model_files(directory):
        relative = path.relative_to(directory).as_posix()
        if relative == MODEL_FILE:
            values = _load(path)
            kept = {key: value for key, value in _portable(values).items() if key not in _SAVE_FACTS}
            content = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
        else:
            content = hash_file(path)
        total.update(f"{relative}\0{content}\n".encode())
    return total.hexdigest()
