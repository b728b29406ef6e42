"""How each flavour is written: by MLflow's own ``save_model``, or here where that would not load again."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.files import measure
from mlops.integrations.mlflow_tracking import pickling, requirements
from mlops.integrations.mlflow_tracking.flavors import (
    FLAVORS,
    MLMODEL,
    PYFUNC,
    SKLEARN,
    TRANSFORMERS,
    is_python_model,
    predict_function,
)
from mlops.workspace.tools import DISTRIBUTION

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.flavors import Flavor
    from mlops.integrations.mlflow_tracking.packaging import Request

# The module MLflow imports to load a directory model.
LOADER: Final = "mlops.integrations.mlflow_tracking.artifact_model"
FILES: Final = "files"
# Files by which a directory's framework is known: PEFT's adapters and transformers' checkpoints.
_MARKERS: Final = {"adapter_config.json": "peft", "config.json": "transformers"}


def write_object(request: Request, path: Path, meta: Any) -> None:
    """Write a model object into an existing empty directory.

    Args:
        request: The model and its flavour.
        path: The directory.
        meta: The ``mlflow.models.Model`` to complete and save there.
    """
    chosen = request.flavor
    if chosen is SKLEARN:
        _write_sklearn(request, path, meta)
    elif chosen is PYFUNC:
        _write_function(request, path, meta)
    elif chosen is TRANSFORMERS and _is_bare_transformer(request.model):
        staged = path / FILES
        request.model.save_pretrained(str(staged))
        _finish_files(request, path, meta)
    else:
        _write_with_mlflow(request, path, meta)


def _write_with_mlflow(request: Request, path: Path, meta: Any) -> None:
    chosen = request.flavor
    module = importlib.import_module(chosen.module)
    options: dict[str, Any] = {}
    if chosen.name == "lightgbm" and hasattr(request.model, "get_params"):
        options = _lightgbm_options(request, path)
    if chosen.name == "pytorch":
        # MLflow's default, an exported graph, needs an example and does not give the module back.
        options = {"serialization_format": "pickle", "pickle_module": pickling.torch_pickle_module()}
    try:
        _save(request, path, meta, module, options)
    except pickling.REFUSALS:
        if options.pop("pickle_module", None) is None:
            raise
        shutil.rmtree(path)
        path.mkdir()
        _save(request, path, meta, module, options)


def _save(request: Request, path: Path, meta: Any, module: Any, options: dict[str, Any]) -> None:
    from mlflow.utils.logging_utils import suppress_logs_in_thread

    # MLflow would infer a signature from an example, with warnings; it is inferred and the example is stored
    # afterwards. Its advice about pickle and missing signatures names arguments that users do not see here.
    with suppress_logs_in_thread():
        module.save_model(
            request.model,
            str(path),
            mlflow_model=meta,
            signature=request.signature,
            pip_requirements=request.requirements or requirements.pinned(_needs(request.flavor)),
            **options,
        )


def _is_bare_transformer(model: Any) -> bool:
    # A model without its tokenizer cannot predict, so what from_pretrained reads is stored instead.
    pipeline = any(cls.__name__ == "Pipeline" for cls in type(model).__mro__)
    return not pipeline and hasattr(model, "save_pretrained")


def _write_sklearn(request: Request, path: Path, meta: Any) -> None:
    import mlflow.pyfunc

    if request.flavor is SKLEARN and not hasattr(request.model, "get_params"):
        raise request.error(
            f"{type(request.model).__name__} is not a scikit-learn estimator, so the flavour 'sklearn' "
            f"cannot hold the model {request.name!r}",
            hint="leave flavor= out, or pass flavor='pyfunc'",
        )
    data = "model.skops"
    trusted = pickling.dump_skops(request.model, path / data)
    if trusted is None:
        data = "model.pkl"
        pickling.dump_pickle(request.model, path / data)
    if hasattr(request.model, "predict"):
        mlflow.pyfunc.add_to_model(
            meta,
            loader_module=SKLEARN.module,
            model_path=data,
            predict_fn="predict",
            conda_env=requirements.CONDA_FILE,
            python_env=requirements.PYTHON_FILE,
        )
    meta.add_flavor(
        SKLEARN.name,
        pickled_model=data,
        sklearn_version=requirements.installed("scikit-learn"),
        serialization_format="cloudpickle" if trusted is None else "skops",
        code=None,
        skops_trusted_types=trusted,
    )
    extra = ("cloudpickle" if trusted is None else "skops", *_base_packages(request.model))
    _finish(request, path, meta, (*_needs(SKLEARN), *extra))


def _write_function(request: Request, path: Path, meta: Any) -> None:
    """Store what predicts as a pickled ``PythonModel``, in the layout that MLflow reads."""
    import cloudpickle
    import mlflow.pyfunc

    if is_python_model(request.model):
        holder, loader = request.model, _python_model_loader(request.model)
    else:
        predict = predict_function(request.model)
        if predict is None:
            raise request.error(
                f"{type(request.model).__name__} has no predict method and cannot be called, so the flavour "
                f"'pyfunc' cannot hold the model {request.name!r}",
                hint="pass a function that takes a DataFrame and returns predictions",
            )
        holder, loader = _function_model(predict), "mlflow.pyfunc.model"
    pickling.dump_pickle(holder, path / "python_model.pkl")
    mlflow.pyfunc.add_to_model(
        meta,
        loader_module=loader,
        python_model="python_model.pkl",
        cloudpickle_version=cloudpickle.__version__,
        conda_env=requirements.CONDA_FILE,
        python_env=requirements.PYTHON_FILE,
    )
    _finish(request, path, meta, ("cloudpickle", "numpy", "pandas", *_base_packages(request.model)))


def _python_model_loader(model: Any) -> str:
    names = {c.__name__ for c in type(model).__mro__}
    special = {"ChatModel": "chat_model", "ChatAgent": "chat_agent", "ResponsesAgent": "responses_agent"}
    found = next((module for name, module in special.items() if name in names), None)
    return f"mlflow.pyfunc.loaders.{found}" if found else "mlflow.pyfunc.model"


def _function_model(predict: Callable[[Any], Any]) -> Any:
    """Wrap a function as a ``PythonModel`` whose class needs nothing but MLflow to load."""
    from mlflow.pyfunc import PythonModel

    class FunctionModel(PythonModel):  # type: ignore[misc]
        # Without this MLflow warns that the wrapper's method has no type hints.
        _skip_type_hint_validation = True

        def __init__(self, function: Callable[[Any], Any]) -> None:
            self.function = function

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return self.function(model_input)

    FunctionModel.predict._is_pyfunc = True  # type: ignore[attr-defined]
    return FunctionModel(predict)


def write_files(request: Request, source: Path, path: Path, meta: Any) -> None:
    """Write a directory model: a copy of the files, and what loads them.

    Args:
        request: What is stored, for its requirements.
        source: The directory or file.
        path: An existing empty directory.
        meta: The ``mlflow.models.Model`` to complete and save there.
    """
    if source.is_dir():
        shutil.copytree(source, path / FILES)
    else:
        (path / FILES).mkdir()
        shutil.copyfile(source, path / FILES / source.name)
    _finish_files(request, path, meta)


def _finish_files(request: Request, path: Path, meta: Any) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.add_to_model(
        meta,
        loader_module=LOADER,
        data=FILES,
        conda_env=requirements.CONDA_FILE,
        python_env=requirements.PYTHON_FILE,
    )
    _finish(request, path, meta, (DISTRIBUTION, directory_framework(path / FILES)))


def _finish(request: Request, path: Path, meta: Any, packages: tuple[str, ...]) -> None:
    requirements.write_environment(path, request.requirements or requirements.pinned(packages))
    meta.model_size_bytes = measure(path).bytes
    meta.save(str(path / MLMODEL))


def _lightgbm_options(request: Request, path: Path) -> dict[str, Any]:
    probe = path.with_name(f"{path.name}.skops")
    trusted = pickling.dump_skops(request.model, probe)
    probe.unlink(missing_ok=True)
    if trusted is None:
        return {"serialization_format": "cloudpickle"}
    return {"serialization_format": "skops", "skops_trusted_types": trusted}


def _needs(chosen: Flavor) -> tuple[str, ...]:
    extra = {
        "lightgbm": ("scikit-learn", "skops"),
        "xgboost": ("scikit-learn",),
        "pytorch": ("cloudpickle",),
        "onnx": ("onnxruntime",),
        "transformers": ("torch", "accelerate"),
        "keras": (_keras_backend(),),
    }
    return (chosen.distribution, *extra.get(chosen.name, ()), "numpy", "pandas")


def _keras_backend() -> str:
    """Return the framework that Keras computes with, or "" if Keras has not been imported."""
    config: Any = getattr(sys.modules.get("keras"), "config", None)
    return str(config.backend()) if hasattr(config, "backend") else ""


def _base_packages(model: Any) -> tuple[str, ...]:
    """Return the distributions of known frameworks among the classes of an object and of its parts."""
    parts = [model]
    if hasattr(model, "get_params") and not isinstance(model, type):
        parts.extend(model.get_params(deep=True).values())
    packages = {cls.__module__.partition(".")[0] for part in parts for cls in type(part).__mro__}
    names = {package: f.distribution for f in FLAVORS.values() for package in f.packages if f.distribution}
    names["scipy"] = "scipy"
    return tuple(sorted(names[package] for package in packages if package in names))


def directory_framework(path: Path) -> str:
    """Return the framework that writes such a directory, by its marker file, or ""."""
    return next((framework for marker, framework in _MARKERS.items() if (path / marker).is_file()), "")
