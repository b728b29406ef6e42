"""Copies between projects: made on purpose only, and told by both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.errors import ConfigError, ModelNotFoundError
from mlops.lineage.references import MODEL
from mlops.workspace import links
from mlops.workspace.tools import Link

if TYPE_CHECKING:
    from pathlib import Path

    from mlops.integrations.dvc_data import DataVersion, DVCData
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.integrations.mlflow_tracking.versions import ModelVersion


def copy_model(
    source: MLflowTracking,
    target: MLflowTracking,
    model: ModelVersion | str,
    *,
    version: str | int | None = None,
    alias: str | None = None,
    name: str | None = None,
) -> ModelVersion:
    """Register a copy of a model version in another project; see ``MLOpsClient.copy_model``."""
    operation = "copy_model"
    _different(source.project, target.project, operation)
    found = source.models.find(model, version=version, alias=alias)
    if not found.version:
        raise ModelNotFoundError(
            f"{found.uri} was logged without being registered, so it has no version to copy",
            tool="mlflow",
            operation=operation,
            workspace=source.project,
            hint="log it with registered=True first",
        )
    origin = f"{source.project}/{MODEL}:{found.full_name}:{found.version}"
    short = name or found.name
    for row in target.model_versions():
        if row.name == f"{target.model_prefix}{short}" and row.tags.get("mlops.copied_from") == origin:
            return target.models.get(short, version=row.version)
    files = source.models.download(found)
    with target.start_run(
        f"copy of {found.full_name}:{found.version}",
        nested=target.active_run is not None,
        tags={"mlops.copied_from": origin},
    ):
        copy = target.models.log(files, short, origin=origin)
    source.models.note_copy(found, f"{target.project}/{MODEL}:{copy.full_name}:{copy.version}")
    _record(
        source,
        target,
        f"{MODEL}:{found.full_name}:{found.version}",
        f"{MODEL}:{copy.full_name}:{copy.version}",
    )
    return copy


def copy_data(
    source: DVCData, target: DVCData, data: str | Path | DataVersion, *, path: str | Path | None = None
) -> DataVersion:
    """Bring a data version into another project; see ``MLOpsClient.copy_data``."""
    _different(_project(source), _project(target), "copy_data")
    copy = target.copy_from(source, data, path=path)
    _record(source, target, f"data:{copy.md5}", f"data:{copy.md5}")
    return copy


def _record(source: MLflowTracking | DVCData, target: MLflowTracking | DVCData, one: str, other: str) -> None:
    """Write the copy into the link logs of both projects."""
    for project, link in (
        (source, Link(one, f"{_project(target)}/{other}", links.COPIED_TO)),
        (target, Link(f"{_project(source)}/{one}", other, links.COPIED_TO)),
    ):
        links.record(project.context.workspace, [link], operation="copy")


def _project(adapter: MLflowTracking | DVCData) -> str:
    return adapter.context.workspace.project_name


def _different(source: str, target: str, operation: str) -> None:
    if source == target:
        raise ConfigError(
            f"{source} cannot be copied to itself",
            operation=operation,
            workspace=source,
            hint="name another project",
        )
