"""What a schedule runs: found by its name in any process, and carried out in the schedule's project."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mlops.errors import MLOpsError, ScheduleError
from mlops.pipelines.pipeline import Pipeline
from mlops.pipelines.results import PipelineRun
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext, create

Target = Callable[[], Any] | Pipeline


def reference_of(target: Target) -> str | None:
    """Return the ``module:name`` by which another process finds the same object; None if there is none.

    Args:
        target: A function, or a pipeline that is a variable of the module of one of its steps.
    """
    if isinstance(target, Pipeline):
        modules = dict.fromkeys(sys.modules.get(step.fn.__module__) for step in target.steps)
        named = [(module, name) for module in modules if module for name in vars(module)]
        for module, name in named:
            if vars(module)[name] is target:
                return _reference(module, name)
        return None
    home = sys.modules.get(getattr(target, "__module__", None) or "")
    own = getattr(target, "__qualname__", None)
    if home is None or own is None or _attribute(home, own) is not target:
        return None
    return _reference(home, own)


def described(target: Target) -> str:
    """Return what a target is, for people."""
    if isinstance(target, Pipeline):
        return f"pipeline {target.name}"
    return str(getattr(target, "__qualname__", None) or repr(target))


def load(reference: str, *, schedule: str, project: str | None = None) -> Target:
    """Import what a reference names.

    Args:
        reference: ``module:name``.
        schedule: The schedule, for the error.
        project: The project, for the error.

    Raises:
        ScheduleError: There is no such module or name, or it is nothing that can run. What the module itself
            raises passes through.
    """
    module_name, _, name = reference.partition(":")
    problem = f"The target {reference!r} of the schedule {schedule!r}"
    hint = "name it as module:function, and start where `import module` works or set PYTHONPATH"
    try:
        module = importlib.import_module(module_name) if module_name and name else None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ScheduleError(
            f"{problem} cannot be imported: there is no module {error.name!r} on this process's path",
            operation="schedule",
            workspace=project,
            hint=hint,
        ) from None
    found = None if module is None else _attribute(module, name)
    if not isinstance(found, Pipeline) and not callable(found):
        raise ScheduleError(
            f"{problem} is neither a function nor a pipeline",
            operation="schedule",
            workspace=project,
            hint=hint,
        )
    return found


def execute(target: Target, workspace: ProjectWorkspace | None) -> str | None:
    """Run a target, and the pipeline it returns if it returns one that did not run yet.

    Args:
        target: The target.
        workspace: The project; a pipeline that belongs to none runs in it.

    Returns:
        The MLflow run of the pipeline, or None if the target returned no pipeline.

    Raises:
        ScheduleError: The pipeline belongs to another project.
        StepError: A step failed.
    """
    made = target if isinstance(target, Pipeline) else target()
    if isinstance(made, Pipeline):
        made = _of_project(made, workspace).run()
    if not isinstance(made, PipelineRun):
        return None
    if made.error is not None:
        raise made.error
    return made.run_id


def _of_project(pipeline: Pipeline, workspace: ProjectWorkspace | None) -> Pipeline:
    if workspace is None:
        return pipeline
    if pipeline.tracking is None:
        bound = copy.copy(pipeline)
        bound.tracking = create("mlflow", ToolContext(workspace, resolve().settings))  # type: ignore[assignment]
        return bound
    own = pipeline.tracking.context.workspace
    if own.root_path.resolve() != workspace.root_path.resolve():
        raise ScheduleError(
            f"The pipeline {pipeline.name!r} belongs to {own.root_path}, not to {workspace.root_path}",
            operation="schedule",
            workspace=workspace.project_name,
            hint="schedule it in its own project, or copy it: pipeline.copy_to(project)",
        )
    return pipeline


def _reference(module: ModuleType, name: str) -> str | None:
    known = module.__name__
    if known == "__main__":
        # `python -m package.module` can be imported under its real name, a script cannot.
        spec = getattr(module, "__spec__", None)
        if spec is None:
            return None
        known = spec.name
    return f"{known}:{name}"


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        return None


def run_of(error: BaseException) -> str | None:
    """Return the MLflow run that a failure was recorded in, as far as the error says."""
    found = error.details.get("run_id") if isinstance(error, MLOpsError) else None
    return None if found is None else str(found)
