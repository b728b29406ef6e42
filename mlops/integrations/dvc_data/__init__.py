"""DVC: versions of a project's data, in a repository and a remote of its own."""

from __future__ import annotations

from mlops.integrations.dvc_data.adapter import DVCData
from mlops.integrations.dvc_data.versions import (
    DatasetStatus,
    DataState,
    DataVersion,
    PushResult,
    VerifyResult,
)

__all__ = ["DVCData", "DataState", "DataVersion", "DatasetStatus", "PushResult", "VerifyResult"]
