"""A run under way: which step can start, with what, and what became of those that ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.errors import StepError
from mlops.pipelines import execution
from mlops.pipelines.cache import Record, StepCache, step_key
from mlops.pipelines.engine import Engine
from mlops.pipelines.execution import StepTask
from mlops.pipelines.outputs import Held, OutputStore, describe
from mlops.pipelines.results import StepResult, StepStatus
from mlops.pipelines.wiring import Binding, Graph, Node

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress function is told, when a step starts and when it ends.

    Args:
        step: The step.
        status: None for a step that starts, else how it ended.
        done: How many steps have ended.
        total: How many there are.
        duration: Seconds the step took.
        cached: Whether the result of an earlier run was taken.
    """

    step: str
    status: StepStatus | None
    done: int
    total: int
    duration: float = 0.0
    cached: bool = False


Observer = Callable[[Progress], None]


class Values:
    """The values of a run: its parameters, and what the steps returned.

    Args:
        store: The project's stored values.
        params: The parameters by name.
    """

    def __init__(self, store: OutputStore, params: Mapping[str, Any]) -> None:
        self.store = store
        self._params = {name: Held(store, describe(value), value) for name, value in params.items()}
        self.outputs: dict[str, Held] = {}

    def take(self, bindings: tuple[Binding, ...]) -> tuple[dict[str, Held], list[Binding]]:
        """Return the values of parameters by their names, and the bindings whose value there is not."""
        found: dict[str, Held] = {}
        lacking: list[Binding] = []
        for binding in bindings:
            source = self._params if binding.producer is None else self.outputs
            held = source.get(binding.value)
            if held is not None:
                found[binding.parameter.name] = held
            elif binding.parameter.required:
                lacking.append(binding)
        return found, lacking


class Progression:
    """The state of one run, from whatever thread an engine reports.

    Args:
        graph: The steps.
        tracking: The project's adapter.
        run_id: The run of the pipeline.
        values: The run's values.
        reference: The pipeline, as ``<name>@<version>``.
        earlier: Results by key of the run that this one resumes.
        engine: Where the functions of the steps are called.
        observer: Told when steps start and end.
    """

    def __init__(
        self,
        graph: Graph,
        tracking: MLflowTracking,
        run_id: str,
        values: Values,
        *,
        reference: str,
        earlier: Mapping[str, Record],
        engine: Engine,
        observer: Observer | None,
    ) -> None:
        self.graph = graph
        self.engine = engine
        self.results: dict[str, StepResult] = {}
        self._tracking = tracking
        self._run_id = run_id
        self._reference = reference
        self._values = values
        self._finder = Finder(StepCache(tracking.context, values.store), earlier)
        self._observer = observer
        self._lock = threading.Lock()

    @property
    def failure(self) -> StepResult | None:
        """The step that failed first, or None."""
        return next((r for r in self.results.values() if r.status is StepStatus.FAILED), None)

    def begin(self, name: str) -> StepTask | StepResult:
        """Start a step: return what is to be carried out, or the result if nothing is.

        Args:
            name: A step all of whose predecessors were passed to ``end``.
        """
        node = self.graph.nodes[name]
        self._tell(name, None)
        inputs, lacking = self._values.take(node.bindings)
        task = self._task(node, inputs)
        if lacking:
            producers = ", ".join(sorted({str(binding.producer) for binding in lacking}))
            return execution.skip(task, f"it needs what {producers} returns, which was skipped")
        try:
            if not self._is_met(node):
                return execution.skip(task, "its condition is not met")
        except Exception as error:  # noqa: BLE001 - the user's condition failed, and with it the step
            reason = f"its condition raised {type(error).__name__}: {error}"
            return StepResult(name, StepStatus.FAILED, reason=reason, error=error)
        record = self._finder.find(node, task.key)
        return task if record is None else execution.reuse(task, record)

    def end(self, result: StepResult) -> None:
        """Take the result of a step."""
        self.results[result.name] = result
        self._values.outputs.update(result.outputs)
        self._tell(result.name, result)

    def error(self) -> StepError | None:
        """Return the run's error, with the step's exception as its cause."""
        failed = self.failure
        if failed is None:
            return None
        error = StepError(
            f"The step {failed.name!r} failed"
            + (f" after {failed.attempts} attempts" if failed.attempts > 1 else "")
            + f": {failed.reason}",
            step=failed.name,
            operation="run",
            workspace=self._tracking.project,
            details={"run_id": self._run_id, "step_run_id": failed.run_id, "attempts": failed.attempts},
            hint=f"correct the cause, then go on from there: run(resume={self._run_id!r})",
        )
        error.__cause__ = failed.error
        return error

    def in_order(self) -> dict[str, StepResult]:
        """Return the results of all steps, those that never started included."""
        return {
            name: self.results.get(name, StepResult(name, StepStatus.NOT_RUN)) for name in self.graph.nodes
        }

    def _is_met(self, node: Node) -> bool:
        if node.step.when is None:
            return True
        given, unknown = self._values.take(node.conditions)
        return not unknown and bool(node.step.when(**{key: held.get() for key, held in given.items()}))

    def _task(self, node: Node, inputs: Mapping[str, Held]) -> StepTask:
        return StepTask(
            node.step,
            self._tracking,
            self._values.store,
            self._run_id,
            self._reference,
            inputs,
            frozenset(b.parameter.name for b in node.bindings if b.producer is None),
            step_key(node.step, inputs),
            self.engine,
        )

    def _tell(self, name: str, result: StepResult | None) -> None:
        if self._observer is None:
            return
        status, duration, cached = None, 0.0, False
        if result is not None:
            status, duration, cached = result.status, result.duration, result.cached
        with self._lock:
            self._observer(Progress(name, status, len(self.results), len(self.graph.nodes), duration, cached))


class Finder:
    """Finds results that a step can take instead of being carried out.

    Args:
        cache: What the project keeps for steps with ``cache=True``.
        earlier: The results of the run that is resumed, by key.
    """

    def __init__(self, cache: StepCache, earlier: Mapping[str, Record]) -> None:
        self._cache = cache
        self._earlier = earlier

    def find(self, node: Node, key: str | None) -> Record | None:
        """Return a result for a step, or None."""
        if key is None:
            return None
        names = node.step.output_names
        record = self._earlier.get(key)
        if record is not None and self._cache.usable(record, names):
            return record
        return self._cache.find(key, names) if node.step.cache else None
