"""Values made comparable: numbers as float64, labels as text, whatever type a batch brings them in.

The same value must get the same label in every batch: 1, 1.0, True and "1" arrive for one category because a
missing value turns integers into floats, a CSV turns them into text, and a database returns booleans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.evidently_monitoring.frames import duplicated
from mlops.integrations.evidently_monitoring.schema import OTHER, ColumnKind, ColumnSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

# Fewer unseen values than this count as missing when the reference has no rare categories of its own: one
# misspelt value is a warning, not a different distribution. Five is Cochran's rule for expected counts.
MIN_UNSEEN: Final = 5
_BOOLEANS: Final = ("False", "True")


@dataclass(slots=True)
class Conformed:
    """A batch in the reference's schema.

    Args:
        frame: The comparable columns.
        skipped: Column name to the reason it is not in the frame.
        warnings: What was changed or noticed on the way.
    """

    frame: pd.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


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

    Raises:
        TypeError: The column holds dates, durations, or cells that are lists, dictionaries or arrays.
    """
    import numpy as np
    import pandas as pd

    if values.dtype.kind in "mMc":
        raise TypeError(f"its type is {values.dtype}")
    parsed = pd.to_numeric(values.astype(object) if values.dtype.kind == "O" else values, errors="coerce")
    numbers = pd.Series(parsed.to_numpy(dtype="float64", na_value=np.nan), index=values.index)
    bad = (values.notna() & numbers.isna()).to_numpy(dtype=bool)
    example = values[bad].iloc[0] if bad.any() else None
    return numbers.where(np.isfinite(numbers)), int(bad.sum()), example


def conform(
    frame: pd.DataFrame, columns: Mapping[str, ColumnSchema], *, exclude: Sequence[str] = ()
) -> Conformed:
    """Bring a batch into the frozen schema, column by column.

    Args:
        frame: The batch, with text column names that may repeat.
        columns: The reference's schema.
        exclude: Columns that are expected and not compared.

    Returns:
        The comparable columns, and a reason for each of the others. Text columns become two numerical ones,
        their length in characters and in words.
    """
    import pandas as pd

    repeated = duplicated([str(name) for name in frame.columns])
    ready: dict[str, pd.Series] = {}
    result = Conformed(pd.DataFrame())
    for name, schema in columns.items():
        if name in exclude:
            continue
        if schema.kind is ColumnKind.IGNORED:
            result.skipped[name] = f"ignored in the reference: {schema.note}"
        elif name not in frame.columns:
            result.skipped[name] = "not in the batch"
        elif name in repeated:
            result.skipped[name] = f"the batch has {repeated[name]} columns of this name"
        else:
            reason, series = _column(frame[name], schema, result.warnings)
            if reason:
                result.skipped[name] = reason
            ready.update(series)
    for name in dict.fromkeys(frame.columns):
        if name not in columns and name not in exclude:
            result.skipped[name] = "not in the reference"
    result.frame = pd.DataFrame(ready, index=frame.index)
    return result


def text_features(name: str, values: pd.Series) -> dict[str, pd.Series]:
    """Return a text column's length in characters and in words, as numerical columns."""
    text = values.astype(object).where(values.notna(), None)
    return {
        f"{name} (characters)": text.map(lambda v: float(len(str(v))), na_action="ignore").astype("float64"),
        f"{name} (words)": text.map(lambda v: float(len(str(v).split())), na_action="ignore").astype(
            "float64"
        ),
    }


def to_categories(labels: pd.Series, categories: Sequence[str]) -> tuple[pd.Series, pd.Series]:
    """Return labels with those outside the frozen categories under one name, and which rows that concerns."""
    known = set(categories)
    unseen = labels.notna() & ~labels.isin(known)
    return labels.mask(unseen, OTHER), unseen


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


def _column(values: pd.Series, schema: ColumnSchema, warnings: list[str]) -> tuple[str, dict[str, pd.Series]]:
    """Return why the column cannot be compared, or what to compare."""
    name = schema.name
    if not values.notna().any():
        return "every value is missing", {}
    if schema.kind is ColumnKind.NUMERICAL:
        try:
            numbers, bad, example = to_numbers(values)
        except TypeError as error:
            return f"numerical in the reference, but {error}", {}
        if bad:
            return (
                f"numerical in the reference, but {bad} values are no numbers, such as {str(example)[:40]!r}",
                {},
            )
        if infinite := int((values.notna().to_numpy() & numbers.isna().to_numpy()).sum()):
            warnings.append(f"column {name!r}: {infinite} infinite values count as missing")
        return ("every value is infinite", {}) if not numbers.notna().any() else ("", {name: numbers})
    if schema.kind is ColumnKind.TEXT:
        if not values.dropna().map(lambda v: isinstance(v, str)).all():
            return "text in the reference, but some values are not text", {}
        return "", text_features(name, values)
    try:
        labels = boolean_labels(to_labels(values), schema.categories)
    except TypeError:
        return "some cells hold lists, dictionaries or arrays", {}
    compared, unseen = to_categories(labels, schema.categories)
    if count := int(unseen.sum()):
        examples = ", ".join(repr(value) for value in labels[unseen].unique()[:3])
        warnings.append(f"column {name!r}: {count} values are not in the reference's categories ({examples})")
        if count < MIN_UNSEEN and OTHER not in schema.categories and count < compared.notna().sum():
            compared = compared.mask(unseen, None)
    return "", {name: compared}


def _label(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
