"""What is frozen when reference data is set: column kinds, categories, the task and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION: Final = 1
# Every category the frozen list does not name is counted under this one.
OTHER: Final = "(other)"
# Places of a ranking that count where nothing else is said: one page of results.
CUTOFF: Final = 10


class ColumnKind(StrEnum):
    """How a column is compared with the reference."""

    NUMERICAL = "numerical"
    CATEGORICAL = "categorical"
    TEXT = "text"
    EMBEDDING = "embedding"
    IGNORED = "ignored"


class Task(StrEnum):
    """What the model does, which decides the performance metrics."""

    NONE = "none"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    RANKING = "ranking"


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """One column of the reference data.

    Args:
        name: The column's name.
        kind: How it is compared.
        dtype: The data type it had when the reference was set, for people.
        categories: For a categorical column, the categories counted on their own, in order.
        missing_share: Share of missing values in the reference, 0 to 1.
        note: Why an ignored column is ignored.
        minimum: The smallest finite value of a numerical column.
        maximum: The largest.
        dimension: How many numbers each row of an embedding has.
        parts: The columns an embedding is spread over, in order; none if each cell holds a whole vector.
    """

    name: str
    kind: ColumnKind
    dtype: str
    categories: tuple[str, ...] = ()
    missing_share: float = 0.0
    note: str = ""
    minimum: float | None = None
    maximum: float | None = None
    dimension: int = 0
    parts: tuple[str, ...] = ()

    def as_stored(self) -> ColumnSchema:
        """Return the schema of the column as it is stored: with one vector per cell."""
        return replace(self, parts=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "dtype": self.dtype,
            "categories": list(self.categories),
            "missing_share": self.missing_share,
            "note": self.note,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "dimension": self.dimension,
            "parts": list(self.parts),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ColumnSchema:
        """Read what ``to_dict`` wrote."""
        return cls(
            name=values["name"],
            kind=ColumnKind(values["kind"]),
            dtype=values["dtype"],
            categories=tuple(values["categories"]),
            missing_share=float(values["missing_share"]),
            note=values["note"],
            minimum=values.get("minimum"),
            maximum=values.get("maximum"),
            dimension=int(values.get("dimension", 0)),
            parts=tuple(values.get("parts", ())),
        )


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Which columns say how well the model did.

    Args:
        task: What the model does.
        target_column: The column with the true value, or None.
        prediction_column: The column with the model's answer, or None.
        probability_columns: Label to the column with its probability; a binary task names the positive one.
        labels: The labels of a classification as text, sorted.
        positive_label: The label precision and recall are about in a binary task.
        group_column: The column that says which rows a ranking puts in order together, such as the query.
        cutoff: How many of a ranking's first places count.
        notes: What was decided rather than given, for people.
    """

    task: Task = Task.NONE
    target_column: str | None = None
    prediction_column: str | None = None
    probability_columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    positive_label: str | None = None
    group_column: str | None = None
    cutoff: int = CUTOFF
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that performance is computed from."""
        named = (self.target_column, self.prediction_column, self.group_column)
        return tuple(
            dict.fromkeys([*(c for c in named if c is not None), *self.probability_columns.values()])
        )

    @property
    def prediction_is_probability(self) -> bool:
        """Whether the prediction column holds a probability, not a label."""
        return self.prediction_column is not None and self.prediction_column in set(
            self.probability_columns.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "task": str(self.task),
            "target_column": self.target_column,
            "prediction_column": self.prediction_column,
            "probability_columns": dict(self.probability_columns),
            "labels": list(self.labels),
            "positive_label": self.positive_label,
            "group_column": self.group_column,
            "cutoff": self.cutoff,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskSpec:
        """Read what ``to_dict`` wrote."""
        return cls(
            task=Task(values["task"]),
            target_column=values["target_column"],
            prediction_column=values["prediction_column"],
            probability_columns=dict(values["probability_columns"]),
            labels=tuple(values["labels"]),
            positive_label=values["positive_label"],
            group_column=values.get("group_column"),
            cutoff=int(values.get("cutoff", CUTOFF)),
            notes=tuple(values["notes"]),
        )


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """The data that batches are compared with.

    Args:
        hash: SHA-256 of the content and the schema, in hex; the same data set again has the same hash.
        model: The model it belongs to; None for the project's default.
        model_version: The version of the model it was set for, or None.
        set_at: When it became current, aware.
        rows: Number of rows.
        columns: The frozen schema by column name.
        spec: The task, and the columns and labels it uses.
        path: The directory it is stored in.
    """

    hash: str
    model: str | None
    model_version: str | None
    set_at: datetime
    rows: int
    columns: Mapping[str, ColumnSchema]
    spec: TaskSpec
    path: Path = field(compare=False)

    @property
    def task(self) -> Task:
        """What the model does."""
        return self.spec.task

    @property
    def target_column(self) -> str | None:
        """The column with the true value."""
        return self.spec.target_column

    @property
    def prediction_column(self) -> str | None:
        """The column with the model's answer."""
        return self.spec.prediction_column

    @property
    def positive_label(self) -> str | None:
        """The label precision and recall are about in a binary task."""
        return self.spec.positive_label

    def to_frame(self) -> pd.DataFrame:
        """Return the stored columns: numbers as float64, vectors as float32 arrays, everything else as text.

        Ignored columns are absent.
        """
        import pandas as pd

        return pd.read_parquet(self.path / "data.parquet")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the data."""
        return {
            "hash": self.hash,
            "model": self.model,
            "model_version": self.model_version,
            "set_at": self.set_at.isoformat(),
            "rows": self.rows,
            "columns": [column.to_dict() for column in self.columns.values()],
            **self.spec.to_dict(),
        }
