"""Missing and odd values of a batch, over all its columns whether they can be compared or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops.integrations.evidently_monitoring.frames import duplicated
from mlops.integrations.evidently_monitoring.results import ColumnQuality
from mlops.integrations.evidently_monitoring.schema import ColumnSchema

if TYPE_CHECKING:
    import pandas as pd


def cells(frame: pd.DataFrame, columns: Mapping[str, ColumnSchema]) -> pd.DataFrame:
    """Return True for every missing cell of an expected column, False for one that is there.

    Args:
        frame: The batch.
        columns: The reference's schema.
    """
    import numpy as np
    import pandas as pd

    repeated = duplicated([str(name) for name in frame.columns])
    expected = {part for name, schema in columns.items() for part in schema.parts or (name,)}
    names = [name for name in frame.columns if name in expected and name not in repeated]
    if not names:
        return pd.DataFrame({"row": np.zeros(len(frame), dtype=bool)})
    return pd.DataFrame({name: frame[name].isna().to_numpy() for name in names})


def of_columns(
    missing: pd.DataFrame, columns: Mapping[str, ColumnSchema], flaws: Mapping[str, Mapping[str, float]]
) -> dict[str, ColumnQuality]:
    """Return the quality of every expected column that is in the batch.

    Args:
        missing: What ``cells`` returned.
        columns: The reference's schema.
        flaws: Column to the shares of its values that are odd, as ``conform`` found them.
    """
    found: dict[str, ColumnQuality] = {}
    for name, schema in columns.items():
        parts = list(schema.parts or (name,))
        if not len(missing) or any(part not in missing.columns for part in parts):
            continue
        odd = flaws.get(name, {})
        found[name] = ColumnQuality(
            column=name,
            missing_share=float(missing[parts].any(axis=1).mean()),
            reference_missing_share=schema.missing_share,
            infinite_share=odd.get("infinite"),
            unseen_share=odd.get("unseen"),
            out_of_range_share=odd.get("out_of_range"),
        )
    return found
