"""The reference's and the batch's side of every series that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mlops.integrations.evidently_monitoring import embeddings
from mlops.integrations.evidently_monitoring.conform import MIN_VECTORS, Conformed
from mlops.integrations.evidently_monitoring.schema import ColumnKind, ColumnSchema

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_SAME: Final = "constant: the reference and the batch have one and the same value"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples with the same series.

    Args:
        current: The batch's.
        reference: The reference's.
        sources: Series to the column it was made of.
        kinds: Series to how its column is compared.
        chance: Series of an embedding to the discrepancy that chance explains.
    """

    current: pd.DataFrame
    reference: pd.DataFrame
    sources: Mapping[str, str]
    kinds: Mapping[str, ColumnKind]
    chance: Mapping[str, float] = field(default_factory=dict)


def pair(batch: Conformed, rows: Conformed, columns: Mapping[str, ColumnSchema]) -> Pair:
    """Match a batch with the reference; what cannot be matched moves to the batch's ``skipped``.

    Args:
        batch: The batch.
        rows: The reference's sample.
        columns: The reference's schema.
    """
    import pandas as pd

    chance: dict[str, float] = {}
    reference: dict[str, pd.Series] = {}
    for name in list(batch.frame.columns):
        if name not in rows.frame.columns or not rows.frame[name].notna().any():
            batch.drop(name, "no value in the sample of the reference")
        elif _constant(batch.frame[name], rows.frame[name]):
            batch.drop(name, _SAME)
        else:
            reference[name] = rows.frame[name]
    current = {name: batch.frame[name] for name in batch.frame.columns}
    for name, matrix in batch.matrices.items():
        own = rows.matrices.get(name)
        if own is None or len(known := embeddings.usable(own)) < MIN_VECTORS:
            batch.skipped[name] = "fewer than two vectors in the sample of the reference"
            continue
        given = embeddings.usable(matrix)
        if (own[known] == matrix[given][0]).all() and (matrix[given] == own[known][0]).all():
            batch.skipped[name] = _SAME
            continue
        comparison = embeddings.compare(own[known], matrix[given])
        chance[name] = comparison.chance
        batch.sources[name] = name
        reference[name] = _placed(comparison.reference, known, len(rows.frame))
        current[name] = _placed(comparison.current, given, len(batch.frame))
    order = [name for column in columns for name in current if batch.sources[name] == column]
    return Pair(
        current=pd.DataFrame({name: current[name] for name in order}),
        reference=pd.DataFrame({name: reference[name] for name in order}),
        sources={name: batch.sources[name] for name in order},
        kinds={name: columns[batch.sources[name]].kind for name in order},
        chance=chance,
    )


def _constant(current: pd.Series, reference: pd.Series) -> bool:
    if current.dtype.kind == "f":
        return bool(
            min(current.min(), reference.min()) == max(current.max(), reference.max())  # NaN is left out
        )
    return len({*current.dropna().unique(), *reference.dropna().unique()}) < 2


def _placed(values: np.ndarray, rows: np.ndarray, size: int) -> pd.Series:
    import numpy as np
    import pandas as pd

    series = np.full(size, np.nan)
    series[rows] = values
    return pd.Series(series)
