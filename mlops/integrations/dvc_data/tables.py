"""Comparing two tables: columns by name and type, rows by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.dvc_data.differences import ColumnChange, TableDiff

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# File name's ending to format.
FORMATS: Final = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
Source = tuple[Path, str]
# An odd multiplier, so that the order of the columns counts and no bit of a hash is lost (Knuth's).
_MIX: Final = 6364136223846793005
_NULL: Final = 0x9E3779B97F4A7C15


def compare(name: str, before: Source, after: Source) -> TableDiff:
    """Compare two tables.

    Args:
        name: What to call them.
        before: The earlier file, and its format as in ``FORMATS``.
        after: The later one.

    Returns:
        The difference; of files that are no such tables only the reason.
    """
    import pyarrow as pa

    try:
        old, new = _read(*before), _read(*after)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        return TableDiff(name, error=f"cannot be read as a table: {error}")
    common = [column for column in new.column_names if column in set(old.column_names)]
    types = {column: (old.schema.field(column).type, new.schema.field(column).type) for column in common}
    kept = _shared_rows(old, new, types) if common else 0
    return TableDiff(
        file=name,
        columns_added=tuple(column for column in new.column_names if column not in types),
        columns_removed=tuple(column for column in old.column_names if column not in types),
        retyped=tuple(
            ColumnChange(column, str(first), str(second))
            for column, (first, second) in types.items()
            if first != second
        ),
        rows_before=old.num_rows,
        rows_after=new.num_rows,
        rows_added=new.num_rows - kept,
        rows_removed=old.num_rows - kept,
    )


def _read(path: Path, kind: str) -> pa.Table:
    """Read a table, with a number added to names that columns share."""
    table = _READERS[kind](str(path))
    names: list[str] = []
    for name in table.column_names:
        number, unique = 1, name
        while unique in names:
            unique, number = f"{name}.{number}", number + 1
        names.append(unique)
    return table.rename_columns(names)


def _read_separated(path: str, delimiter: str) -> pa.Table:
    from pyarrow import csv

    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    return csv.read_csv(path, parse_options=parsing)


def _read_parquet(path: str) -> pa.Table:
    from pyarrow import parquet

    return parquet.ParquetFile(path).read()


def _read_lines(path: str) -> pa.Table:
    from pyarrow import json

    return json.read_json(path)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "csv": lambda path: _read_separated(path, ","),
    "tsv": lambda path: _read_separated(path, "\t"),
    "parquet": _read_parquet,
    "jsonl": _read_lines,
}


def _shared_rows(old: pa.Table, new: pa.Table, types: dict[str, tuple[Any, Any]]) -> int:
    """Return how many rows both have, counting equal ones as often as both have them."""
    import numpy as np

    sides = []
    for table in (old, new):
        rows = np.zeros(table.num_rows, dtype=np.uint64)
        for column, pair in types.items():
            rows *= np.uint64(_MIX)
            rows += _hashes(_comparable(table.column(column), pair))
        sides.append(np.unique(rows, return_counts=True))
    (first, first_counts), (second, second_counts) = sides
    _, left, right = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return int(np.minimum(first_counts[left], second_counts[right]).sum())


def _comparable(column: pa.ChunkedArray, pair: tuple[Any, Any]) -> pa.ChunkedArray:
    """Return a column in the form in which both sides can be compared: as it is, as numbers, or as text."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
        pair = tuple(kind.value_type if types.is_dictionary(kind) else kind for kind in pair)
    kept = pair[0] == pair[1]
    if kept and types.is_temporal(column.type):
        return column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64()).cast(pa.int64())
    if kept and (types.is_integer(column.type) or types.is_boolean(column.type)):
        return column
    if all(types.is_integer(kind) or types.is_floating(kind) for kind in pair):
        return column.cast(pa.float64(), safe=False)
    if types.is_nested(column.type) or types.is_binary(column.type) or types.is_large_binary(column.type):
        return pa.chunked_array(
            [[None if v is None else repr(v) for v in column.to_pylist()]], pa.large_string()
        )
    return column.cast(pa.large_string())


def _hashes(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return a 64-bit hash per value; a missing value has one of its own."""
    import numpy as np
    from pandas.util import hash_array
    from pyarrow import compute, types

    empty = compute.is_null(column).to_numpy()
    if types.is_large_string(column.type):
        values = column.fill_null("").to_numpy().astype(object)
    else:
        values = column.fill_null(False if types.is_boolean(column.type) else 0).to_numpy()
        if values.dtype.kind == "f":
            values = values + 0.0  # minus zero is zero
    hashes: np.ndarray[Any, Any] = hash_array(values).astype(np.uint64)
    hashes[empty] = np.uint64(_NULL)
    return hashes
