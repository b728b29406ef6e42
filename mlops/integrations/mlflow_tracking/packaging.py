"""A model object turned into a directory that MLflow can load, before anything is put into the store."""

from __future__ import annotations

import importlib
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mlops import plain_yaml
from mlops.errors import IntegrationError, MLOpsError
from mlops.files import measure
from mlops.integrations.mlflow_tracking import requirements, signatures
from mlops.integrations.mlflow_tracking.flavors import DIRECTORY, FLAVORS, MLMODEL, PYFUNC, Flavor, by_name
from mlops.integrations.mlflow_tracking.writers import (
    FILES,
    LOADER,
    directory_framework,
    write_files,
    write_object,
)
from mlops.workspace.tools import require

PYTHON_FUNCTION: Final = "python_function"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be stored.

    Args:
        model: The model object, or a path.
        name: The short name, for messages.
        project: The project, for messages.
        flavor: How it is stored.
        input_example: Rows of input, or None.
        signature: An ``mlflow.models.ModelSignature``, or None to infer it from the example.
        requirements: Requirement lines, or None to pin what is installed.
        metadata: Whatever is to be kept in the model's own file.
        operation: The calling method, for messages.
    """

    model: Any
    name: str
    project: str
    flavor: Flavor
    input_example: Any = None
    signature: Any = None
    requirements: list[str] | None = None
    metadata: Mapping[str, Any] | None = None
    operation: str = "log_model"

    def error(self, message: str, *, hint: str) -> IntegrationError:
        """Return an error about this model."""
        return IntegrationError(
            message,
            tool="mlflow",
            operation=self.operation,
            workspace=self.project,
            details={"model": self.name, "flavor": self.flavor.name},
            hint=hint,
        )


@dataclass(frozen=True, slots=True)
class Package:
    """A directory with a model in MLflow's format.

    Args:
        path: The directory.
        flavor: The flavour's name.
        framework: The framework and its version, as ``scikit-learn==1.9.1``, or "".
        signature: Inputs and outputs as plain JSON values, or None.
        size_bytes: What the files take on disk.
        foreign: The directory was an MLflow model already and is kept byte for byte.
    """

    path: Path
    flavor: str
    framework: str
    signature: dict[str, Any] | None
    size_bytes: int
    foreign: bool = False


def package(request: Request, target: Path) -> Package:
    """Write a model into a new directory.

    Args:
        request: The model and how to store it.
        target: The directory to create; the caller removes it.

    Raises:
        IntegrationError: The model cannot be saved in its flavour, or cannot predict on its example.
    """
    source = _checked_source(request) if request.flavor is DIRECTORY else None
    if source is not None and (source / MLMODEL).is_file():
        shutil.copytree(source, target)
        return _checked(target, request, foreign=True)
    from mlflow.models import Model

    meta = Model(signature=request.signature, metadata=dict(request.metadata) if request.metadata else None)
    # The flavours' save_model wants to create the directory itself, or find it empty.
    target.mkdir()
    try:
        if source is None:
            write_object(request, target, meta)
        else:
            write_files(request, source, target, meta)
    except MLOpsError:
        raise
    except Exception as error:
        raise request.error(
            f"The model {request.name!r} ({type(request.model).__name__}) cannot be saved with the flavour "
            f"{request.flavor.name!r}: {error}",
            hint=request.flavor.hint,
        ) from error
    if request.input_example is not None:
        _add_example(request, target)
    return _checked(target, request, foreign=False)


def read_mlmodel(directory: Path) -> dict[str, Any]:
    """Return the content of a model directory's ``MLmodel`` file; empty if it holds no mapping.

    Raises:
        OSError: The file cannot be read.
        yaml.YAMLError: It is not YAML.
    """
    text = (directory / MLMODEL).read_text(encoding="utf-8")
    content = plain_yaml.load(text)
    return content if isinstance(content, dict) else {}


def flavor_of(mlmodel: Mapping[str, Any]) -> str:
    """Return the flavour's name as users see it, from the content of an ``MLmodel`` file."""
    stored = mlmodel.get("flavors") or {}
    python = stored.get(PYTHON_FUNCTION) or {}
    if python.get("loader_module") == LOADER:
        return DIRECTORY.name
    return next((name for name in FLAVORS if name in stored), PYFUNC.name if python else "")


def load(path: Path, *, label: str, project: str, flavor: str | None = None, as_pyfunc: bool = False) -> Any:
    """Load a model directory.

    Args:
        path: The directory, with its ``MLmodel``.
        label: What the user called the model, for messages.
        project: The project, for messages.
        flavor: Load with this flavour; None for the one it was stored with.
        as_pyfunc: Return MLflow's ``PyFuncModel`` instead of the framework's object.

    Raises:
        IntegrationError: The model has no such flavour, or its framework refuses the files.
    """
    operation = "load_model"
    content = read_mlmodel(path)
    chosen = by_name(flavor or flavor_of(content), operation=operation, project=project)
    stored = content.get("flavors") or {}
    needed = PYTHON_FUNCTION if as_pyfunc or not chosen.module else chosen.name
    if needed not in stored:
        raise IntegrationError(
            f"The model {label!r} cannot be loaded as {needed!r}; it was stored as "
            f"{', '.join(sorted(stored))}",
            tool="mlflow",
            operation=operation,
            workspace=project,
            hint="leave flavor and as_pyfunc out, or log an object with a predict method",
        )
    if chosen is DIRECTORY and not as_pyfunc:
        return path / FILES
    if needed != PYTHON_FUNCTION:
        require(chosen.packages[0], tool=chosen.distribution, operation=operation, workspace=project)
    module = importlib.import_module("mlflow.pyfunc" if needed == PYTHON_FUNCTION else chosen.module)
    try:
        return module.load_model(str(path))
    except Exception as error:
        raise IntegrationError(
            f"The model {label!r} cannot be loaded from {path}: {error}",
            tool="mlflow",
            operation=operation,
            workspace=project,
            details={"requirements": str(path / requirements.REQUIREMENTS_FILE)},
            hint=f"install what it was stored with: pip install -r {path / requirements.REQUIREMENTS_FILE}",
        ) from error


def stamp(directory: Path, *, name: str, model_id: str, run_id: str) -> None:
    """Write the identity a model has in the store into its ``MLmodel`` file."""
    from mlflow.models import Model

    meta = Model.load(str(directory / MLMODEL))
    # Not the location: absolute paths in files would point a moved workspace at its old place.
    meta.artifact_path = name
    meta.model_id = meta.model_uuid = model_id
    meta.run_id = run_id
    meta.save(str(directory / MLMODEL))


def _add_example(request: Request, path: Path) -> None:
    """Store the first rows of the example, and the signature that the model's predictions on it show."""
    from mlflow.models import Model
    from mlflow.models.utils import _save_example

    example = request.input_example
    if request.flavor.tabular:
        example = signatures.as_table(example)
    signature = request.signature
    try:
        if signature is None:
            signature = signatures.infer(example, _predictor(request, path))
        meta = Model.load(str(path / MLMODEL))
        _save_example(meta, signatures.head(example, signatures.STORED_ROWS), str(path))
    except Exception as error:
        raise request.error(
            f"The model {request.name!r} ({type(request.model).__name__}) cannot predict on its "
            f"input_example: {error}",
            hint="pass rows as the model takes them, or leave input_example out and pass signature= instead",
        ) from error
    meta.signature = signature
    meta.save(str(path / MLMODEL))


def _predictor(request: Request, path: Path) -> Callable[[Any], Any] | None:
    """Return what predicts: the object itself where it takes tables, else the model as it was stored."""
    if request.flavor.tabular and hasattr(request.model, "predict") and hasattr(request.model, "get_params"):
        return request.model.predict  # type: ignore[no-any-return]
    if request.flavor is DIRECTORY or PYTHON_FUNCTION not in (read_mlmodel(path).get("flavors") or {}):
        return None
    from mlflow import pyfunc

    return pyfunc.load_model(str(path), suppress_warnings=True).predict  # type: ignore[no-any-return]


def describe(path: Path, *, foreign: bool = True) -> Package:
    """Read what a model directory holds from its ``MLmodel`` file.

    Args:
        path: The directory.
        foreign: It was not written here just now, so versions are taken from it, not from the environment.

    Raises:
        OSError: The file cannot be read.
        yaml.YAMLError: It is not YAML.
    """
    content = read_mlmodel(path)
    name = flavor_of(content)
    flavor = FLAVORS.get(name)
    distribution = flavor.distribution if flavor else ""
    if flavor is DIRECTORY:
        distribution = directory_framework(path / FILES)
    if foreign:
        stored = (content.get("flavors") or {}).get(name) or {}
        number = next((str(v) for key, v in stored.items() if key.endswith("_version")), None)
    else:
        number = requirements.installed(distribution) if distribution else None
    return Package(
        path=path,
        flavor=name,
        framework=f"{distribution}=={number}" if distribution and number else distribution,
        signature=signatures.to_plain(content.get("signature")),
        size_bytes=measure(path).bytes,
        foreign=foreign,
    )


def _checked(path: Path, request: Request, *, foreign: bool) -> Package:
    try:
        found = describe(path, foreign=foreign)
    except yaml.YAMLError as error:
        raise request.error(
            f"The file {MLMODEL} of the model {request.name!r} is not valid YAML: {error}",
            hint="pass a directory that MLflow's save_model wrote",
        ) from error
    if not found.flavor:
        raise request.error(
            f"The file {MLMODEL} of the model {request.name!r} names no flavour",
            hint="pass a directory that MLflow's save_model wrote",
        )
    return found


def _checked_source(request: Request) -> Path:
    """Return the path a model is stored from, or raise if it holds anything but plain files of its own."""
    if not isinstance(request.model, str | Path):
        raise request.error(
            f"The flavour 'directory' takes a path, not {type(request.model).__name__}",
            hint="pass the path of a directory, or leave flavor= out",
        )
    source = Path(request.model).expanduser()
    if not source.exists():
        raise request.error(
            f"There is no file or directory {str(source)!r} to log as the model {request.name!r}",
            hint="pass the path of an existing directory, or the model object itself",
        )
    root = source.resolve()
    if root.is_file():
        return root
    entries = list(root.rglob("*"))
    for entry in entries:
        if entry.is_symlink() and root not in entry.resolve().parents:
            raise request.error(
                f"{entry} is a link that leads out of the model directory {source}",
                hint="copy the directory with its links resolved first, such as with: cp -rL",
            )
        if not stat.S_ISREG(entry.stat().st_mode) and not entry.is_dir():
            raise request.error(
                f"{entry} in the model directory {source} is not a plain file",
                hint="remove it, or pass a copy",
            )
    if not any(entry.is_file() for entry in entries):
        raise request.error(
            f"The model directory {source} is empty", hint="pass the directory with the files"
        )
    return root
