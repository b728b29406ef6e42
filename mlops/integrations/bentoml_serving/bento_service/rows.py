"""Rows of a request: checked against the model's signature, and turned into what it describes.

There are two readings of a request. The first is exact and is done by pydantic's compiled code alone, into
plain dictionaries. What it does not take is read again by the second, which allows what is harmless, such as
2.0 for a whole number, and else says in words which column of which row is wrong.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import Annotated, Any, Final, NotRequired, cast

import pydantic
from typing_extensions import TypedDict

_DTYPES: Final = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
}


def _number(value: Any) -> Any:
    # Pydantic reads "5" and true as numbers, which would hide a client's mistake.
    if isinstance(value, (str, bytes, bool)):
        raise ValueError("Input should be a valid number")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _integer(bits: int, *also: Any) -> Any:
    limit = 2 ** (bits - 1)
    return Annotated[int, pydantic.Field(ge=-limit, le=limit - 1), *also]


# A null is a missing value where pandas has one for the type; integers and booleans have none.
_OTHER_TYPES: Final[dict[str, Any]] = {
    "boolean": pydantic.StrictBool,
    "string": str | None,
    "binary": pydantic.Base64Bytes,
    "datetime": dt.datetime | None,
    "array": list[Any] | None,
    "object": dict[str, Any] | None,
    "map": dict[str, Any] | None,
}
_TYPES: Final[dict[str, Any]] = {
    **_OTHER_TYPES,
    "integer": _integer(32, pydantic.BeforeValidator(_number)),
    "long": _integer(64, pydantic.BeforeValidator(_number)),
    "float": Annotated[float, pydantic.BeforeValidator(_number)] | None,
    "double": Annotated[float, pydantic.BeforeValidator(_number)] | None,
}
_EXACT_TYPES: Final[dict[str, Any]] = {
    **_OTHER_TYPES,
    "integer": _integer(32, pydantic.Strict()),
    "long": _integer(64, pydantic.Strict()),
    "float": pydantic.StrictFloat | None,
    "double": pydantic.StrictFloat | None,
}


class RowReader:
    """Knows the rows that one model takes.

    Args:
        inputs: The input columns or tensors of the model's signature, as MLflow writes them; None without a
            signature.
        from_type_hint: Whether the model takes a list of values that its own type hint describes.
    """

    def __init__(self, inputs: list[dict[str, Any]] | None, *, from_type_hint: bool) -> None:
        self.inputs = inputs or []
        self.from_type_hint = from_type_hint
        self.names = [str(column["name"]) for column in self.inputs if "name" in column]
        columns = all("name" in column and column["type"] != "tensor" for column in self.inputs)
        #: Whether the signature is of named columns.
        self.named = bool(self.inputs) and columns and not from_type_hint
        #: The type of one row, for the description of the service.
        self.row_type: Any = self._record_type() if self.named else Any
        self._exact = self._exact_type() if self.named else None
        dtypes = {_DTYPES.get(column["type"]) for column in self.inputs}
        required = all(column.get("required", True) for column in self.inputs)
        #: Whether a frame built here has exactly the signature's types, so that nobody need check it again.
        self.exact_dtypes = self.named and required and None not in dtypes
        #: The one type of all columns, if there is just one.
        self.single_dtype = dtypes.pop() if self.exact_dtypes and len(dtypes) == 1 else None

    def read_exactly(self, body: bytes) -> dict[str, Any] | None:
        """Return the request in a body, if it is exactly what the signature says.

        Args:
            body: JSON.

        Returns:
            ``rows``, as dictionaries by column name or as tuples, and ``params`` if given; else None.
        """
        if self._exact is None:
            return None
        try:
            return cast("dict[str, Any]", self._exact.validate_json(body))
        except pydantic.ValidationError:
            return None

    def records(self, rows: list[Any]) -> list[Any]:
        """Return rows as plain values: by column name where the signature has names."""
        if not rows or not self.named:
            return rows
        if isinstance(rows[0], tuple):
            return [dict(zip(self.names, row, strict=True)) for row in rows]
        if isinstance(rows[0], pydantic.BaseModel):
            return [row.model_dump(by_alias=True) for row in rows]
        return rows

    def model_input(self, rows: list[Any]) -> Any:
        """Turn validated rows into what the model's signature describes.

        Raises:
            ValueError: The rows do not fit the signature, or each other.
        """
        if self.from_type_hint:
            return rows
        if self.named:
            return self._frame(rows)
        return self._unnamed(rows)

    def array(self, rows: list[Any]) -> Any:
        """Turn validated rows into an array of shape (rows, columns), for a signature of ``single_dtype``."""
        import numpy as np

        return np.array(self._in_order(rows), dtype=self.single_dtype)

    def _in_order(self, rows: list[Any]) -> list[Any]:
        """Return the values of each row in the order of the columns."""
        if isinstance(rows[0], pydantic.BaseModel):
            return [[getattr(row, field) for field in type(row).model_fields] for row in rows]
        if isinstance(rows[0], dict):
            return [[row.get(name) for name in self.names] for row in rows]
        return rows

    def _record_type(self) -> Any:
        fields: dict[str, Any] = {}
        for position, column in enumerate(self.inputs):
            kind = _TYPES.get(column["type"], Any)
            required = column.get("required", True)
            # A column may have any name, a field may not; so the column's name is the alias.
            fields[f"f{position}"] = (
                kind if required else kind | None,
                pydantic.Field(... if required else None, alias=str(column["name"])),
            )
        names = self.names

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

    def _exact_type(self) -> pydantic.TypeAdapter[Any]:
        closed = pydantic.ConfigDict(extra="forbid", strict=True)
        kinds: dict[str, Any] = {}
        for column in self.inputs:
            kind = _EXACT_TYPES.get(column["type"], Any)
            kinds[str(column["name"])] = kind if column.get("required", True) else NotRequired[kind | None]
        record: Any = pydantic.with_config(closed)(TypedDict("record", kinds))  # type: ignore[operator]
        full = [
            kind if column.get("required", True) else _EXACT_TYPES.get(column["type"], Any) | None
            for kind, column in zip(kinds.values(), self.inputs, strict=True)
        ]
        positional: Any = tuple.__class_getitem__(tuple(full))
        many: Any = Annotated[list[record], pydantic.Field(min_length=1)]
        many_positional: Any = Annotated[list[positional], pydantic.Field(min_length=1)]
        request: Any = TypedDict(
            "request",
            {
                "rows": Annotated[many | many_positional, pydantic.Field(union_mode="left_to_right")],
                "params": NotRequired[dict[str, Any] | None],
            },
        )
        return pydantic.TypeAdapter(pydantic.with_config(closed)(request))

    def _frame(self, rows: list[Any]) -> Any:
        import numpy as np
        import pandas as pd

        if self.single_dtype is not None:
            return pd.DataFrame(self.array(rows), columns=self._frame_columns(), copy=False)
        columns: dict[str, Any] = {}
        for column, values in zip(self.inputs, zip(*self._in_order(rows), strict=True), strict=True):
            if not column.get("required", True) and all(value is None for value in values):
                continue
            if column["type"] == "datetime":
                moments = pd.to_datetime(pd.Series(values), utc=True)
                columns[column["name"]] = moments.dt.tz_localize(None).astype("datetime64[ns]")
                continue
            dtype = _DTYPES.get(column["type"])
            if dtype in ("bool", "int32", "int64") and None in values:
                dtype = None
            columns[column["name"]] = (
                np.array(values, dtype=dtype) if dtype else pd.Series(values, dtype=None)
            )
        return pd.DataFrame(columns)

    @functools.cache  # noqa: B019 - one reader per process
    def _frame_columns(self) -> Any:
        import pandas as pd

        return pd.Index(self.names)

    def _unnamed(self, rows: list[Any]) -> Any:
        import numpy as np
        import pandas as pd

        if len({isinstance(row, dict) for row in rows}) > 1:
            raise ValueError("rows are partly records and partly lists")
        records = isinstance(rows[0], dict)
        if self.inputs and self.inputs[0]["type"] == "tensor":
            if "name" in self.inputs[0]:
                return self._tensors(rows, records=records)
            values = [list(row.values()) for row in rows] if records else rows
            return np.asarray(values, dtype=self.inputs[0]["tensor-spec"]["dtype"])
        if records:
            return pd.DataFrame(rows)
        if not self.inputs:
            return np.asarray(rows)
        frame = pd.DataFrame(rows)
        if len(frame.columns) != len(self.inputs):
            raise ValueError(f"a row has {len(frame.columns)} values, and the model takes {len(self.inputs)}")
        # JSON does not tell 1 from 1.0, so whole numbers are made what the signature says.
        return frame.astype(
            {at: _DTYPES[c["type"]] for at, c in enumerate(self.inputs) if c["type"] in ("float", "double")}
        )

    def _tensors(self, rows: list[Any], *, records: bool) -> Any:
        import numpy as np

        if not records:
            raise ValueError(f"each row must be a record of {self.names}")
        return {
            tensor["name"]: np.asarray(
                [row[tensor["name"]] for row in rows], dtype=tensor["tensor-spec"]["dtype"]
            )
            for tensor in self.inputs
        }
