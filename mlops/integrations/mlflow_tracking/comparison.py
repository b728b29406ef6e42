"""Runs side by side: what differs between them, as plain values or as a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Several runs, value by value; a run that lacks a value has None.

    Args:
        runs: The runs, as ``list_runs`` gives them, in the order asked for.
        params: Every parameter with its value in each run.
        metrics: Every metric with its latest value in each run.
        datasets: Every dataset with its digest in each run.
    """

    runs: tuple[Mapping[str, Any], ...]
    params: Mapping[str, tuple[str | None, ...]]
    metrics: Mapping[str, tuple[float | None, ...]]
    datasets: Mapping[str, tuple[str | None, ...]]

    @property
    def changed(self) -> dict[str, tuple[Any, ...]]:
        """What is not the same in all runs, as ``params.x``, ``metrics.y`` and ``datasets.z``."""
        return {key: values for key, values in self._rows().items() if len(set(map(repr, values))) > 1}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run_ids": [run["run_id"] for run in self.runs],
            "run_names": [run["run_name"] for run in self.runs],
            "params": {key: list(values) for key, values in self.params.items()},
            "metrics": {key: list(values) for key, values in self.metrics.items()},
            "datasets": {key: list(values) for key, values in self.datasets.items()},
            "changed": sorted(self.changed),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row per value and a column per run, named by run id."""
        import pandas as pd

        columns = [run["run_id"] for run in self.runs]
        return pd.DataFrame.from_dict(self._rows(), orient="index", columns=columns)

    def _rows(self) -> dict[str, tuple[Any, ...]]:
        groups = {"params": self.params, "metrics": self.metrics, "datasets": self.datasets}
        return {f"{group}.{key}": values for group, held in groups.items() for key, values in held.items()}


def compare(
    runs: Sequence[Mapping[str, Any]], datasets: Sequence[Sequence[Mapping[str, Any]]]
) -> RunComparison:
    """Put runs side by side.

    Args:
        runs: The runs, as ``list_runs`` gives them.
        datasets: The datasets of each, as ``datasets`` gives them.
    """
    digests = [{use["name"]: use["digest"] for use in uses} for uses in datasets]
    return RunComparison(
        tuple(runs),
        _side_by_side([run["params"] for run in runs]),
        _side_by_side([run["metrics"] for run in runs]),
        _side_by_side(digests),
    )


def to_frame(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return runs as a data frame, a row per run, with columns such as ``params.depth``."""
    import pandas as pd

    groups = ("params", "metrics", "tags")
    plain = [
        {key: value for key, value in run.items() if key not in groups}
        | {f"{group}.{key}": value for group in groups for key, value in run[group].items()}
        for run in runs
    ]
    return pd.DataFrame(plain)


def _side_by_side(held: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys = sorted({key for values in held for key in values})
    return {key: tuple(values.get(key) for values in held) for key in keys}
