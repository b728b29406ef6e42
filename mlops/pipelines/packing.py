"""Steps and parameters as bytes that run again later: the user's own code is in them, not its import path."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlops.errors import PipelineVersionError
from mlops.integrations.mlflow_tracking.pickling import REFUSALS, by_value
from mlops.pipelines.source import code_hash
from mlops.pipelines.sources import difference, sources_of
from mlops.pipelines.step import Step, remade
from mlops.pipelines.versions import PipelineVersion, SavedStep

# Compiled code means nothing to another minor version of Python.
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Packed:
    """Steps and parameters as bytes.

    Args:
        content: The bytes.
        by_reference: The steps of which some code is only referred to by its import path.
    """

    content: bytes
    by_reference: frozenset[str]


def pack(steps: Sequence[Step], params: Mapping[str, Any], *, what: str, workspace: str) -> Packed:
    """Return steps and parameters as bytes.

    Args:
        steps: The steps.
        params: Default parameters.
        what: The pipeline, for errors.
        workspace: The project, for errors.

    Raises:
        PipelineVersionError: One of them cannot be stored; it names it.
    """
    packed = {step.name: _packed(step, f"the step {step.name!r} of {what}", workspace) for step in steps}
    values = {
        name: _packed(value, f"the parameter {name!r} of {what}", workspace)[0]
        for name, value in params.items()
    }
    content = {"steps": {name: blob for name, (blob, _) in packed.items()}, "params": values}
    return Packed(
        pickle.dumps(content, protocol=5), frozenset(name for name, (_, whole) in packed.items() if not whole)
    )


def unpack(
    content: bytes, version: PipelineVersion, *, present: Mapping[str, Step], workspace: str
) -> tuple[list[Step], dict[str, Any]]:
    """Return the steps and parameters of a saved version, exactly as they were.

    Args:
        content: What ``pack`` made of them.
        version: The version.
        present: Steps of today by name, which are taken where what was saved cannot run by itself and they
            are the same.
        workspace: The project, for errors.

    Raises:
        PipelineVersionError: A step cannot run as it was saved; it names the step and what changed.
    """
    blobs = pickle.loads(content)  # noqa: S301 - the project's own, and its hash was checked
    params = {
        name: _loaded(blob, f"parameter {name!r}", version, workspace)
        for name, blob in blobs["params"].items()
    }
    steps: list[Step] = []
    for saved in version.steps:
        if version.python != PYTHON:
            steps.append(_as_present(saved, version, present, workspace))
            continue
        step: Step = _loaded(blobs["steps"][saved.name], f"step {saved.name!r}", version, workspace)
        if saved.by_reference and code_hash(step.fn) != saved.code:
            raise _changed(saved, step, version, workspace)
        steps.append(step)
    return steps, params


def _packed(value: Any, what: str, workspace: str) -> tuple[bytes, bool]:
    """Return an object as bytes, and whether all of the user's code is in them."""
    import cloudpickle

    stream = io.BytesIO()
    try:
        _pickler(stream).dump(value)
    except REFUSALS:
        stream = io.BytesIO()
        try:
            cloudpickle.Pickler(stream).dump(value)
        except REFUSALS as error:
            raise PipelineVersionError(
                f"A version cannot keep {what}: {error}",
                operation="save_version",
                workspace=workspace,
                hint="open connections, files and locks inside the step instead of referring to them",
            ) from error
        return stream.getvalue(), False
    return stream.getvalue(), True


def _pickler(stream: io.BytesIO) -> Any:
    class Pickler(by_value()):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, Step):
                # By itself a step is a reference, which leads to whatever has its name by then.
                return remade(obj)
            return super().reducer_override(obj)

    return Pickler(stream)


def _loaded(blob: bytes, what: str, version: PipelineVersion, workspace: str) -> Any:
    try:
        return pickle.loads(blob)  # noqa: S301 - as above
    except (*REFUSALS, pickle.UnpicklingError, ImportError) as error:
        raise PipelineVersionError(
            f"The {what} of {version.pipeline!r} {version.version} cannot be loaded here: {error}",
            operation="checkout",
            workspace=workspace,
            hint="install the packages it needs, with the versions they had when it was saved",
        ) from error


def _as_present(
    saved: SavedStep, version: PipelineVersion, present: Mapping[str, Step], workspace: str
) -> Step:
    """Return today's step in place of compiled code that this Python cannot run, if it has the same text."""
    step = present.get(saved.name)
    if step is None:
        raise PipelineVersionError(
            f"{version.pipeline!r} {version.version} was saved with Python {version.python}, and this is"
            f" {PYTHON}: the step {saved.name!r} cannot run from what was saved",
            operation="checkout",
            workspace=workspace,
            hint=f"use Python {version.python}, or add the present steps before checkout(): those with the"
            " same source are taken",
        )
    if not saved.sources or sources_of(step) != dict(saved.sources):
        raise _changed(saved, step, version, workspace)
    return step


def _changed(saved: SavedStep, step: Step, version: PipelineVersion, workspace: str) -> PipelineVersionError:
    diff = difference(saved.sources, sources_of(step))
    names = [line.removeprefix("--- ") for line in diff.splitlines() if line.startswith("--- ")]
    where = ", ".join(names) or f"a constant or compiled code that {saved.function} uses"
    return PipelineVersionError(
        f"The step {saved.name!r} of {version.pipeline!r} {version.version} is not what was saved:"
        f" {where} changed",
        operation="checkout",
        workspace=workspace,
        details={"step": saved.name, "diff": diff},
        hint="details['diff'] has the lines; restore them, for instance with git, then try again",
    )
