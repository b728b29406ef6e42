"""What differs between two data versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops.integrations.dvc_data.versions import DataVersion


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """A column whose type differs.

    Args:
        name: The column.
        before: Its type in the earlier version, in Arrow's words.
        after: Its type in the later one.
    """

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class TableDiff:
    """How a table differs between two versions.

    Args:
        file: Its path in the dataset; the file's name for a dataset that is a file.
        columns_added: Columns only the later one has.
        columns_removed: Columns only the earlier one has.
        retyped: Columns whose type differs.
        rows_before: Rows of the earlier one.
        rows_after: Rows of the later one.
        rows_added: Rows whose content, in the columns both have, only the later one has; each as often as it
            is there more often.
        rows_removed: The same for the earlier one.
        error: Why it could not be read as a table, or None; everything else is empty then.
    """

    file: str
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    retyped: tuple[ColumnChange, ...] = ()
    rows_before: int = 0
    rows_after: int = 0
    rows_added: int = 0
    rows_removed: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "file": self.file,
            "columns_added": list(self.columns_added),
            "columns_removed": list(self.columns_removed),
            "retyped": {change.name: [change.before, change.after] for change in self.retyped},
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "rows_added": self.rows_added,
            "rows_removed": self.rows_removed,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class DataDiff:
    """What differs between two versions.

    Args:
        before: The earlier version.
        after: The later one.
        added: Files only the later one has, sorted.
        removed: Files only the earlier one has, sorted.
        changed: Files whose content differs, sorted.
        tables: How the changed files that are tables differ.
    """

    before: DataVersion
    after: DataVersion
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    tables: tuple[TableDiff, ...]

    @property
    def same(self) -> bool:
        """Whether both hold the same files with the same content."""
        return not (self.added or self.removed or self.changed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "same": self.same,
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": list(self.changed),
            "tables": [table.to_dict() for table in self.tables],
        }
