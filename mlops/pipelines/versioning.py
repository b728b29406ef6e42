"""What a pipeline can do with its versions: save them, list them, compare them and get them back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from mlops.errors import PipelineError, PipelineVersionError
from mlops.pipelines import catalogue, copying, packing
from mlops.pipelines.comparison import VersionComparison, compare
from mlops.pipelines.outputs import describe
from mlops.pipelines.recording import DEFINITION_LENGTH, has_data_versions, shown
from mlops.pipelines.source import code_hash
from mlops.pipelines.sources import sources_of
from mlops.pipelines.step import Step
from mlops.pipelines.versions import LOCK, PipelineVersion, SavedStep, VersionStore, check_version
from mlops.pipelines.wiring import wire
from mlops.workspace.tools import create

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.pipelines.pipeline import Pipeline


class Versioning:
    """The part of ``Pipeline`` that deals with versions."""

    name: str
    description: str
    max_workers: int
    params: dict[str, Any]
    tracking: MLflowTracking | None
    _steps: list[Step]
    _version: str | None = None
    # What ``checkout`` made this pipeline of, and the steps it had then.
    _origin: tuple[PipelineVersion, tuple[Step, ...]] | None = None

    if TYPE_CHECKING:

        def _project(self, operation: str) -> MLflowTracking: ...
        def _error(self, problem: str, operation: str, hint: str) -> PipelineError: ...

    @property
    def version(self) -> str | None:
        """The version that runs are recorded with; None for whichever saved one has the same definition."""
        return self._version

    @version.setter
    def version(self, value: str | None) -> None:
        project = None if self.tracking is None else self.tracking.project
        self._version = (
            None if value is None else check_version(value, operation="version", workspace=project)
        )

    def save_version(
        self, version: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> PipelineVersion:
        """Keep the pipeline in its project as it is: its code, parameters, and what data there is.

        The pipeline is of that version from then on. Saving a version again that did not change does nothing.

        Args:
            version: A version as Python packages have it (PEP 440), such as ``v1.0.0``; by default the one
                the pipeline is of.
            metadata: Whatever belongs to it, as plain JSON values.

        Raises:
            PipelineVersionError: The name is wrong or taken by something else, or a step or parameter cannot
                be kept; nothing was saved.
            PipelineError: The pipeline has no steps or belongs to no project.
        """
        tracking = self._project("save_version")
        workspace = tracking.context.workspace
        version = self._version if version is None else version
        if version is None:
            raise PipelineVersionError(
                f"A version of {self.name!r} needs a name",
                operation="save_version",
                workspace=tracking.project,
                hint="pass it: save_version('v1.0.0'), or assign pipeline.version",
            )
        check_version(version, operation="save_version", workspace=tracking.project)
        captured = self._captured(version, tracking, _plain(metadata or {}, tracking.project))
        packed = packing.pack(
            self._steps, self.params, what=f"the pipeline {self.name!r}", workspace=tracking.project
        )
        captured = replace(
            captured,
            code=hashlib.sha256(packed.content).hexdigest(),
            steps=tuple(replace(s, by_reference=s.name in packed.by_reference) for s in captured.steps),
        )
        catalogue.register(workspace, self.name, description=self.description, operation="save_version")
        store = VersionStore(workspace)
        with workspace.lock(LOCK, operation="save_version"):
            workspace.require_present(operation="save_version")
            existing = store.find(self.name, version)
            if existing is None:
                store.add(captured, packed.content)
        if existing is not None:
            self._refuse_other(existing, captured, given=metadata is not None)
        self._version = (existing or captured).version
        return existing or captured

    def list_versions(self) -> list[PipelineVersion]:
        """Return the saved versions, oldest first by their numbers: v1.2.0 comes before v1.10.0."""
        return VersionStore(self._project("list_versions").context.workspace).list(self.name)

    def get_version(self, version: str) -> PipelineVersion:
        """Return a saved version.

        Args:
            version: Its name; ``1.0`` finds ``v1.0.0`` too.

        Raises:
            PipelineVersionError: There is none of that name.
        """
        store = VersionStore(self._project("get_version").context.workspace)
        return store.get(self.name, version, operation="get_version")

    def compare_with(self, version: str, other: str | None = None) -> VersionComparison:
        """Return what changed since a version.

        Args:
            version: The version to compare with.
            other: The later version; by default the pipeline as it is now, or, while it has no steps, the
                saved version it is of.

        Raises:
            PipelineVersionError: There is no such version.
            PipelineError: The pipeline has no steps and is of no saved version.
        """
        tracking = self._project("compare_with")
        store = VersionStore(tracking.context.workspace)
        before = store.get(self.name, version, operation="compare_with")
        if other is None and not self._steps:
            other = self._version
        if other is not None:
            return compare(before, store.get(self.name, other, operation="compare_with"))
        now = self._captured("now", tracking, {}, operation="compare_with")
        return compare(before, now, saved=False)

    def display_comparison(self, version: str, other: str | None = None) -> None:
        """Print what changed since a version, with the lines of code.

        Args:
            version: The version to compare with.
            other: The later version; as for ``compare_with``.

        Raises:
            PipelineVersionError: There is no such version.
        """
        comparison = self.compare_with(version, other)
        from rich.console import Console

        Console(highlight=False).print(comparison)

    def checkout(self, version: str) -> Self:
        """Return the pipeline as it was saved, ready to run; this one stays as it is.

        The steps run from the code that was stored with the version, not from today's files. Where that
        cannot be, because some code could not be stored or this is another version of Python, today's steps
        are taken if their source is the same. Data files are left as they are; ``client.dvc_pull`` brings
        back the data versions of ``get_version(version).data``.

        Args:
            version: The version.

        Raises:
            PipelineVersionError: There is no such version, or a step cannot run as it was saved; the message
                names the source that changed, ``details["diff"]`` has the lines.
            DataIntegrityError: The stored code is damaged.
        """
        tracking = self._project("checkout")
        store = VersionStore(tracking.context.workspace)
        saved = store.get(self.name, version, operation="checkout")
        content = store.code(saved, operation="checkout")
        present = {step.name: step for step in self._steps}
        steps, params = packing.unpack(content, saved, present=present, workspace=tracking.project)
        restored = type(self)(  # type: ignore[call-arg]
            self.name,
            tracking=tracking,
            params=params,
            version=saved.version,
            description=saved.description,
            max_workers=saved.max_workers,
        )
        for step in steps:
            restored.add_step(step)  # type: ignore[attr-defined]
        restored._origin = (saved, tuple(steps))
        return restored

    def copy_to(self, project: Any) -> Pipeline:
        """Return a pipeline of another project with the same steps, parameters and saved versions.

        Its runs stay where they are. Both projects' lineage tells of the copy.

        Args:
            project: A client or ``Project``.

        Raises:
            PipelineVersionError: The other project has another version of the same name; nothing was copied.
            PipelineError: It is the pipeline's own project.
        """
        return copying.copy(self, project)  # type: ignore[arg-type]

    def definition_hash(self) -> str:
        """Return the SHA-256 of what the pipeline is: its steps' code and declarations, and its parameters.

        Two pipelines with the same hash do the same with the same data.
        """
        saved = self._as_checked_out()
        if saved is not None:
            return saved.definition
        steps = [
            [
                step.name,
                code_hash(step.fn),
                None if step.inputs is None else dict(step.inputs),
                _options(step),
            ]
            for step in self._steps
        ]
        params = {name: _identity(value) for name, value in sorted(self.params.items())}
        return hashlib.sha256(json.dumps([steps, params]).encode()).hexdigest()

    def _running_version(self, definition: str) -> str | None:
        """Return the version that runs; a saved one that was changed since is said to be modified."""
        tracking = self._project("run")
        store = VersionStore(tracking.context.workspace)
        if self._version is None:
            same = [found.version for found in store.list(self.name) if found.definition == definition]
            return same[-1] if same else None
        saved = store.find(self.name, self._version)
        if saved is None or saved.definition == definition:
            return self._version
        if saved.python != packing.PYTHON:
            comparison = compare(saved, self._captured(self._version, tracking, {}, operation="run"))
            if replace(comparison, data={}).identical:
                return self._version
        separator = "." if "+" in self._version else "+"
        return f"{self._version}{separator}modified.{definition[:DEFINITION_LENGTH]}"

    def _as_checked_out(self) -> PipelineVersion | None:
        """Return the version that ``checkout`` made this pipeline of, if it was left as it was."""
        if self._origin is None:
            return None
        saved, steps = self._origin
        same = tuple(self._steps) == steps and _described(self.params) == dict(saved.params)
        return saved if same else None

    def _captured(
        self,
        version: str,
        tracking: MLflowTracking,
        metadata: dict[str, Any],
        *,
        operation: str = "save_version",
    ) -> PipelineVersion:
        if not self._steps:
            raise self._error("has no steps", operation, "add one: pipeline.add_step(function)")
        graph = wire(
            self._steps,
            self.params,
            pipeline=self.name,
            strict=False,
            operation=operation,
            workspace=tracking.project,
        )
        # The files may have changed since: of checked-out code only what was saved with it is the source.
        origin, steps = self._origin or (None, ())
        kept = {step.name: step for step in origin.steps} if origin is not None else {}
        captured: list[SavedStep] = []
        for step in self._steps:
            node = graph.nodes[step.name]
            inputs = {
                b.parameter.name: f"{'params' if b.producer is None else b.producer}.{b.value}"
                for b in node.bindings
            }
            former = kept[step.name] if step in steps else None
            captured.append(
                SavedStep(
                    step.name,
                    _reference(step.fn) if former is None else former.function,
                    code_hash(step.fn) if former is None else former.code,
                    sources_of(step) if former is None else former.sources,
                    inputs,
                    _options(step) if former is None else former.options,
                )
            )
        return PipelineVersion(
            self.name,
            version,
            datetime.now(UTC),
            self.definition_hash(),
            tuple(captured),
            tuple(graph.nodes),
            _described(self.params),
            _data_of(tracking),
            metadata,
            self.description,
            self.max_workers,
            packing.PYTHON,
        )

    def _refuse_other(self, existing: PipelineVersion, wanted: PipelineVersion, *, given: bool) -> None:
        comparison = compare(existing, wanted)
        if comparison.identical and not (given and existing.metadata != wanted.metadata):
            return
        what = "other metadata" if comparison.identical else comparison.summary()
        raise PipelineVersionError(
            f"{self.name!r} has a version {existing.version} already, and it is something else: {what}",
            operation="save_version",
            workspace=None if self.tracking is None else self.tracking.project,
            hint="a saved version never changes; save this one under the next number",
        )


def _options(step: Step) -> dict[str, Any]:
    return {
        "outputs": list(step.output_names),
        "map": step.map,
        "retry": step.retry,
        "backoff": step.backoff,
        "timeout": step.timeout,
        "isolate": step.isolate,
        "cache": step.cache,
        "when": None if step.when is None else code_hash(step.when)[:DEFINITION_LENGTH],
    }


def _reference(function: Any) -> str:
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}:{kind.__qualname__}"


def _identity(value: Any) -> str | None:
    found = describe(value)
    return None if found is None else found.identity


def _described(params: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {name: (shown(value), _identity(value) or "") for name, value in sorted(params.items())}


def _data_of(tracking: MLflowTracking) -> dict[str, str]:
    """Return the newest version of each dataset of the project."""
    if not has_data_versions(tracking):
        return {}
    return {each.name: each.md5 for each in create("dvc", tracking.context).datasets()}  # type: ignore[attr-defined]


def _plain(metadata: Mapping[str, Any], project: str) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PipelineVersionError(
            f"The metadata of a version must be plain JSON values: {error}",
            operation="save_version",
            workspace=project,
            hint="use text, numbers, lists and dictionaries",
        ) from error
    return plain
