"""Values made comparable: numbers as float64, labels as text, whatever type a batch brings them in.

The same value must get the same label in every batch: 1, 1.0, True and "1" arrive for one category because a
missing value turns integers into floats, a CSV turns them into text, and a database returns booleans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.evidently_monitoring import embeddings, text_statistics
from mlops.integrations.evidently_monitoring.frames import duplicated
from mlops.integrations.evidently_monitoring.schema import OTHER, ColumnKind, ColumnSchema
from mlops.integrations.evidently_monitoring.text_statistics import Vocabulary
from mlops.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd

# Fewer unseen values than this count as missing when the reference has no rare categories of its own: one
# misspelt value is a warning, not a different distribution. Five is Cochran's rule for expected counts.
MIN_UNSEEN: Final = 5
# The unbiased discrepancy of two samples needs two vectors of each.
MIN_VECTORS: Final = 2
# The reason of a column that alerts count as missing.
ABSENT: Final = "not in the batch"
_BOOLEANS: Final = ("False", "True")


@dataclass(slots=True)
class Conformed:
    """Rows in the reference's schema.

    Args:
        frame: The comparable series: numbers as float64, labels as text. A text column has one for each of
            its statistics.
        sources: Series to the column it was made of.
        matrices: Embedding to its vectors, float32 of shape (rows, dimension), NaN where one is missing.
        skipped: Column to the reason it is not compared.
        flaws: Column to the shares of its present values, 0 to 1, that are ``infinite``, ``unseen`` (no
            category of the reference) or ``out_of_range`` (beyond the reference's smallest and largest).
        warnings: What was changed or noticed on the way.
    """

    frame: pd.DataFrame
    sources: dict[str, str] = field(default_factory=dict)
    matrices: dict[str, np.ndarray] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    flaws: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def drop(self, series: str, reason: str) -> None:
        """Take a series out; its column is skipped if it was the only one."""
        self.frame = self.frame.drop(columns=series)
        source = self.sources.pop(series)
        # One statistic of a text may be the same everywhere; the column is still compared by the others.
        if source not in self.sources.values():
            self.skipped[source] = reason


def to_labels(values: pd.Series) -> pd.Series:
    """Return a column's values as text, missing ones as None.

    Raises:
        TypeError: A cell is a list, dictionary or array.
    """
    import pandas as pd

    plain = values.astype(object) if values.dtype.kind not in "biu" else values
    codes, uniques = pd.factorize(plain)
    names = [*(_label(value) for value in uniques), None]
    # Position -1, a missing value, is the None at the end.
    return pd.Series(pd.Series(names, dtype=object).to_numpy()[codes], index=values.index, dtype=object)


def to_numbers(values: pd.Series) -> tuple[pd.Series, int, Any]:
    """Return a column as float64 with infinities missing, how many values are not numbers, and one of those.

    Durations become seconds.

    Raises:
        TypeError: The column holds dates or complex numbers.
    """
    import numpy as np
    import pandas as pd

    if values.dtype.kind in "Mc":
        raise TypeError(f"its type is {values.dtype}")
    if values.dtype.kind == "m" or (
        values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) == "timedelta"
    ):
        parsed = values.astype("timedelta64[ns]").dt.total_seconds()
    else:
        plain = values.astype(object) if values.dtype.kind == "O" else values
        parsed = pd.to_numeric(plain, errors="coerce")
    numbers = pd.Series(parsed.to_numpy(dtype="float64", na_value=np.nan), index=values.index)
    bad = (values.notna() & numbers.isna()).to_numpy(dtype=bool)
    example = values[bad].iloc[0] if bad.any() else None
    return numbers.where(np.isfinite(numbers)), int(bad.sum()), example


def conform(
    frame: pd.DataFrame,
    columns: Mapping[str, ColumnSchema],
    *,
    vocabularies: Mapping[str, Vocabulary],
    exclude: Sequence[str] = (),
) -> Conformed:
    """Bring rows into the frozen schema, column by column.

    Args:
        frame: The rows, with text column names that may repeat.
        columns: The reference's schema.
        vocabularies: Text column to the words of the reference.
        exclude: Columns that are expected and not compared.

    Returns:
        The comparable columns, and a reason for each of the others.
    """
    import pandas as pd

    repeated = duplicated([str(name) for name in frame.columns])
    ready: dict[str, pd.Series] = {}
    result = Conformed(pd.DataFrame())
    parts = {part: schema.name for schema in columns.values() for part in schema.parts}
    for name, schema in columns.items():
        if name in exclude:
            continue
        needed = schema.parts or (name,)
        absent = [column for column in needed if column not in frame.columns]
        if schema.kind is ColumnKind.IGNORED:
            result.skipped[name] = f"ignored in the reference: {schema.note}"
        elif not len(frame):
            result.skipped[name] = "the batch has no rows"
        elif absent:
            result.skipped[name] = ABSENT if absent == [name] else f"the batch has no column {absent[0]!r}"
        elif twice := next((column for column in needed if column in repeated), None):
            result.skipped[name] = f"the batch has {repeated[twice]} columns of the name {twice!r}"
        elif schema.kind is ColumnKind.EMBEDDING:
            _vectors(frame[list(schema.parts)] if schema.parts else frame[name], schema, result)
        else:
            for series, values in _column(frame[name], schema, result, vocabularies).items():
                ready[_unused(series, name, columns)] = values
                result.sources[_unused(series, name, columns)] = name
    for name in dict.fromkeys(frame.columns):
        if name not in columns and name not in exclude and name not in parts:
            result.skipped[name] = "not in the reference"
    result.frame = pd.DataFrame(ready, index=frame.index)
    return result


def to_categories(labels: pd.Series, categories: Sequence[str]) -> tuple[pd.Series, pd.Series]:
    """Return labels with those outside the frozen categories under one name, and which rows that concerns."""
    known = set(categories)
    unseen = labels.notna() & ~labels.isin(known)
    return labels.mask(unseen, OTHER), unseen


def joined(parts: pd.DataFrame) -> np.ndarray:
    """Return the vectors that are spread over columns, float32, NaN throughout where a number is missing.

    Raises:
        TypeError: A column holds dates or complex numbers.
    """
    import numpy as np

    matrix: np.ndarray = np.column_stack(
        [to_numbers(parts[name])[0].to_numpy(dtype="float32") for name in parts]
    )
    matrix[np.isnan(matrix).any(axis=1)] = np.nan
    return matrix


def boolean_labels(labels: pd.Series, categories: Sequence[str]) -> pd.Series:
    """Return 0 and 1 as the booleans the reference has, and the other way round."""
    known = set(categories) - {OTHER}
    if known and known <= set(_BOOLEANS):
        names = {"0": "False", "1": "True", "false": "False", "true": "True"}
    elif known and known <= {"0", "1"}:
        names = {"False": "0", "True": "1"}
    else:
        return labels
    return labels.replace(names) if labels.isin(names).any() else labels


def _column(
    values: pd.Series, schema: ColumnSchema, result: Conformed, vocabularies: Mapping[str, Vocabulary]
) -> dict[str, pd.Series]:
    """Return the series to compare; none if the column is skipped."""
    name = schema.name
    if not values.notna().any():
        result.skipped[name] = "every value is missing"
        return {}
    if schema.kind is ColumnKind.NUMERICAL:
        return _numbers(values, schema, result)
    if schema.kind is ColumnKind.TEXT:
        if not values.dropna().map(lambda v: isinstance(v, str)).all():
            result.skipped[name] = "text in the reference, but some values are not text"
            return {}
        statistics = text_statistics.describe(values, vocabularies[name])
        return {
            text_statistics.series_name(name, statistic): numbers
            for statistic, numbers in statistics.items()
            if numbers.notna().any()
        }
    try:
        labels = boolean_labels(to_labels(values), schema.categories)
    except TypeError:
        result.skipped[name] = "some cells hold lists, dictionaries or arrays"
        return {}
    compared, unseen = to_categories(labels, schema.categories)
    count = int(unseen.sum()) if OTHER not in schema.categories else 0
    result.flaws[name] = {"unseen": count / int(labels.notna().sum())}
    if unseen.any():
        examples = ", ".join(repr(value) for value in labels[unseen].unique()[:3])
        if count:
            outside = f"{counted(count, 'value')} outside of the reference's categories"
            result.warnings.append(f"column {name!r}: {outside} ({examples})")
        if 0 < count < MIN_UNSEEN and count < compared.notna().sum():
            compared = compared.mask(unseen, None)
    return {name: compared}


def _numbers(values: pd.Series, schema: ColumnSchema, result: Conformed) -> dict[str, pd.Series]:
    name = schema.name
    try:
        numbers, bad, example = to_numbers(values)
    except TypeError as error:
        result.skipped[name] = f"numerical in the reference, but {error}"
        return {}
    if bad:
        result.skipped[name] = (
            f"numerical in the reference, but {bad} values are no numbers, such as {str(example)[:40]!r}"
        )
        return {}
    present, finite = int(values.notna().sum()), int(numbers.notna().sum())
    flaws = result.flaws[name] = {"infinite": (present - finite) / present}
    if finite < present:
        result.warnings.append(f"column {name!r}: {present - finite} infinite values count as missing")
    if not finite:
        result.skipped[name] = "every value is infinite"
        return {}
    if schema.minimum is not None and schema.maximum is not None:
        outside = int(((numbers < schema.minimum) | (numbers > schema.maximum)).sum())
        flaws["out_of_range"] = outside / finite
    return {name: numbers}


def _vectors(cells: pd.Series | pd.DataFrame, schema: ColumnSchema, result: Conformed) -> None:
    import numpy as np
    import pandas as pd

    name = schema.name
    if isinstance(cells, pd.DataFrame):
        try:
            matrix = joined(cells)
        except TypeError as error:
            result.skipped[name] = f"an embedding in the reference, but of one of its columns {error}"
            return
        given = cells.notna().all(axis=1).to_numpy()
        bad = int((given & np.isnan(matrix[:, 0])).sum())
    else:
        matrix, bad = embeddings.to_matrix(cells, schema.dimension)
    found = int((~np.isnan(matrix[:, 0])).sum())
    if bad:
        reason = f"{bad} rows hold no vector of {schema.dimension} finite numbers"
        if not found:
            result.skipped[name] = f"an embedding in the reference, but {reason}"
            return
        result.warnings.append(f"column {name!r}: {reason} and count as missing")
    if found < MIN_VECTORS:
        result.skipped[name] = (
            "every value is missing" if not found else "one vector alone cannot be compared with others"
        )
        return
    result.matrices[name] = matrix


def _unused(series: str, column: str, columns: Mapping[str, ColumnSchema]) -> str:
    # A frame may have a column that is called as a statistic of another one is.
    while series != column and series in columns:
        series += "_"
    return series


def _label(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
