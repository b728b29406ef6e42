"""How a model is asked for predictions on rows that were checked already, without checking them again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .rows import RowReader

# The loader of models that are Python code; MLflow prepares their input and context by itself.
_PYTHON_MODELS = "mlflow.pyfunc"


def direct(model: Any, reader: RowReader) -> Callable[[list[Any]], Any] | None:
    """Return what predicts for rows that became exactly the signature's types, or None.

    MLflow's own check of such rows, and scikit-learn's of the names of their columns, take longer than many a
    model.

    Args:
        model: The loaded model.
        reader: What made the rows.
    """
    if (
        not reader.exact_dtypes
        or model.metadata.get_params_schema() is not None
        or str(model.loader_module).startswith(_PYTHON_MODELS)
    ):
        return None
    if reader.single_dtype is not None and (estimator := _plain_estimator(model, reader)) is not None:
        # The names are the ones it was fitted with, in the same order.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return lambda rows: estimator.predict(reader.array(rows))
    return lambda rows: model._predict_fn(reader.model_input(rows))


def _plain_estimator(model: Any, reader: RowReader) -> Any:
    """Return the scikit-learn estimator that uses nothing of a data frame but its values, or None."""
    estimator = getattr(getattr(model, "_model_impl", None), "sklearn_model", None)
    if estimator is None or not type(estimator).__module__.startswith("sklearn."):
        return None
    # One that is made of others may pick columns by their names.
    if any(hasattr(value, "fit") or isinstance(value, list) for value in estimator.get_params().values()):
        return None
    if list(getattr(estimator, "feature_names_in_", ())) != reader.names:
        return None
    # MLflow can be told to call another method.
    return estimator if model._predict_fn == model._model_impl.predict else None
