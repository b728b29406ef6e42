"""DVC: versions of a project's data, in a repository and a remote of its own."""

from __future__ import annotations

from mlops.integrations.dvc_data.adapter import DVCData
from mlops.integrations.dvc_data.differences import ColumnChange, DataDiff, TableDiff
from mlops.integrations.dvc_data.versions import (
    DatasetStatus,
    DataState,
    DataVersion,
    GarbageResult,
    PushResult,
    VerifyResult,
)

__all__ = [
    "ColumnChange",
    "DVCData",
    "DataDiff",
    "DataState",
    "DataVersion",
    "DatasetStatus",
    "GarbageResult",
    "PushResult",
    "TableDiff",
    "VerifyResult",
]
