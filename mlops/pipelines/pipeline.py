"""A pipeline: steps added one by one, wired by names, run in a project."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from mlops.errors import PipelineError, StepError
from mlops.integrations.mlflow_tracking.lineage import CAUSED_BY
from mlops.pipelines import catalogue, drawing, recording
from mlops.pipelines import engine as engines
from mlops.pipelines.cache import Record, StepCache, step_key
from mlops.pipelines.naming import check_pipeline_name, check_value_name
from mlops.pipelines.outputs import Held, Outputs, OutputStore
from mlops.pipelines.progression import Finder, Observer, Progression, Values
from mlops.pipelines.results import PipelineRun, PlannedStep, StepStatus
from mlops.pipelines.step import Step, as_step
from mlops.pipelines.traversal import traverse
from mlops.pipelines.versioning import Versioning
from mlops.pipelines.wiring import Graph, wire

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

# Enough for steps that wait for files and servers on a small machine.
_LEAST_WORKERS: Final = 4


class Pipeline(Versioning):
    """Steps and how they depend on each other.

    Args:
        name: ASCII letters, digits, ``_``, ``.`` and ``-``.
        tracking: The project's MLflow adapter, where runs are recorded; ``client.create_pipeline`` sets it.
        params: Default parameters, given to steps by the names of what they take.
        version: The version that runs are recorded with (PEP 440, such as ``v1.0.0``).
        description: One line for people.
        max_workers: How many steps, or items of a step that maps over a list, are at work at once; as many as
            there are processors, at least 4, by default. A Dask cluster takes more where its workers have
            threads for them.

    Attributes:
        name: Its name.
        params: Its default parameters.
        tracking: The project's MLflow adapter, or None while it belongs to no project.

    Raises:
        PipelineError: A name or number is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        tracking: MLflowTracking | None = None,
        params: Mapping[str, Any] | None = None,
        version: str | None = None,
        description: str = "",
        max_workers: int | None = None,
    ) -> None:
        self.name = check_pipeline_name(name, operation="create_pipeline")
        self.tracking = tracking
        self.params = _checked(params or {}, operation="create_pipeline")
        self.version = version
        self.description = description
        if max_workers is not None and max_workers < 1:
            raise PipelineError(
                f"The pipeline {name!r} cannot have max_workers={max_workers}",
                operation="create_pipeline",
                hint="pass 1 for one step after the other, or leave it out",
            )
        self.max_workers = max_workers or max(_LEAST_WORKERS, os.cpu_count() or 1)
        self._steps: list[Step] = []

    def __repr__(self) -> str:
        project = None if self.tracking is None else self.tracking.project
        return f"Pipeline({self.name!r}, project={project!r}, steps={[step.name for step in self._steps]})"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in the order they were added."""
        return tuple(self._steps)

    def add_step(self, function: Callable[..., Any]) -> Self:
        """Add a step and return the pipeline.

        Args:
            function: A function, or what ``step`` made of one.

        Raises:
            PipelineError: Its name, or that of an output, is taken, or it closes a cycle; nothing was added.
        """
        added = as_step(function)
        self._wire([*self._steps, added], self.params, strict=False, operation="add_step")
        self._steps.append(added)
        return self

    def build(self, params: Mapping[str, Any] | None = None) -> Graph:
        """Wire the steps, and refuse what cannot run.

        Args:
            params: The parameters of a run, beside the pipeline's own.

        Raises:
            PipelineError: A step lacks an input, or nothing takes one of ``params``; it names them.
        """
        given = _checked(params or {}, operation="build")
        return self._graph({**self.params, **given}, given)

    def draw(self, format: str = "text", *, params: Mapping[str, Any] | None = None) -> str:
        """Return the graph for people; inputs that only a run's parameters can give are left open.

        Args:
            format: ``text`` or ``mermaid``.
            params: The parameters of a run, beside the pipeline's own.

        Raises:
            PipelineError: There is no such format, or the steps form no graph.
        """
        draw = {"text": drawing.to_text, "mermaid": drawing.to_mermaid}.get(format)
        if draw is None:
            raise self._error(f"cannot be drawn as {format!r}", "draw", "formats are: text, mermaid")
        given = {**self.params, **(params or {})}
        return draw(self._wire(self._steps, given, strict=False, operation="draw"))

    def dry_run(self, *, params: Mapping[str, Any] | None = None) -> tuple[PlannedStep, ...]:
        """Return what a run would do, in order, without calling a step or recording anything.

        Args:
            params: The parameters of a run, beside the pipeline's own.

        Raises:
            PipelineError: It could not run.
        """
        graph = self.build(params)
        given = {**self.params, **(params or {})}
        reused = {} if self.tracking is None else self._reusable(graph, given, self.tracking)
        stage_of = {name: number for number, names in enumerate(graph.stages(), 1) for name in names}
        return tuple(
            PlannedStep(
                name,
                {
                    b.parameter.name: f"{'params' if b.producer is None else b.producer}.{b.value}"
                    for b in node.bindings
                },
                node.step.output_names,
                node.after,
                stage_of[name],
                reused.get(name),
            )
            for name, node in graph.nodes.items()
        )

    def run(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        engine: str = "local",
        resume: str | None = None,
        raise_on_failure: bool = True,
        progress: bool | Observer | None = None,
        cause: str | None = None,
        **options: Any,
    ) -> PipelineRun:
        """Run the pipeline: an MLflow run of the project with one nested run per step.

        Args:
            params: Parameters of this run, over the pipeline's own.
            engine: Where the functions of the steps are called: ``local`` is this process, ``dask`` the
                workers of a Dask cluster. What is recorded is the same.
            resume: A failed run to go on from: steps that finished in it, and whose code and inputs are the
                same, are not executed again. Its parameters are taken where ``params`` has none.
            raise_on_failure: Raise a step's failure after it was recorded; otherwise it is in the result.
            progress: Show the steps on standard error, or a function that is told of each. By default they
                are shown where a local Dask cluster is started.
            cause: What made it run, as links write it, such as ``snapshot:<id>``; the run keeps it.
            **options: What the engine takes; of ``dask`` that is ``address``, see ``engine_dask``.

        Raises:
            StepError: A step failed; ``__cause__`` is what it raised.
            PipelineError: The pipeline cannot run; nothing was recorded.
            DataNotFoundError: The project has no run ``resume``.
            IntegrationNotInstalledError: The engine's package is not installed; nothing was recorded.
            IntegrationUnavailableError: The cluster cannot be reached; nothing was recorded.
        """
        tracking = self._project("run")
        opened = engines.opened(
            engine, tracking, at_once=self.max_workers, options=options, pipeline=self.name
        )
        store = OutputStore(tracking.context.workspace)
        earlier: Mapping[str, Record] = {}
        given = {**self.params}
        if resume is not None:
            former = recording.earlier_run(tracking, resume, self.name, operation="run")
            earlier = recording.earlier_steps(tracking, resume)
            # Parameters that are all given anew need not have been stored.
            if set(former["params"]) - set(params or {}):
                given |= recording.earlier_params(tracking, former, store)
        given |= params or {}
        graph = self._graph(given, _checked(params or {}, operation="run"), operation="run")
        catalogue.register(
            tracking.context.workspace, self.name, description=self.description, operation="run"
        )
        definition = self.definition_hash()
        version = self._running_version(definition)
        reference = f"{self.name}@{version or definition[: recording.DEFINITION_LENGTH]}"
        stored = store.put(given) if given else None
        tags = {
            recording.VERSION_TAG: version,
            recording.DEFINITION_TAG: definition,
            recording.PARAMS_TAG: None if stored is None else stored.to_text(),
            recording.ENGINE_TAG: engine,
            recording.RESUMES_TAG: resume,
            CAUSED_BY: cause,
        }
        started = time.perf_counter()
        error: StepError | None = None
        try:
            with (
                opened as engine_,
                self._observer(engine_.shows_progress if progress is None else progress) as observer,
                recording.pipeline_run(
                    tracking, self.name, reference=reference, params=given, tags=tags
                ) as run,
            ):
                progression = Progression(
                    graph,
                    tracking,
                    run.run_id,
                    Values(store, given),
                    reference=reference,
                    earlier=earlier,
                    engine=engine_,
                    observer=observer,
                )
                traverse(progression)
                steps = progression.in_order()
                used = {(u["name"], u["digest"]): u for step in steps.values() for u in step.data}
                recording.carry_over(run, used.values())
                recording.record_links(
                    tracking,
                    run.run_id,
                    reference=reference,
                    cause=cause,
                    steps=steps.values(),
                    operation="run",
                )
                error = progression.error()
                if error is not None:
                    raise error
        except StepError as failure:
            # The step's own exception may be a StepError too, of a pipeline it ran.
            if failure is not error or raise_on_failure:
                raise
        return PipelineRun(
            self.name,
            version,
            run.run_id,
            str(StepStatus.FAILED if error is not None else StepStatus.FINISHED),
            steps,
            Outputs({name: held for step in steps.values() for name, held in step.outputs.items()}),
            time.perf_counter() - started,
            given,
            error,
            resume,
        )

    def _graph(self, params: Mapping[str, Any], asked: Collection[str], *, operation: str = "build") -> Graph:
        """Return the graph of a run, in which every parameter that was asked for is taken by a step."""
        if not self._steps:
            raise self._error("has no steps", operation, "add one: pipeline.add_step(function)")
        graph = self._wire(self._steps, params, strict=True, operation=operation)
        taken = {b.value for n in graph.nodes.values() for b in (*n.bindings, *n.conditions)}
        if unused := sorted(set(asked) - taken):
            known = sorted({p.name for step in self._steps for p in step.parameters})
            raise self._error(
                f"has no step that takes the parameter {unused[0]!r}",
                operation,
                f"steps take: {', '.join(known) or 'nothing'}",
            )
        return graph

    def _wire(self, steps: list[Step], params: Mapping[str, Any], *, strict: bool, operation: str) -> Graph:
        workspace = None if self.tracking is None else self.tracking.project
        return wire(
            steps, params, pipeline=self.name, strict=strict, operation=operation, workspace=workspace
        )

    def _reusable(self, graph: Graph, params: Mapping[str, Any], tracking: MLflowTracking) -> dict[str, str]:
        """Return the run whose result each step would take, as far as that can be told beforehand."""
        values = Values(OutputStore(tracking.context.workspace), params)
        finder = Finder(StepCache(tracking.context, values.store), {})
        found: dict[str, str] = {}
        for name, node in graph.nodes.items():
            inputs, lacking = values.take(node.bindings)
            record = None if lacking else finder.find(node, step_key(node.step, inputs))
            if record is not None:
                found[name] = record.run_id
                values.outputs |= {key: Held(values.store, kept) for key, kept in record.outputs.items()}
        return found

    def _project(self, operation: str) -> MLflowTracking:
        if self.tracking is None:
            raise self._error(
                "belongs to no project",
                operation,
                "make it with client.create_pipeline(name) or of a Project",
            )
        self.tracking.context.workspace.require_present(operation=operation)
        return self.tracking

    @contextlib.contextmanager
    def _observer(self, progress: bool | Observer) -> Iterator[Observer | None]:
        if not isinstance(progress, bool):
            yield progress
        elif progress:
            from mlops.pipelines.progress import display

            with display(self.name) as observer:
                yield observer
        else:
            yield None

    def _error(self, problem: str, operation: str, hint: str) -> PipelineError:
        return PipelineError(
            f"The pipeline {self.name!r} {problem}",
            operation=operation,
            workspace=None if self.tracking is None else self.tracking.project,
            hint=hint,
        )


def _checked(params: Mapping[str, Any], *, operation: str) -> dict[str, Any]:
    return {
        check_value_name(name, what="A parameter", operation=operation): value
        for name, value in params.items()
    }
