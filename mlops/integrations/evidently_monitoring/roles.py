"""Which columns of a batch are the target and the prediction, and what task they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring.frames import TOOL, duplicated, listed
from mlops.integrations.evidently_monitoring.schema import ReferenceData, Task, TaskSpec
from mlops.integrations.evidently_monitoring.task import task_spec

if TYPE_CHECKING:
    import pandas as pd

_OPERATION: Final = "monitor"


@dataclass(frozen=True, slots=True)
class Roles:
    """A batch with its roles assigned.

    Args:
        frame: The batch, with target and prediction under the reference's names.
        labelled: Its columns that performance is computed from, each once.
        spec: The task.
        notes: What was decided, and why there is no performance.
    """

    frame: pd.DataFrame
    labelled: pd.DataFrame
    spec: TaskSpec
    notes: list[str] = field(default_factory=list)


def assign(
    frame: pd.DataFrame,
    reference: ReferenceData,
    *,
    target_column: str | None,
    prediction_column: str | None,
    workspace: str,
) -> Roles:
    """Return the batch with target and prediction under the reference's names.

    Args:
        frame: The batch.
        reference: What it is compared with.
        target_column: The batch's column with the true value, if it is not the reference's.
        prediction_column: The batch's column with the model's answer, if it is not the reference's.
        workspace: The project, for errors.

    Raises:
        ReferenceDataError: A column named does not exist.
    """
    spec = reference.spec
    columns = [str(name) for name in frame.columns]
    for role, column in (("target", target_column), ("prediction", prediction_column)):
        if column is not None and column not in columns and columns:
            raise ReferenceDataError(
                f"There is no {role} column {column!r}; the batch has: {listed(columns)}",
                tool=TOOL,
                operation=_OPERATION,
                workspace=workspace,
                hint=f"name the {role} column as it is in the batch, or leave it out",
            )
    for own, column in ((spec.target_column, target_column), (spec.prediction_column, prediction_column)):
        if own and column and own != column:
            frame = frame.drop(columns=own, errors="ignore").rename(columns={column: own})
    repeated = duplicated([str(name) for name in frame.columns])
    single = frame[[name for name in frame.columns if name not in repeated]]
    target, prediction = spec.target_column or target_column, spec.prediction_column or prediction_column
    notes: list[str] = []
    if (target, prediction) != (spec.target_column, spec.prediction_column):
        # The reference was set without this column: the batch alone says what the task is.
        present = set(single.columns)
        try:
            spec = task_spec(
                single,
                target_column=target if target in present else None,
                prediction_column=prediction if prediction in present else None,
                task=None if spec.task is Task.NONE else str(spec.task),
                probability_columns=dict(spec.probability_columns) or None,
                positive_label=spec.positive_label,
                group_column=spec.group_column,
                cutoff=spec.cutoff,
                operation=_OPERATION,
                workspace=workspace,
            )
            notes += spec.notes
        except ReferenceDataError as error:
            # The other columns of such a batch are still worth comparing.
            spec = TaskSpec()
            notes.append(f"no performance: {error.message}")
    notes += _without_performance(single, spec, repeated)
    labelled = single[[name for name in single.columns if name in spec.columns]]
    return Roles(frame, labelled, spec, notes)


def _without_performance(frame: pd.DataFrame, spec: TaskSpec, repeated: Mapping[str, int]) -> list[str]:
    """Say why there is no performance at all, where there could be one."""
    if spec.task is Task.NONE or not len(frame.columns):
        return []
    found = []
    for role, column in (("target", spec.target_column), ("prediction", spec.prediction_column)):
        if column is None or column in frame.columns:
            continue
        if role == "prediction" and spec.probability_columns:
            continue
        if count := repeated.get(column):
            found.append(f"no performance: the batch has {count} columns of the name {column!r}, the {role}")
        else:
            found.append(f"no performance: the batch has no {role} column {column!r}")
    return found[:1]
