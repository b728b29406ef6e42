"""Any table a user has at hand, as a pandas frame with text column names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ReferenceDataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TOOL: Final = "evidently"
_SEED: Final = 20_260_101
_ACCEPTED: Final = (
    "pass a pandas, polars or pyarrow table, a list of dictionaries, or a dictionary of equally long lists"
)


def to_frame(data: Any, *, operation: str, workspace: str, empty: bool = False) -> pd.DataFrame:
    """Return ``data`` as a pandas frame; the caller's object is never changed.

    Args:
        data: A pandas frame, anything with ``to_pandas`` or ``__dataframe__`` (polars, pyarrow), a list of
            dictionaries, a dictionary of equally long columns, a structured array; or one row, as a
            dictionary of values or a pandas series with text for an index.
        operation: The calling method, for the error.
        workspace: The project, for the error.
        empty: Whether a table without rows will do.

    Raises:
        ReferenceDataError: It is none of these, or has no rows or no columns.
    """
    import pandas as pd

    def refuse(message: str, hint: str) -> ReferenceDataError:
        return ReferenceDataError(message, tool=TOOL, operation=operation, workspace=workspace, hint=hint)

    try:
        frame = _convert(data)
    except (ValueError, TypeError) as error:
        raise refuse(f"The data is not a table: {error}", _ACCEPTED) from error
    if frame is None:
        raise refuse(f"The data is a {type(data).__name__}, which is not a table", _ACCEPTED)
    if not len(frame.columns) and not (empty and not len(frame)):
        raise refuse("The data has no columns", "pass at least one feature column")
    if not len(frame) and not empty:
        raise refuse(
            f"The data has no rows (columns: {listed([str(c) for c in frame.columns])})",
            "pass at least one row",
        )
    sparse = [position for position, dtype in enumerate(frame.dtypes) if isinstance(dtype, pd.SparseDtype)]
    if sparse:
        dense = [
            frame.iloc[:, i].sparse.to_dense() if i in sparse else frame.iloc[:, i]
            for i in range(len(frame.columns))
        ]
        frame = pd.concat(dense, axis=1)
    renamed = [".".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in frame.columns]
    # A new index: the caller's may have duplicates, and rows are only ever addressed by position.
    return pd.DataFrame(frame.set_axis(renamed, axis=1).reset_index(drop=True))


def sample(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return at most ``rows`` rows, the same ones for the same number of rows, in their order."""
    if len(frame) <= rows:
        return frame
    return frame.iloc[sample_positions(len(frame), rows)].reset_index(drop=True)


def sample_positions(available: int, wanted: int) -> np.ndarray:
    """Return at most ``wanted`` of the positions 0 to ``available`` - 1, always the same ones, in order."""
    import numpy as np

    if available <= wanted:
        return np.arange(available)
    chosen: np.ndarray = np.sort(np.random.default_rng(_SEED).choice(available, wanted, replace=False))
    return chosen


def duplicated(names: Sequence[str]) -> dict[str, int]:
    """Return the names that occur more than once, with how often."""
    return {name: count for name, count in Counter(names).items() if count > 1}


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Return names for a message, cut after ``limit``."""
    text = ", ".join(names[:limit])
    return f"{text} and {len(names) - limit} more" if len(names) > limit else text


def _convert(data: Any) -> Any:
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, pd.Series):
        if len(data) and all(isinstance(label, str) for label in data.index):
            # A row of a frame. Its values share one type; each column gets its own back.
            return pd.DataFrame([data.tolist()], columns=data.index)
        return data.to_frame(data.name if data.name is not None else "value")
    if isinstance(data, Mapping):
        row = data and all(pd.api.types.is_scalar(value) for value in data.values())
        return pd.DataFrame([dict(data)] if row else dict(data))
    if getattr(getattr(data, "dtype", None), "names", None):
        return pd.DataFrame(data)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return (
            pd.DataFrame.from_records(list(data)) if all(isinstance(row, Mapping) for row in data) else None
        )
    if callable(getattr(data, "collect_schema", None)) and hasattr(data, "collect"):
        data = data.collect()
    if callable(convert := getattr(data, "to_pandas", None)):
        converted = convert()
        return converted if isinstance(converted, pd.DataFrame) else _convert(converted)
    if hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        return pa.table(data).to_pandas()
    if hasattr(data, "__dataframe__"):
        import pyarrow.interchange

        return pyarrow.interchange.from_dataframe(data).to_pandas()
    return None
