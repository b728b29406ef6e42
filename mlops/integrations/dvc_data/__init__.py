"""DVC: versions of a project's data, in a repository and a remote of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.lazy import exporter

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.adapter import DVCData as DVCData
    from mlops.integrations.dvc_data.differences import ColumnChange as ColumnChange
    from mlops.integrations.dvc_data.differences import DataDiff as DataDiff
    from mlops.integrations.dvc_data.differences import TableDiff as TableDiff
    from mlops.integrations.dvc_data.versions import DatasetStatus as DatasetStatus
    from mlops.integrations.dvc_data.versions import DataState as DataState
    from mlops.integrations.dvc_data.versions import DataVersion as DataVersion
    from mlops.integrations.dvc_data.versions import GarbageResult as GarbageResult
    from mlops.integrations.dvc_data.versions import PushResult as PushResult
    from mlops.integrations.dvc_data.versions import VerifyResult as VerifyResult

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

__getattr__ = exporter(
    __name__,
    {
        "mlops.integrations.dvc_data.adapter": ("DVCData",),
        "mlops.integrations.dvc_data.differences": ("ColumnChange", "DataDiff", "TableDiff"),
        "mlops.integrations.dvc_data.versions": (
            "DatasetStatus",
            "DataState",
            "DataVersion",
            "GarbageResult",
            "PushResult",
            "VerifyResult",
        ),
    },
)
