"""What is kept in memory of a reference between checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops.integrations.evidently_monitoring.conform import Conformed, conform
from mlops.integrations.evidently_monitoring.frames import sample
from mlops.integrations.evidently_monitoring.metrics import Performance
from mlops.integrations.evidently_monitoring.schema import ColumnKind, ReferenceData
from mlops.integrations.evidently_monitoring.text_statistics import Vocabulary

if TYPE_CHECKING:
    import pandas as pd


@dataclass(slots=True)
class Baseline:
    """A reference, ready to be compared with.

    Args:
        rows: The sample that drift is computed on, in the form batches are brought to.
        labelled: All rows of the columns that performance is computed on.
        vocabularies: Text column to the words of the sample.
        performance: The reference's own performance, once computed.
    """

    rows: Conformed
    labelled: pd.DataFrame
    vocabularies: dict[str, Vocabulary] = field(default_factory=dict)
    performance: Performance | None = None

    @classmethod
    def of(cls, reference: ReferenceData, frame: pd.DataFrame, *, rows: int) -> Baseline:
        """Prepare a reference.

        Args:
            reference: Its schema and task.
            frame: Its data as stored.
            rows: At most so many are compared.
        """
        chosen = sample(frame, rows)
        vocabularies = {
            name: Vocabulary.of(chosen[name].dropna())
            for name, schema in reference.columns.items()
            if schema.kind is ColumnKind.TEXT
        }
        # Stored data has an embedding's vectors in one column, wherever they came from.
        columns = {name: schema.as_stored() for name, schema in reference.columns.items()}
        return cls(
            rows=conform(chosen, columns, vocabularies=vocabularies),
            labelled=frame[[name for name in frame.columns if name in reference.spec.columns]],
            vocabularies=vocabularies,
        )
