"""A pipeline copied to another project with its saved versions: made on purpose only, and told by both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops.errors import PipelineError, PipelineVersionError
from mlops.pipelines.comparison import compare
from mlops.pipelines.recording import DEFINITION_LENGTH
from mlops.pipelines.versions import LOCK, PipelineVersion, VersionStore
from mlops.workspace import links
from mlops.workspace.tools import Link

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.pipelines.pipeline import Pipeline


def copy(pipeline: Pipeline, project: Any) -> Pipeline:
    """Copy a pipeline; see ``Pipeline.copy_to``."""
    source = pipeline.tracking
    client = getattr(project, "client", project)
    if source is not None:
        _check_target(pipeline, source, client.tracking)
    made: Pipeline = client.create_pipeline(
        pipeline.name,
        params=pipeline.params,
        version=pipeline.version,
        description=pipeline.description,
        max_workers=pipeline.max_workers,
    )
    for step in pipeline.steps:
        made.add_step(step)
    # Checked-out code keeps the source that was saved with it.
    made._origin = pipeline._origin
    if source is not None:
        _copy_versions(pipeline, source, client.tracking)
    return made


def _check_target(pipeline: Pipeline, source: MLflowTracking, target: MLflowTracking) -> None:
    one, other = source.context.workspace, target.context.workspace
    one.require_present(operation="copy_to")
    other.require_present(operation="copy_to")
    if one.root_path == other.root_path:
        raise PipelineError(
            f"The pipeline {pipeline.name!r} cannot be copied to {source.project!r}, where it is",
            operation="copy_to",
            workspace=source.project,
            hint="name another project",
        )
    store = VersionStore(other)
    for version in VersionStore(one).list(pipeline.name):
        _is_there(store, version, target.project)


def _copy_versions(pipeline: Pipeline, source: MLflowTracking, target: MLflowTracking) -> None:
    one, other = VersionStore(source.context.workspace), VersionStore(target.context.workspace)
    versions = one.list(pipeline.name)
    contents = [one.code(version, operation="copy_to") for version in versions]
    with target.context.workspace.lock(LOCK, operation="copy_to"):
        for version, content in zip(versions, contents, strict=True):
            if not _is_there(other, version, target.project):
                other.add(replace(version, copied_from=f"{source.project}/{version.reference}"), content)
    definition = pipeline.definition_hash()
    present = pipeline._running_version(definition) or definition[:DEFINITION_LENGTH]
    copied = dict.fromkeys(
        [*(version.reference for version in versions), f"pipeline:{pipeline.name}@{present}"]
    )
    for adapter, found in (
        (source, [Link(each, f"{target.project}/{each}", links.COPIED_TO) for each in copied]),
        (target, [Link(f"{source.project}/{each}", each, links.COPIED_TO) for each in copied]),
    ):
        links.record(adapter.context.workspace, found, operation="copy_to")


def _is_there(store: VersionStore, version: PipelineVersion, project: str) -> bool:
    """Say whether a project has a version already; raise if it has another one of that name."""
    existing = store.find(version.pipeline, version.version)
    if existing is None:
        return False
    comparison = compare(existing, version)
    if comparison.identical and existing.metadata == version.metadata:
        return True
    what = "other metadata" if comparison.identical else comparison.summary()
    raise PipelineVersionError(
        f"{project!r} has another version {existing.version} of {version.pipeline!r} already: {what}",
        operation="copy_to",
        workspace=project,
        hint="nothing was copied; save what is to be copied under another number",
    )
