"""What a stored model needs installed, from the versions that are installed now.

MLflow's own inference imports the model in a child process and takes seconds; the framework of a flavour is
known, so its version can be read from the environment.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import yaml

from mlops.errors import IntegrationError

CONDA_FILE: Final = "conda.yaml"
PYTHON_FILE: Final = "python_env.yaml"
REQUIREMENTS_FILE: Final = "requirements.txt"


def installed(distribution: str) -> str | None:
    """Return an installed version without its local part (``2.1.0`` of ``2.1.0+cpu``), or None."""
    try:
        return version(distribution).partition("+")[0]
    except PackageNotFoundError:
        # XGBoost's builds without CUDA carry another distribution name.
        return installed("xgboost-cpu") if distribution == "xgboost" else None


def pinned(distributions: Iterable[str]) -> list[str]:
    """Return ``name==version`` for those that are installed, MLflow first, each once."""
    found: dict[str, str] = {}
    for name in ("mlflow", *distributions):
        if name and name not in found and (number := installed(name)):
            found[name] = f"{name}=={number}"
    return list(found.values())


def given(requirements: Any, *, operation: str, project: str) -> list[str] | None:
    """Check the requirements a user gave.

    Args:
        requirements: A list of requirement lines, the path of a requirements file, or None.
        operation: The calling method, for the error.
        project: The project, for the error.

    Returns:
        The lines, or None if none were given.

    Raises:
        IntegrationError: The file does not exist, or an entry is not text.
    """
    if requirements is None:
        return None
    if isinstance(requirements, str | Path):
        path = Path(requirements)
        if not path.is_file():
            raise IntegrationError(
                f"The requirements file {path} does not exist",
                tool="mlflow",
                operation=operation,
                workspace=project,
                hint='pass an existing file, or a list such as ["scikit-learn==1.9.1"]',
            )
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        return _with_mlflow([line for line in lines if line and not line.startswith("#")])
    if not isinstance(requirements, Sequence) or not all(isinstance(line, str) for line in requirements):
        raise IntegrationError(
            f"pip_requirements must be a list of text or a file, not {type(requirements).__name__}",
            tool="mlflow",
            operation=operation,
            workspace=project,
            hint='pass a list such as ["scikit-learn==1.9.1"]',
        )
    return _with_mlflow(list(requirements))


def write_environment(directory: Path, requirements: Sequence[str]) -> None:
    """Write the three files from which MLflow rebuilds an environment into a model's directory."""
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(requirements)}],
    }
    environment = {
        "python": python,
        "build_dependencies": [f"{name}=={v}" for name in ("pip", "setuptools") if (v := installed(name))],
        "dependencies": [f"-r {REQUIREMENTS_FILE}"],
    }
    (directory / CONDA_FILE).write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
    (directory / PYTHON_FILE).write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
    (directory / REQUIREMENTS_FILE).write_text("\n".join(requirements) + "\n", encoding="utf-8")


def _with_mlflow(lines: list[str]) -> list[str]:
    if any(line.replace("_", "-").lower().startswith("mlflow") for line in lines):
        return lines
    return [*pinned(()), *lines]
