"""Rows as users have them, turned into the JSON that a server takes, and its refusals into words."""

from __future__ import annotations

import base64
import json
from datetime import date, time
from typing import Any


def encode(rows: Any) -> list[Any]:
    """Return rows as JSON-safe records or lists.

    Args:
        rows: A list of records by column name, a list of lists or values, a pandas DataFrame, or a NumPy
            array of shape (rows, ...). NaN, NaT and pandas.NA become null.

    Raises:
        TypeError: It is none of these.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        names = [str(name) for name in rows.columns]
        columns = [plain(rows.iloc[:, at].tolist()) for at in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if hasattr(rows, "tolist"):
        rows = rows.tolist()
    if isinstance(rows, tuple):
        rows = list(rows)
    if not isinstance(rows, list):
        raise TypeError(
            f"rows must be a list of records or lists, a DataFrame or an array, not {type(rows).__name__}"
        )
    values: list[Any] = plain(rows)
    return values


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; NaN, NaT and pandas.NA become null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "tolist"):
        # NumPy's scalars and arrays.
        return plain(value.tolist())
    # Only NaN differs from itself.
    if value != value:
        return None
    return float(value)


def explain(body: bytes) -> str:
    """Return what a server's refusal says: which row and column, and why."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")[:500].strip()
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return str(answer)
    problems = [_problem(item) for item in answer.get("detail") or () if isinstance(item, dict)]
    if not problems:
        return str(answer.get("error", answer))
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return "; ".join(problems[:5]) + more


def _problem(item: dict[str, Any]) -> str:
    place = list(item.get("loc") or ())
    message = str(item.get("msg", "")).removeprefix("Value error, ")
    if len(place) >= 2 and place[0] == "rows":
        column = f", column {place[2]!r}" if len(place) > 2 else ""
        return f"row {place[1]}{column}: {message}"
    return f"{'.'.join(map(str, place))}: {message}" if place else message
