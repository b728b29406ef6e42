"""What an MLflow model directory says about itself, read from its files without importing MLflow."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlops.errors import IntegrationError, ModelNotFoundError
from mlops.files import hash_file

MODEL_FILE: Final = "MLmodel"
# Facts about one act of saving, not about the model: the same model saved twice differs only in these.
_SAVE_FACTS: Final = ("run_id", "model_id", "model_uuid", "utc_time_created", "artifact_path")
# Written beside the model by a download from the registry, and by importing the model's own code.
_IGNORED_FILES: Final = {"registered_model_meta"}
_IGNORED_DIRECTORIES: Final = {"__pycache__"}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The facts of an MLflow model that packaging needs.

    Args:
        servable: Whether it has the ``python_function`` flavour.
        inputs: The input columns or tensors of its signature, as MLflow writes them; None without one.
        from_type_hint: Whether the signature comes from the type hint of a Python model's ``predict``.
        run_id: The run that logged it, or None.
        requirements: The packages it needs, as requirement lines.
    """

    servable: bool
    inputs: list[dict[str, Any]] | None
    from_type_hint: bool
    run_id: str | None
    requirements: tuple[str, ...]


def read_card(directory: Path, *, operation: str, workspace: str) -> ModelCard:
    """Read a model directory's MLmodel file.

    Args:
        directory: A local MLflow model directory.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        ModelNotFoundError: The directory does not exist, or has no MLmodel file.
        IntegrationError: The MLmodel file cannot be read.
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
        values = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        signature = values.get("signature") or {}
        inputs = json.loads(signature["inputs"]) if signature.get("inputs") else None
        return ModelCard(
            servable="python_function" in (values.get("flavors") or {}),
            inputs=inputs,
            from_type_hint=bool(values.get("is_signature_from_type_hint")),
            run_id=str(values["run_id"]) if values.get("run_id") else None,
            requirements=_requirements(directory / "requirements.txt"),
        )
    except (OSError, ValueError, AttributeError, TypeError, KeyError, yaml.YAMLError) as error:
        raise IntegrationError(
            f"{path} cannot be read as the description of an MLflow model: {' '.join(str(error).split())}",
            tool="bentoml",
            operation=operation,
            workspace=workspace,
            details={"path": str(path)},
            hint="save the model again",
        ) from error


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
    import yaml

    total = hashlib.sha256()
    for path in model_files(directory):
        relative = path.relative_to(directory).as_posix()
        if relative == MODEL_FILE:
            values = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
            kept = {key: value for key, value in values.items() if key not in _SAVE_FACTS}
            content = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
        else:
            content = hash_file(path)
        total.update(f"{relative}\0{content}\n".encode())
    return total.hexdigest()
