"""What a model answers, as JSON can hold it."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import math
import uuid
from typing import Any

import pydantic


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
