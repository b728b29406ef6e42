"""One step carried out: in its own MLflow run, tried as often as allowed, its outputs stored.

This is the same for every engine, which only decides where the step's function is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.errors import PipelineError
from mlops.pipelines import recording
from mlops.pipelines.cache import Record, StepCache
from mlops.pipelines.engine import Engine, settled
from mlops.pipelines.isolation import Call
from mlops.pipelines.outputs import Held, OutputStore
from mlops.pipelines.results import StepResult, StepStatus
from mlops.pipelines.step import MAX_BACKOFF_SECONDS, Step

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking, Run


@dataclass(frozen=True, slots=True)
class StepTask:
    """One step, ready to be carried out.

    Args:
        step: The step.
        tracking: The project's adapter.
        store: The project's stored values.
        parent_id: The run of the pipeline.
        reference: The pipeline, as ``<name>@<version>``.
        inputs: Its inputs by parameter.
        params: Which of them are parameters of the run.
        key: Hash of what its result depends on, or None.
        engine: Where its function is called.
    """

    step: Step
    tracking: MLflowTracking
    store: OutputStore
    parent_id: str
    reference: str
    inputs: Mapping[str, Held]
    params: frozenset[str]
    key: str | None
    engine: Engine


def perform(task: StepTask) -> StepResult:
    """Carry a step out and record it; what it raises is in the result.

    An interruption (Ctrl-C, exit) is not an outcome of the step and passes through.
    """
    started = time.perf_counter()
    attempts = _Attempts()
    run_id: str | None = None
    try:
        with _opened(task, task.key) as run:
            run_id = run.run_id
            try:
                values = _outputs(task.step, _execute(task, run, attempts))
                outputs = {
                    name: Held(task.store, task.store.put(value), value) for name, value in values.items()
                }
                _note(task, run, attempts, recording.output_tags(outputs))
            except BaseException as error:
                reason = recording.shown(f"{type(error).__name__}: {error}")
                _note(task, run, attempts, {recording.REASON_TAG: reason})
                raise
            duration = time.perf_counter() - started
            data = recording.data_versions(task.tracking, run_id)
        result = StepResult(
            task.step.name,
            StepStatus.FINISHED,
            run_id=run_id,
            attempts=attempts.most,
            duration=duration,
            outputs=outputs,
            data=data,
            key=task.key,
        )
        _remember(task, result)
    except Exception as error:  # noqa: BLE001 - the step's outcome; the pipeline raises it as a StepError's cause
        return StepResult(
            task.step.name,
            StepStatus.FAILED,
            run_id=run_id,
            attempts=attempts.most,
            duration=time.perf_counter() - started,
            reason=recording.shown(f"{type(error).__name__}: {error}"),
            error=error,
            key=task.key,
        )
    return result


def reuse(task: StepTask, record: Record) -> StepResult:
    """Record that a step took the result of an earlier run, and return that result."""
    outputs = {name: Held(task.store, stored) for name, stored in record.outputs.items()}
    with _opened(task, task.key) as run:
        tags = {recording.REUSED_TAG: record.run_id, **recording.output_tags(outputs)}
        _note(task, run, _Attempts(), tags)
        recording.carry_over(run, record.data)
    return StepResult(
        task.step.name,
        StepStatus.FINISHED,
        run_id=run.run_id,
        reused_from=record.run_id,
        outputs=outputs,
        data=record.data,
        key=task.key,
    )


def skip(task: StepTask, reason: str) -> StepResult:
    """Record that a step was left out, and why."""
    tags = {recording.STATUS_TAG: str(StepStatus.SKIPPED), recording.REASON_TAG: reason}
    with _opened(task, None, tags) as run:
        pass
    return StepResult(task.step.name, StepStatus.SKIPPED, run_id=run.run_id, reason=reason)


def _opened(
    task: StepTask, key: str | None, tags: Mapping[str, str] | None = None
) -> AbstractContextManager[Run]:
    return recording.step_run(
        task.tracking,
        task.step.name,
        parent_id=task.parent_id,
        reference=task.reference,
        key=key,
        tags=tags,
    )


class _Attempts:
    """Counts the tries; of a step that maps over a list, those of the item that took most."""

    most = 0

    def made(self, number: int) -> None:
        self.most = max(self.most, number)


def _execute(task: StepTask, run: Run, attempts: _Attempts) -> Any:
    step = task.step
    values = {name: held.get() for name, held in task.inputs.items()}

    def once(arguments: Mapping[str, Any]) -> Any:
        return _tried(task, attempts, lambda: _call(task, run, arguments))

    if step.map is None:
        return once(values)
    items = values[step.map]
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise PipelineError(
            f"The step {step.name!r} maps over {step.map!r}, which is no list but a {type(items).__name__}",
            operation="run",
            workspace=task.tracking.project,
            hint="return a list from the step before, or pass one as a parameter",
        )
    calls = [{**values, step.map: item} for item in items]
    if len(calls) < 2:
        return [once(call) for call in calls]
    with task.engine.pool(min(task.engine.at_once, len(calls)), step.name) as pool:
        # Each in the context of this run, so that what the items log lands in it.
        futures = [pool.submit(copy_context().run, once, call) for call in calls]
        return [each.result() for future in futures for each in settled([future])]


def _tried(task: StepTask, attempts: _Attempts, call: Callable[[], Any]) -> Any:
    step = task.step
    for number in range(1, step.retry + 2):
        attempts.made(number)
        try:
            return call()
        except Exception:
            if number > step.retry:
                raise
        if task.engine.stopped.wait(min(step.backoff * 2 ** (number - 1), MAX_BACKOFF_SECONDS)):
            raise KeyboardInterrupt
    raise AssertionError  # the last try returns or raises


def _call(task: StepTask, run: Run, arguments: Mapping[str, Any]) -> Any:
    step = task.step
    positional = [p.name for p in step.parameters if p.positional and p.name in arguments]
    args = [arguments[name] for name in positional]
    kwargs = {name: value for name, value in arguments.items() if name not in positional}
    return task.engine.call(step, Call(step.fn, args, kwargs, run))


def _outputs(step: Step, returned: Any) -> dict[str, Any]:
    if step.map is None:
        return _split(step, returned)
    rows = [_split(step, item) for item in returned]
    return {name: [row[name] for row in rows] for name in step.output_names}


def _split(step: Step, returned: Any) -> dict[str, Any]:
    names = step.output_names
    if len(names) == 1:
        return {names[0]: returned}
    if isinstance(returned, Mapping) and set(returned) == set(names):
        return {name: returned[name] for name in names}
    if not names:
        return {}
    if isinstance(returned, (tuple, list)) and len(returned) == len(names):
        return dict(zip(names, returned, strict=True))
    size = f" of {len(returned)}" if isinstance(returned, (tuple, list, Mapping)) else ""
    raise PipelineError(
        f"The step {step.name!r} returned a {type(returned).__name__}{size}"
        f" instead of its {len(names)} outputs {', '.join(names)}",
        operation="run",
        hint=f"return a tuple of {len(names)} values, or a dictionary with these names",
    )


def _note(task: StepTask, run: Run, attempts: _Attempts, tags: Mapping[str, str]) -> None:
    params = {name: held.get() for name, held in task.inputs.items() if name in task.params}
    known = {recording.ATTEMPTS_TAG: str(attempts.most), **tags}
    recording.finish_step(run, params=params, tags=known, store=task.store)


def _remember(task: StepTask, result: StepResult) -> None:
    stored = {name: held.stored for name, held in result.outputs.items() if held.stored is not None}
    if task.step.cache and task.key is not None and result.run_id and len(stored) == len(result.outputs):
        cache = StepCache(task.tracking.context, task.store)
        cache.keep(task.key, Record(result.run_id, stored, result.data))
