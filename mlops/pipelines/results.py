"""What a run of a pipeline gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlops.errors import StepError
from mlops.pipelines.outputs import Held, Outputs


class StepStatus(StrEnum):
    """How a step ended."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    NOT_RUN = "NOT_RUN"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of a run.

    Args:
        name: The step.
        status: How it ended; ``NOT_RUN`` where a step before it failed.
        run_id: Its MLflow run; None if it has none.
        attempts: How often it was tried; 0 for a step that was not executed.
        duration: Seconds, without what is recorded afterwards.
        reused_from: The MLflow run of the step whose result was taken instead, or None.
        reason: Why it was skipped, or what it failed with; "" otherwise.
        error: The exception it failed with, or None.
        outputs: What it returned.
        data: The data versions it read, as MLflow's dataset records.
        key: Hash of everything its result depends on, or None if that cannot be told.
    """

    name: str
    status: StepStatus
    run_id: str | None = None
    attempts: int = 0
    duration: float = 0.0
    reused_from: str | None = None
    reason: str = ""
    error: BaseException | None = None
    outputs: Mapping[str, Held] = field(default_factory=dict)
    data: tuple[dict[str, Any], ...] = ()
    key: str | None = None

    @property
    def cached(self) -> bool:
        """Whether the result of an earlier run was taken."""
        return self.reused_from is not None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "status": str(self.status),
            "run_id": self.run_id,
            "attempts": self.attempts,
            "duration": self.duration,
            "reused_from": self.reused_from,
            "reason": self.reason,
            "outputs": {
                name: None if held.stored is None else held.stored.digest
                for name, held in self.outputs.items()
            },
        }


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run of a pipeline.

    Args:
        pipeline: The pipeline's name.
        version: The version that ran, or None.
        run_id: The MLflow run.
        status: ``FINISHED`` or ``FAILED``.
        steps: Every step by name, in the order they can run.
        outputs: Every value that was returned, by output name; read from the project when asked for.
        duration: Seconds.
        params: The run's parameters.
        error: What made it fail, or None; its ``__cause__`` is the exception of the step.
        resumed_from: The failed run it continues, or None.
    """

    pipeline: str
    version: str | None
    run_id: str
    status: str
    steps: Mapping[str, StepResult]
    outputs: Outputs
    duration: float
    params: Mapping[str, Any]
    error: StepError | None = None
    resumed_from: str | None = None

    @property
    def success(self) -> bool:
        """Whether every step finished or was skipped on purpose."""
        return self.status == StepStatus.FINISHED

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the outputs themselves."""
        return {
            "pipeline": self.pipeline,
            "version": self.version,
            "run_id": self.run_id,
            "status": self.status,
            "success": self.success,
            "duration": self.duration,
            "params": {name: str(value) for name, value in self.params.items()},
            "steps": [step.to_dict() for step in self.steps.values()],
            "error": None if self.error is None else str(self.error),
            "resumed_from": self.resumed_from,
        }


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a run would do with a step.

    Args:
        name: The step.
        inputs: Parameter to where its value comes from: ``step.output`` or ``params.name``.
        outputs: The values it returns.
        after: The steps it waits for.
        stage: Steps of the same stage run at once.
        reused_from: The MLflow run whose result would be taken; None if it would be executed, or if that
            depends on a step that would be executed.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    after: tuple[str, ...]
    stage: int
    reused_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "inputs": dict(self.inputs),
            "outputs": list(self.outputs),
            "after": list(self.after),
            "stage": self.stage,
            "reused_from": self.reused_from,
        }
