"""The service of every Bento: one packaged MLflow model behind a typed HTTP interface.

This file is copied as it is into each Bento, where this library is not installed: it may import only what
a Bento brings. Everything that differs between two models comes in through Bento arguments.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import math
import uuid
from typing import Annotated, Any, cast

import bentoml
import pydantic
from bentoml.exceptions import InvalidArgument

# Raised by a model that was given data it cannot use; MLflow's own server answers these with 400 as well.
_DATA_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class Arguments(pydantic.BaseModel):
    """What one Bento serves.

    Args:
        model: Tag of the Bento model.
        version: Its version, repeated in every answer.
        inputs: The input columns or tensors of the model's signature, as MLflow writes them.
        from_type_hint: Whether the model takes a list of values that its own type hint describes.
    """

    model: str
    version: str
    inputs: list[dict[str, Any]] | None = None
    from_type_hint: bool = False


def _number(value: Any) -> Any:
    # Pydantic reads "5" and true as numbers, which would hide a client's mistake.
    if isinstance(value, (str, bytes, bool)):
        raise ValueError("Input should be a valid number")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _integer(bits: int) -> Any:
    limit = 2 ** (bits - 1)
    return Annotated[int, pydantic.Field(ge=-limit, le=limit - 1), pydantic.BeforeValidator(_number)]


# A null is a missing value where pandas has one for the type; integers and booleans have none.
_TYPES: dict[str, Any] = {
    "boolean": pydantic.StrictBool,
    "integer": _integer(32),
    "long": _integer(64),
    "float": Annotated[float, pydantic.BeforeValidator(_number)] | None,
    "double": Annotated[float, pydantic.BeforeValidator(_number)] | None,
    "string": str | None,
    "binary": pydantic.Base64Bytes,
    "datetime": dt.datetime | None,
    "array": list[Any] | None,
    "object": dict[str, Any] | None,
    "map": dict[str, Any] | None,
}
_DTYPES = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


def _row_type(inputs: list[dict[str, Any]] | None, from_type_hint: bool) -> Any:
    """Return the type of one row: a closed record for named columns, anything otherwise."""
    if not inputs or from_type_hint or any("name" not in c or c["type"] == "tensor" for c in inputs):
        return Any
    fields: dict[str, Any] = {}
    for position, column in enumerate(inputs):
        kind = _TYPES.get(column["type"], Any)
        required = column.get("required", True)
        # A column may have any name, a field may not; so the column's name is the alias.
        fields[f"f{position}"] = (
            kind if required else kind | None,
            pydantic.Field(... if required else None, alias=str(column["name"])),
        )
    names = [str(column["name"]) for column in inputs]

    def by_position(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        if len(value) != len(names):
            raise ValueError(f"Input has {len(value)} values for the {len(names)} columns {names}")
        return dict(zip(names, value, strict=True))

    return pydantic.create_model(
        "Row",
        __config__=pydantic.ConfigDict(extra="forbid"),
        __validators__=cast(
            "dict[str, Any]", {"by_position": pydantic.model_validator(mode="before")(by_position)}
        ),
        **fields,
    )


arguments = bentoml.use_arguments(Arguments)
Row = _row_type(arguments.inputs, arguments.from_type_hint)


class PredictRequest(pydantic.BaseModel):
    """Rows to predict for."""

    model_config = pydantic.ConfigDict(extra="forbid")

    rows: Annotated[list[Row], pydantic.Field(min_length=1)]  # type: ignore[valid-type]
    params: dict[str, Any] | None = None


class InvocationsRequest(pydantic.BaseModel):
    """MLflow's scoring protocol: exactly one of the four forms of data."""

    model_config = pydantic.ConfigDict(extra="forbid")

    dataframe_split: dict[str, Any] | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: Any = None
    params: dict[str, Any] | None = None


class PredictResponse(pydantic.BaseModel):
    """One prediction per row, and the model they came from."""

    predictions: list[Any]
    model: str
    version: str


class InvocationsResponse(pydantic.BaseModel):
    """Predictions in MLflow's form."""

    predictions: Any


@bentoml.service(name="pyfunc", logging={"access": {"enabled": False}})
class PyfuncService:
    """One MLflow model."""

    # A class attribute, so that BentoML packages the model with the Bento.
    bento_model = bentoml.models.BentoModel(arguments.model)

    def __init__(self) -> None:
        import mlflow.pyfunc

        self.model = mlflow.pyfunc.load_model(self.bento_model.path_of("mlflow_model"))

    @bentoml.api(input_spec=PredictRequest, output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    def predict(self, **request: Any) -> PredictResponse:
        """Predict for rows given as records by column name, or as lists."""
        rows, params = request["rows"], request.get("params")
        answer = self._run(lambda: self.model.predict(_as_input(rows), params=params))
        return PredictResponse(predictions=as_list(answer), model=arguments.model, version=arguments.version)

    @bentoml.api(route="/invocations", input_spec=InvocationsRequest, output_spec=InvocationsResponse)  # type: ignore[untyped-decorator]
    def invocations(self, **request: Any) -> InvocationsResponse:
        """Predict for data in the form of MLflow's own scoring server."""
        params = request.pop("params", None)
        given = {key: value for key, value in request.items() if value is not None}
        if len(given) != 1:
            raise InvalidArgument(
                "give exactly one of dataframe_split, dataframe_records, instances and inputs, "
                f"not {sorted(given) or 'none'}"
            )
        answer = self._run(lambda: self.model.predict(self._parse(given), params=params))
        return InvocationsResponse(predictions=plain(answer))

    def _parse(self, given: dict[str, Any]) -> Any:
        from mlflow.utils.proto_json_utils import dataframe_from_parsed_json, parse_tf_serving_input

        schema = self.model.metadata.get_input_schema()
        form, value = next(iter(given.items()))
        if form in ("instances", "inputs"):
            return parse_tf_serving_input(given, schema=schema)
        return dataframe_from_parsed_json(value, form.removeprefix("dataframe_"), schema=schema)

    def _run(self, predict: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return predict()
        except MlflowException as error:
            raise InvalidArgument(error.message) from error
        except _DATA_ERRORS as error:
            raise InvalidArgument(f"the model refused the data: {type(error).__name__}: {error}") from error


def _as_input(rows: list[Any]) -> Any:
    """Turn validated rows into what the model's signature describes."""
    import numpy as np
    import pandas as pd

    inputs = arguments.inputs
    if arguments.from_type_hint:
        return rows
    if isinstance(rows[0], pydantic.BaseModel):
        return _typed_frame(rows, cast("list[dict[str, Any]]", inputs))
    if len({isinstance(row, dict) for row in rows}) > 1:
        raise ValueError("rows are partly records and partly lists")
    records = isinstance(rows[0], dict)
    if inputs and inputs[0]["type"] == "tensor":
        if "name" in inputs[0]:
            if not records:
                raise ValueError(f"each row must be a record of {[tensor['name'] for tensor in inputs]}")
            return {
                tensor["name"]: np.asarray(
                    [row[tensor["name"]] for row in rows], dtype=tensor["tensor-spec"]["dtype"]
                )
                for tensor in inputs
            }
        values = [list(row.values()) for row in rows] if records else rows
        return np.asarray(values, dtype=inputs[0]["tensor-spec"]["dtype"])
    if records:
        return pd.DataFrame(rows)
    if inputs:
        frame = pd.DataFrame(rows)
        if len(frame.columns) != len(inputs):
            raise ValueError(f"a row has {len(frame.columns)} values, and the model takes {len(inputs)}")
        # JSON does not tell 1 from 1.0, so whole numbers are made what the signature says.
        kinds = {at: _DTYPES[c["type"]] for at, c in enumerate(inputs) if c["type"] in ("float", "double")}
        return frame.astype(kinds)
    return np.asarray(rows)


def _typed_frame(rows: list[Any], inputs: list[dict[str, Any]]) -> Any:
    import pandas as pd

    columns: dict[str, Any] = {}
    for position, column in enumerate(inputs):
        field = f"f{position}"
        values = [getattr(row, field) for row in rows]
        if not column.get("required", True) and all(value is None for value in values):
            continue
        if column["type"] == "datetime":
            moments = pd.to_datetime(pd.Series(values), utc=True)
            columns[column["name"]] = moments.dt.tz_localize(None).astype("datetime64[ns]")
            continue
        dtype = _DTYPES.get(column["type"])
        whole = dtype in ("bool", "int32", "int64")
        columns[column["name"]] = pd.Series(values, dtype=None if whole and None in values else dtype)
    return pd.DataFrame(columns)


def as_list(answer: Any) -> list[Any]:
    """Return a model's answer as one JSON-safe value per row."""
    values = plain(answer)
    if isinstance(values, list):
        return values
    if isinstance(values, dict) and values:
        lists = list(values.values())
        if all(isinstance(column, list) and len(column) == len(lists[0]) for column in lists):
            return [dict(zip(values, row, strict=True)) for row in zip(*lists, strict=True)]
    return [values]


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: integers stay integers, and NaN and infinity become null."""
    import numpy as np
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuU" or (value.dtype.kind == "f" and bool(np.isfinite(value).all())):
            return value.tolist()
        if value.dtype.kind == "M":
            value = value.astype("datetime64[us]")
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(np.asarray(value).reshape(1))[0]
    if isinstance(value, pd.DataFrame):
        names = [str(name) for name in value.columns]
        columns = [plain(value.iloc[:, at]) for at in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(value, (pd.Series, pd.Index)):
        return plain(value.to_numpy()) if isinstance(value.dtype, np.dtype) else plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return plain(float(value))
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, pydantic.BaseModel):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    for convert in ("detach", "cpu", "toarray", "numpy"):
        # Steps from a torch tensor or a SciPy matrix to an array; other objects have none of them.
        if callable(method := getattr(value, convert, None)):
            value = method()
    return plain(value) if isinstance(value, np.ndarray) else [plain(item) for item in value]
