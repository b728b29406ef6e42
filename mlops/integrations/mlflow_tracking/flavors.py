"""Which MLflow flavour a model object belongs to, told from its class without importing any framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlops.errors import IntegrationError

MLMODEL: Final = "MLmodel"


@dataclass(frozen=True, slots=True)
class Flavor:
    """A family of models that are stored and loaded in one way.

    Args:
        name: The name users pass and see, such as ``sklearn``.
        packages: Top-level packages whose classes belong to it.
        distribution: The framework's name on the package index, or "" if there is none.
        module: The MLflow module with its ``load_model``, or "" for the ones this package stores itself.
        tabular: Its models predict on a DataFrame, so records given as an example become one.
        hint: What to do when a model of the flavour cannot be saved.
    """

    name: str
    packages: tuple[str, ...] = ()
    distribution: str = ""
    module: str = ""
    tabular: bool = False
    hint: str = "save the model to a directory with the framework's own method and pass the directory"


SKLEARN: Final = Flavor(
    "sklearn",
    ("sklearn",),
    "scikit-learn",
    "mlflow.sklearn",
    tabular=True,
    hint="move open files, locks and connections out of the estimator, or pass a function that calls it",
)
PYFUNC: Final = Flavor(
    "pyfunc",
    ("mlflow",),
    hint="keep what cannot be pickled (files, locks, connections) out of the object, or subclass "
    "mlflow.pyfunc.PythonModel and open it in load_context",
)
DIRECTORY: Final = Flavor("directory", hint="pass a readable directory of plain files")
TRANSFORMERS: Final = Flavor(
    "transformers",
    ("transformers",),
    "transformers",
    "mlflow.transformers",
    hint="pass a transformers pipeline, or the directory written by save_pretrained",
)

# The order is the order in which the flavours are listed to users.
FLAVORS: Final[dict[str, Flavor]] = {
    flavor.name: flavor
    for flavor in (
        SKLEARN,
        Flavor("xgboost", ("xgboost",), "xgboost", "mlflow.xgboost", tabular=True),
        Flavor("lightgbm", ("lightgbm",), "lightgbm", "mlflow.lightgbm", tabular=True),
        Flavor("catboost", ("catboost",), "catboost", "mlflow.catboost", tabular=True),
        Flavor("pytorch", ("torch",), "torch", "mlflow.pytorch"),
        Flavor("keras", ("keras",), "keras", "mlflow.keras"),
        Flavor("tensorflow", ("tensorflow", "tf_keras"), "tensorflow", "mlflow.tensorflow"),
        Flavor("onnx", ("onnx",), "onnx", "mlflow.onnx"),
        TRANSFORMERS,
        Flavor("statsmodels", ("statsmodels",), "statsmodels", "mlflow.statsmodels", tabular=True),
        Flavor("spacy", ("spacy",), "spacy", "mlflow.spacy"),
        Flavor("prophet", ("prophet",), "prophet", "mlflow.prophet", tabular=True),
        PYFUNC,
        DIRECTORY,
    )
}
_BY_PACKAGE: Final = {package: flavor for flavor in FLAVORS.values() for package in flavor.packages}


def known() -> str:
    """Return the names of all flavours, for messages."""
    return ", ".join(FLAVORS)


def by_name(name: str, *, operation: str, project: str) -> Flavor:
    """Return the flavour a user named.

    Raises:
        IntegrationError: There is none of that name; the message lists them.
    """
    try:
        return FLAVORS[name]
    except (KeyError, TypeError):
        raise IntegrationError(
            f"There is no flavour {name!r}; known flavours: {known()}",
            tool="mlflow",
            operation=operation,
            workspace=project,
            hint="leave flavor= out to have it chosen from the model's class",
        ) from None


def detect(model: Any, *, flavor: str | None = None, operation: str = "log_model", project: str) -> Flavor:
    """Choose how a model is stored.

    The first class of the model's method resolution order that comes from a known package decides: an own
    ``BaseEstimator`` is a scikit-learn model, ``XGBClassifier`` is XGBoost although scikit-learn is among its
    bases. Only names are compared, so no framework is imported. Without such a class, a function or an object
    with ``predict`` becomes a Python function model, and a path a directory model.

    Args:
        model: The model object, or the path of a directory or file.
        flavor: A flavour's name; wins over the class.
        operation: The calling method, for the error.
        project: The project, for the error.

    Raises:
        IntegrationError: The object fits no flavour; the message lists them and the hint says how to wrap it.
    """
    if flavor is not None:
        return by_name(flavor, operation=operation, project=project)
    if isinstance(model, str | Path):
        return DIRECTORY
    if isinstance(model, type):
        raise IntegrationError(
            f"{model.__module__}.{model.__qualname__} is a class, not a fitted model",
            tool="mlflow",
            operation=operation,
            workspace=project,
            hint=f"pass an instance: {model.__name__}(...) after training",
        )
    chosen = next((f for c in type(model).__mro__ if (f := _BY_PACKAGE.get(_package(c)))), None)
    if chosen is not None:
        return _refine(model, chosen, operation=operation, project=project)
    if predict_function(model) is not None:
        return PYFUNC
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise IntegrationError(
        f"No flavour fits an object of type {kind}; known flavours: {known()}",
        tool="mlflow",
        operation=operation,
        workspace=project,
        details={"type": kind},
        hint="pass a function that takes a DataFrame and returns predictions, an object with such a "
        "predict method, or the path of a directory that holds the model's files",
    )


def predict_function(model: Any) -> Callable[[Any], Any] | None:
    """Return what predicts: the object's ``predict``, else the object itself if it can be called."""
    predict = getattr(model, "predict", None)
    if callable(predict):
        return predict  # type: ignore[no-any-return]
    return model if callable(model) else None


def is_python_model(model: Any) -> bool:
    """Say whether the object is an ``mlflow.pyfunc.PythonModel``."""
    return any(c.__module__ == "mlflow.pyfunc.model" for c in type(model).__mro__)


def _package(cls: type) -> str:
    module: Any = cls.__module__
    return module.partition(".")[0] if isinstance(module, str) else ""


def _refine(model: Any, chosen: Flavor, *, operation: str, project: str) -> Flavor:
    own_class = _package(type(model)) not in chosen.packages
    if chosen.name in {"xgboost", "lightgbm", "catboost"} and own_class and hasattr(model, "get_params"):
        # These flavours find the class again by its import path, which a class of one's own may not have.
        return SKLEARN
    if chosen is PYFUNC and not is_python_model(model):
        raise IntegrationError(
            f"A loaded {type(model).__name__} cannot be logged again as an object",
            tool="mlflow",
            operation=operation,
            workspace=project,
            hint="pass the directory it was loaded from, such as the result of download()",
        )
    return chosen
