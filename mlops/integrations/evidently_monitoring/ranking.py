"""How well rows were put in order within their groups: the results of a query, what a user was shown.

The numbers are Evidently's NDCG, MAP and MRR at a cutoff k, of rows arranged so that they are what the names
promise. With rel the relevance and the ranks by descending score:

    NDCG@k  sum of rel / log2(rank + 1) over the first k, divided by the same of the best possible order
    MAP@k   mean over the relevant rows among the first k of the precision at their rank, divided by the
            number of relevant rows of the group
    MRR@k   1 / rank of the first relevant row, 0 if there is none among the first k

Each is the mean over the groups with at least one relevant row; relevant is what has a relevance above 0, and
only NDCG distinguishes grades. Left to itself, Evidently gives tied rows the same rank (NDCG can exceed 1),
counts the last row of a group shorter than k again for every place up to k, and takes the order of the frame
for that of the ranks.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from mlops.integrations.evidently_monitoring import runtime
from mlops.integrations.evidently_monitoring.conform import to_labels
from mlops.integrations.evidently_monitoring.metrics import MAX_ROWS, Performance, complete, numbers_of
from mlops.integrations.evidently_monitoring.schema import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

# Evidently computes its curves for at least so many places.
_CURVE: Final = 10


def measure(evidently: SimpleNamespace, frame: pd.DataFrame, spec: TaskSpec, result: Performance) -> None:
    """Add NDCG, MAP and MRR at the task's cutoff."""
    import pandas as pd

    k = spec.cutoff
    names = [f"{name}_at_{k}" for name in ("ndcg", "map", "mrr")]
    if spec.group_column not in frame.columns:
        result.lack(f"column {spec.group_column!r} is not in the batch", *names)
        return
    columns = {}
    for role, column in (("target", spec.target_column), ("prediction", spec.prediction_column)):
        numbers = numbers_of(frame[column], result)
        if numbers is None:
            result.lack(f"column {column!r} holds no numbers", *names)
            return
        columns[role] = numbers
    try:
        columns["group"] = to_labels(frame[spec.group_column])
    except TypeError:
        result.lack(f"column {spec.group_column!r} holds lists, dictionaries or arrays", *names)
        return
    rows = complete(pd.DataFrame(columns), result)
    if (rows["target"] < 0).any():
        result.lack("the relevance is negative in some rows", *names)
        return
    rows = _relevant_groups(rows, result)
    if not len(rows):
        result.lack("no group has a relevant row", *names)
        return
    table = _ranked(_limited(rows, result), max(k, _CURVE))
    metrics = evidently.metrics
    definition = evidently.DataDefinition(
        numerical_columns=["target", "rank"],
        ranking=[
            evidently.Recsys(
                user_id="group",
                item_id="item",
                target="target",
                prediction="rank",
                recommendations_type="rank",
            )
        ],
    )
    wanted = dict(zip(names, (metrics.NDCG(k=k), metrics.MAP(k=k), metrics.MRR(k=k)), strict=True))
    result.collect(evidently, wanted, table, definition)
    # Evidently's dashboards draw single numbers over time, and these metrics are curves over the places.
    drawn = [
        evidently.ExternalValue(name.partition("_")[0], value)
        for name, value in result.metrics.items()
        if value is not None
    ]
    if drawn:
        result.snapshots.append(
            evidently.Report(drawn).run(
                evidently.Dataset.from_pandas(table, definition), None, timestamp=runtime.EPOCH
            )
        )


def _relevant_groups(rows: pd.DataFrame, result: Performance) -> pd.DataFrame:
    best = rows.groupby("group")["target"].transform("max")
    kept = rows[best > 0]
    groups, left = rows["group"].nunique(), kept["group"].nunique()
    if left < groups:
        result.notes.append(f"{groups - left} of {groups} groups have no relevant row and were left out")
    if tied := int(kept.duplicated(["group", "prediction"], keep=False).sum()):
        result.notes.append(
            f"{tied} rows have the score of another in their group; the less relevant one counts as first"
        )
    return kept


def _limited(rows: pd.DataFrame, result: Performance) -> pd.DataFrame:
    """Return whole groups of together at most ``MAX_ROWS`` rows, always the same ones."""
    import numpy as np

    if len(rows) <= MAX_ROWS:
        return rows
    sizes = rows.groupby("group").size()
    order = np.random.default_rng(len(sizes)).permutation(len(sizes))
    fits = np.cumsum(sizes.to_numpy()[order]) <= MAX_ROWS
    fits[0] = True
    chosen = rows[rows["group"].isin(sizes.index[order[fits]])]
    result.notes.append(
        f"the ranking metrics: computed on {int(fits.sum())} of {len(sizes)} groups, always the same ones"
    )
    return chosen


def _ranked(rows: pd.DataFrame, places: int) -> pd.DataFrame:
    """Return the rows with ranks from 1, and every group filled up to ``places`` with irrelevant rows."""
    import numpy as np
    import pandas as pd

    ordered = rows.sort_values(["group", "prediction", "target"], ascending=[True, False, True])
    rank = ordered.groupby("group").cumcount().to_numpy() + 1
    group = pd.factorize(ordered["group"])[0]
    sizes = np.bincount(group)
    lacking = np.maximum(places - sizes, 0)
    filler: np.ndarray = np.repeat(np.arange(len(sizes)), lacking)
    start: np.ndarray = np.repeat(np.cumsum(lacking) - lacking, lacking)
    filler_rank = sizes[filler] + np.arange(len(filler)) - start + 1
    table = pd.DataFrame(
        {
            "group": np.concatenate([group, filler]),
            "target": np.concatenate([ordered["target"].to_numpy(), np.zeros(len(filler))]),
            "rank": np.concatenate([rank, filler_rank]),
        }
    )
    table = table.sort_values(["group", "rank"], ignore_index=True)
    return table.assign(item=np.arange(len(table)))
