"""A pipeline's graph as text for people, and in the language of Mermaid."""

from __future__ import annotations

from collections.abc import Iterator

from mlops.pipelines.wiring import Binding, Graph, Node


def to_text(graph: Graph) -> str:
    """Return one line per step in an order they can run, with where each input comes from.

    Args:
        graph: The pipeline; inputs that nothing gives a value are shown with a question mark.
    """
    lines: list[str] = []
    for number, names in enumerate(graph.stages(), 1):
        for name in names:
            node = graph.nodes[name]
            lines.append(f"{number}. {_call(node)} -> {', '.join(node.step.output_names) or 'nothing'}")
            lines += [f"   {note}" for note in _notes(node)]
    return "\n".join(lines)


def to_mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart, with the values on its edges.

    Args:
        graph: The pipeline.
    """
    number = {name: f"s{index}" for index, name in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for name, node in graph.nodes.items():
        left, right = ("{{", "}}") if node.step.when is not None else ("[", "]")
        lines.append(f'    {number[name]}{left}"{_escaped(name)}"{right}')
    given: dict[str, str] = {}
    for name, node in graph.nodes.items():
        values: dict[str, list[str]] = {producer: [] for producer in node.after}
        for binding in (*node.bindings, *node.conditions):
            if binding.producer is None:
                source = given.setdefault(binding.value, f"p{len(given)}")
                lines.append(f"    {source} -.-> {number[name]}")
            elif binding.value not in values[binding.producer]:
                values[binding.producer].append(binding.value)
        for producer, carried in values.items():
            label = f'|"{_escaped(", ".join(carried))}"|' if carried else ""
            lines.append(f"    {number[producer]} -->{label} {number[name]}")
    lines += [f'    {source}(["{_escaped(name)}"])' for name, source in given.items()]
    return "\n".join(lines)


def _call(node: Node) -> str:
    bound = {binding.parameter.name: _source(binding) for binding in node.bindings}
    inputs = [f"{name}={source}" for name, source in bound.items()]
    inputs += [f"{parameter.name}=?" for parameter in node.missing]
    return f"{node.step.name}({', '.join(inputs)})"


def _source(binding: Binding) -> str:
    if binding.producer is None:
        return f"params.{binding.value}"
    return binding.producer if binding.value == binding.producer else f"{binding.producer}.{binding.value}"


def _notes(node: Node) -> Iterator[str]:
    step = node.step
    if step.when is not None:
        yield f"only if its condition holds: {', '.join(_source(b) for b in node.conditions) or 'no inputs'}"
    if step.map is not None:
        yield f"once for each item of {step.map}"
    if node.after and not any(b.producer for b in (*node.bindings, *node.conditions)):
        yield f"after {', '.join(node.after)}"


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
