"""What a model takes and returns, inferred from an example without MLflow's warnings about integers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mlops.errors import IntegrationError

# An example documents the model; it is stored as JSON, so a few rows are enough.
STORED_ROWS: Final = 5
# Enough to see every column of the predictions; the input types are taken from all rows given.
PREDICTED_ROWS: Final = 100


def as_table(example: Any) -> Any:
    """Return records as a DataFrame: a list of dicts, a dict of columns, or a dict that is one row.

    Anything else (a DataFrame, an array) is returned as it is.
    """
    import pandas as pd

    if isinstance(example, Mapping):
        columns = any(
            isinstance(value, list | tuple) or hasattr(value, "shape") for value in example.values()
        )
        return pd.DataFrame(dict(example) if columns else [dict(example)])
    if isinstance(example, list) and example and all(isinstance(row, Mapping) for row in example):
        return pd.DataFrame(example)
    return example


def head(example: Any, rows: int) -> Any:
    """Return the first rows of an example; a dict is one request and stays whole."""
    if hasattr(example, "iloc"):
        return example.iloc[:rows]
    if isinstance(example, Sequence) and not isinstance(example, str | bytes | tuple):
        return example[:rows]
    shape = getattr(example, "shape", None)
    return example[:rows] if shape else example


def infer(example: Any, predict: Callable[[Any], Any] | None) -> Any:
    """Return the ``mlflow.models.ModelSignature`` of an example and the model's predictions on it.

    Args:
        example: Rows of input: DataFrame, array, records, or what the model itself takes.
        predict: What predicts; None if the object cannot, then only the input is described. What it raises
            passes through.
    """
    from mlflow.models import ModelSignature

    outputs = None if predict is None else predict(head(example, PREDICTED_ROWS))
    return ModelSignature(
        inputs=_schema(example), outputs=None if outputs is None else _schema(outputs), params=None
    )


def given(signature: Any, *, operation: str, project: str) -> Any:
    """Check a signature the user gave: a ``ModelSignature``, or the mapping its ``to_dict`` returns.

    Raises:
        IntegrationError: It is neither.
    """
    if signature is None:
        return None
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature

    if isinstance(signature, ModelSignature):
        return signature
    problem = f"signature must be an mlflow.models.ModelSignature, not {type(signature).__name__}"
    if isinstance(signature, Mapping):
        texts = {
            key: value if value is None or isinstance(value, str) else json.dumps(value)
            for key, value in signature.items()
        }
        try:
            return ModelSignature.from_dict(texts)
        except (MlflowException, ValueError, TypeError, LookupError) as error:
            problem = f"The signature cannot be understood: {error}"
    raise IntegrationError(
        problem,
        tool="mlflow",
        operation=operation,
        workspace=project,
        hint="pass mlflow.models.infer_signature(X, predictions), or pass input_example= instead",
    )


def to_plain(signature: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a signature as plain JSON values: columns or tensors under ``inputs`` and ``outputs``."""
    if not signature:
        return None
    plain = {
        key: json.loads(value) if isinstance(value, str) else value
        for key in ("inputs", "outputs", "params")
        if (value := signature.get(key))
    }
    return plain or None


def _schema(data: Any) -> Any:
    """Return the schema of one side; MLflow warns about integer columns, so these are described here."""
    import pandas as pd
    from mlflow.models import infer_signature
    from mlflow.types import ColSpec, Schema

    if isinstance(data, pd.Series):
        spec = _integer(data, data.name)
        return Schema([spec]) if spec else infer_signature(data).inputs
    if isinstance(data, pd.DataFrame):
        integers = {
            position: spec
            for position in range(data.shape[1])
            if (spec := _integer(data.iloc[:, position], data.columns[position]))
        }
        rest = [position for position in range(data.shape[1]) if position not in integers]
        others = infer_signature(data.iloc[:, rest]).inputs.inputs if rest else []
        specs = {**integers, **dict(zip(rest, others, strict=True))}
        return Schema([specs[position] for position in sorted(specs)])
    if isinstance(data, Mapping):
        return _records([data])
    if isinstance(data, list) and data:
        if all(isinstance(row, Mapping) for row in data):
            return _records(data)
        if all(type(value) is int for value in data):
            return Schema([ColSpec("long")])
    if type(data) is int:
        return Schema([ColSpec("long")])
    return infer_signature(data).inputs


def _integer(column: Any, name: Any) -> Any:
    """Return the column's specification if it holds integers, else None."""
    from mlflow.types import ColSpec

    kind, size = getattr(column.dtype, "kind", ""), getattr(column.dtype, "itemsize", 8)
    if kind not in {"i", "u"}:
        return None
    wide = size > 4 or (kind == "u" and size == 4)
    return ColSpec("long" if wide else "integer", name=name, required=not bool(column.isna().any()))


def _records(rows: Sequence[Mapping[Any, Any]]) -> Any:
    from mlflow.models import infer_signature
    from mlflow.types import ColSpec, Schema

    keys = list(dict.fromkeys(key for row in rows for key in row))
    specs = []
    for key in keys:
        values = [row[key] for row in rows if row.get(key) is not None]
        required = len(values) == len(rows)
        if values and all(type(value) is int for value in values):
            specs.append(ColSpec("long", name=key, required=required))
        else:
            column = [{key: row[key]} if key in row else {} for row in rows]
            specs.extend(infer_signature(column if len(rows) > 1 else column[0]).inputs.inputs)
    return Schema(specs)
