"""Checks of a workspace's configuration, made before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from mlops.errors import ConfigError, MLOpsError
from mlops.names import MAX_FULL_MODEL_LENGTH

WIRING: Final = ("mlflow_experiment_id", "mlflow_tracking_uri", "dvc_remote_path", "bentoml_tag_prefix")
UPDATABLE: Final = (
    "description",
    *WIRING,
    "evidently_project_id",
    "metadata",
    "tags",
    "quota",
    "retention",
    "schedules",
    "monitoring",
)
_TYPES: Final[Mapping[str, type]] = {
    "metadata": dict,
    "tags": dict,
    "quota": dict,
    "retention": dict,
    "schedules": list,
    "monitoring": dict,
}
# Schemes MLflow's SQL and REST stores accept; its file store refuses to open since 3.13.
_TRACKING: Final = re.compile(r"\A(?:https?|sqlite|postgresql|mysql|mssql|databricks|uc)(?:\+\w+)?(?:://|\Z)")
_PREFIX: Final = re.compile(r"\A[a-z0-9][a-z0-9._-]*\Z")


def check(values: Mapping[str, Any], *, project: str, operation: str) -> None:
    """Check configuration values given by the caller; None means "not set" and always passes.

    Raises:
        ConfigError: Naming the key and what it accepts.
    """
    for key, value in values.items():
        if key not in UPDATABLE:
            raise _error(
                f"{key!r} is not a setting of a workspace that can be changed",
                f"use one of: {', '.join(UPDATABLE)}",
                project=project,
                operation=operation,
            )
        expected = _TYPES.get(key, str)
        if value is not None and not isinstance(value, expected):
            raise _error(
                f"{key} must be a {expected.__name__}, not {type(value).__name__}",
                f"pass a {expected.__name__}, or None for the default",
                project=project,
                operation=operation,
            )
    tags = values.get("tags") or {}
    if bad := [k for k, v in tags.items() if not (isinstance(k, str) and isinstance(v, str | None))]:
        raise _error(f"tag {bad[0]!r} is not text", "use text for both", project=project, operation=operation)
    _check_wiring(values, project=project, operation=operation)
    if values.get("monitoring"):
        from mlops.workspace.schema import monitoring_section

        monitoring_section(values["monitoring"], project=project, operation=operation)
    if values.get("quota"):
        from mlops.workspace.schema import quota_section

        quota_section(values["quota"], project=project, operation=operation)
    if values.get("retention"):
        from mlops.workspace.schema import retention_section

        retention_section(values["retention"], project=project, operation=operation)


def _check_wiring(values: Mapping[str, Any], *, project: str, operation: str) -> None:
    uri = values.get("mlflow_tracking_uri")
    if uri is not None and not uri.startswith("${") and not _TRACKING.match(uri):
        raise _error(
            f"mlflow_tracking_uri {uri!r} is not a server or database URI",
            "use https://..., postgresql://... or sqlite:///..., or None for the workspace's own store",
            project=project,
            operation=operation,
        )
    remote = values.get("dvc_remote_path")
    if remote is not None and "://" not in remote and not remote.startswith("${"):
        parts = {*PurePosixPath(remote).parts, *PureWindowsPath(remote).parts}
        if not remote.strip() or ".." in parts:
            raise _error(
                f"dvc_remote_path {remote!r} leads out of the workspace",
                "use a path without '..', an absolute path, or a URL such as s3://bucket/prefix",
                project=project,
                operation=operation,
            )
    prefix = values.get("bentoml_tag_prefix")
    if prefix is not None and (not _PREFIX.match(prefix) or len(prefix) >= MAX_FULL_MODEL_LENGTH):
        raise _error(
            f"bentoml_tag_prefix {prefix!r} cannot start a Bento tag",
            f"use lower-case letters, digits, '.', '_' and '-', such as {project + '.'!r}",
            project=project,
            operation=operation,
        )


def _error(message: str, hint: str, *, project: str, operation: str) -> MLOpsError:
    return ConfigError(message, operation=operation, workspace=project, hint=hint)
