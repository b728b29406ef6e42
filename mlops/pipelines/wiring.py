"""Names into a graph: which step takes which value from where, and so which step comes after which.

A parameter takes its value from, in this order,

1. what the step's ``inputs`` declare for it,
2. the output of a step, or the run's parameter, that has the parameter's name,
3. its own default,
4. for steps that declare no inputs: the outputs of the step added just before, in order, as far as no other
   parameter of the step takes them.

A step without declared inputs that takes nothing from any step starts when the one before it has ended. The
order in which steps were added never counts against what names say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NoReturn

from mlops.errors import PipelineError
from mlops.pipelines.step import Parameter, Step, parameters_of


@dataclass(frozen=True, slots=True)
class Binding:
    """Where one parameter of a step takes its value.

    Args:
        parameter: The parameter.
        value: Name of the value: an output, or a parameter of the run.
        producer: The step that returns it, or None for a parameter of the run.
    """

    parameter: Parameter
    value: str
    producer: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """One step in its graph.

    Args:
        step: The step.
        bindings: Where its parameters take their values; those that keep their default are not listed.
        conditions: The same for the parameters of its ``when``.
        after: The steps that must have ended, sorted by the order they were added in.
        missing: Required parameters that nothing gives a value.
    """

    step: Step
    bindings: tuple[Binding, ...]
    conditions: tuple[Binding, ...]
    after: tuple[str, ...]
    missing: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps of a pipeline, wired.

    Args:
        nodes: By step name, in an order in which they can run: the one they were added in where that is one.
    """

    nodes: dict[str, Node]

    def sorter(self) -> TopologicalSorter[str]:
        """Return a prepared sorter of the step names."""
        sorter = TopologicalSorter({name: node.after for name, node in self.nodes.items()})
        sorter.prepare()
        return sorter

    def stages(self) -> list[list[str]]:
        """Return the steps in groups that can run at once, one group after the other."""
        sorter, stages = self.sorter(), []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=list(self.nodes).index)
            stages.append(ready)
            sorter.done(*ready)
        return stages


def wire(
    steps: Sequence[Step],
    params: Collection[str],
    *,
    pipeline: str,
    strict: bool = True,
    operation: str = "build",
    workspace: str | None = None,
) -> Graph:
    """Return the graph of a pipeline.

    Args:
        steps: The steps in the order they were added.
        params: Names of the run's parameters.
        pipeline: The pipeline's name, for errors.
        strict: Refuse a step that lacks an input; otherwise its node says which.
        operation: The calling method, for errors.
        workspace: The project, for errors.

    Raises:
        PipelineError: A cycle, a missing or ambiguous input, or a name used twice; it names the steps.
    """
    return _Wiring(steps, params, pipeline, strict, operation, workspace).graph()


class _Wiring:
    def __init__(
        self,
        steps: Sequence[Step],
        params: Collection[str],
        pipeline: str,
        strict: bool,
        operation: str,
        workspace: str | None,
    ) -> None:
        self.steps, self.params, self.strict = steps, params, strict
        self.pipeline, self.operation, self.workspace = pipeline, operation, workspace
        self.producers = self._producers()
        # What each step waits for, by names first; what the order adds must not close a cycle.
        self.edges = {
            step.name: {b.producer for b in self._by_name(step) if b.producer is not None} for step in steps
        }

    def graph(self) -> Graph:
        nodes: dict[str, Node] = {}
        for index, step in enumerate(self.steps):
            nodes[step.name] = self._node(step, self.steps[index - 1] if index else None)
        self._refuse_cycle(nodes)
        order = TopologicalSorter({name: node.after for name, node in nodes.items()}).static_order()
        added = {name: number for number, name in enumerate(nodes)}
        names = list(order)
        if all(added[before] < added[name] for name, node in nodes.items() for before in node.after):
            names = list(nodes)
        return Graph({name: nodes[name] for name in names})

    def _producers(self) -> dict[str, str]:
        producers: dict[str, str] = {}
        names: set[str] = set()
        for step in self.steps:
            if step.name in names:
                self._refuse(
                    f"has two steps named {step.name!r}", "give one another name: step(function, name='...')"
                )
            names.add(step.name)
            for output in step.output_names:
                if output in producers:
                    self._refuse(
                        f"has two steps that return {output!r}: {producers[output]!r} and {step.name!r}",
                        "give one of them another name: step(function, outputs='...')",
                    )
                if output in self.params:
                    self._refuse(
                        f"has a parameter {output!r} and a step {step.name!r} that returns {output!r}",
                        "rename the parameter, or the output: step(function, outputs='...')",
                    )
                producers[output] = step.name
        return producers

    def _node(self, step: Step, before: Step | None) -> Node:
        parameters = step.parameters
        bound = {p.name: b for p in parameters if (b := self._named(step, p)) is not None}
        left = [p for p in parameters if p.required and p.name not in bound]
        if before is not None and (step.inputs is not None or self._waits(before.name, step.name)):
            before = None
        if left and before is not None:
            taken = {binding.value for binding in bound.values()}
            free = [output for output in before.output_names if output not in taken]
            if len(free) > len(left) and self.strict:
                self._refuse(
                    f"cannot tell which of the outputs {', '.join(free)} of {before.name!r} the step"
                    f" {step.name!r} takes as {', '.join(p.name for p in left)}",
                    "name the parameter like the output, or declare it: step(function, inputs=[...])",
                )
            if len(free) <= len(left):
                for parameter, output in zip(left, free, strict=False):
                    bound[parameter.name] = Binding(parameter, output, before.name)
                left = left[len(free) :]
        if left and self.strict:
            self._refuse(
                f"has nothing for the parameter {left[0].name!r} of the step {step.name!r}",
                f"pass it: run(params={{{left[0].name!r}: ...}}), or add a step that returns it;"
                f" there are: {', '.join([*self.producers, *self.params]) or 'none'}",
            )
        bindings = tuple(bound[p.name] for p in parameters if p.name in bound)
        conditions = tuple(self._conditions(step))
        self._require_conditions(step, conditions)
        after = {b.producer for b in (*bindings, *conditions) if b.producer is not None}
        if before is not None and not after:
            after = {before.name}
        self.edges[step.name] |= after
        order = [s.name for s in self.steps if s.name in after]
        return Node(step, bindings, conditions, tuple(order), tuple(left))

    def _named(self, step: Step, parameter: Parameter) -> Binding | None:
        declared = (step.inputs or {}).get(parameter.name)
        value = declared or parameter.name
        producer = self.producers.get(value)
        if declared is None and producer == step.name:
            return None  # a function that happens to have a parameter named like itself
        if producer is not None or value in self.params:
            return Binding(parameter, value, producer)
        if declared is not None and self.strict:
            self._refuse(
                f"has nothing named {declared!r}, which the step {step.name!r} declares as an input",
                f"there are: {', '.join([*self.producers, *self.params]) or 'none'}",
            )
        return None

    def _conditions(self, step: Step) -> Iterator[Binding]:
        for parameter in parameters_of(step.when) if step.when is not None else ():
            producer = self.producers.get(parameter.name)
            if producer is not None or parameter.name in self.params:
                yield Binding(parameter, parameter.name, producer)

    def _require_conditions(self, step: Step, found: Sequence[Binding]) -> None:
        names = {binding.value for binding in found}
        for parameter in parameters_of(step.when) if step.when is not None and self.strict else ():
            if parameter.required and parameter.name not in names:
                self._refuse(
                    f"has nothing named {parameter.name!r}, which the condition of {step.name!r} takes",
                    f"there are: {', '.join([*self.producers, *self.params]) or 'none'}",
                )

    def _by_name(self, step: Step) -> Iterator[Binding]:
        yield from (b for p in step.parameters if (b := self._named(step, p)) is not None)
        yield from self._conditions(step)

    def _waits(self, step: str, other: str) -> bool:
        """Say whether a step waits for another, directly or through others."""
        pending, seen = [step], {step}
        while pending:
            for name in self.edges[pending.pop()] - seen:
                if name == other:
                    return True
                seen.add(name)
                pending.append(name)
        return False

    def _refuse_cycle(self, nodes: dict[str, Node]) -> None:
        try:
            TopologicalSorter({name: node.after for name, node in nodes.items()}).prepare()
        except CycleError as error:
            cycle = [str(name) for name in error.args[1]]
            self._refuse(
                f"has a cycle: {' -> '.join(cycle)}",
                "rename an input or output of one of these steps, so that none waits for itself",
            )

    def _refuse(self, problem: str, hint: str) -> NoReturn:
        raise PipelineError(
            f"The pipeline {self.pipeline!r} {problem}",
            operation=self.operation,
            workspace=self.workspace,
            hint=hint,
        )
