"""A trace as text: a tree for people, and the languages of Graphviz and Mermaid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from mlops.lineage.nodes import Node
from mlops.lineage.trace import Branch, Trace

_NAMES: Final = {"data": "data", "reference": "reference data"}


def to_tree(trace: Trace) -> str:
    """Return the chain as a tree: the thing, what it came from, and what came of it."""
    project = trace.root.ref.project
    lines = [_label(trace.root, project)]
    sections = [("came from", trace.upstream), ("led to", trace.downstream)]
    shown = [(title, branches) for title, branches in sections if branches]
    for at, (title, branches) in enumerate(shown):
        last = at == len(shown) - 1
        lines.append(f"{'└── ' if last else '├── '}{title}")
        lines += _lines(branches, "    " if last else "│   ", project)
    if not shown:
        lines.append("└── nothing is linked with it")
    return "\n".join(lines)


def to_dot(trace: Trace) -> str:
    """Return the chain as a Graphviz digraph, earlier things on the left."""
    names = {node.ref: f"n{number}" for number, node in enumerate(trace.nodes)}
    project = trace.root.ref.project
    lines = ["digraph trace {", "  rankdir=LR;", "  node [shape=box];"]
    for node in trace.nodes:
        style = "" if node.present is not False else ", style=dashed"
        bold = ", penwidth=2" if node is trace.root else ""
        lines.append(f"  {names[node.ref]} [label={_quoted(_label(node, project))}{style}{bold}];")
    for edge in trace.edges:
        label = _quoted(edge.link.relation)
        lines.append(f"  {names[edge.source]} -> {names[edge.target]} [label={label}];")
    return "\n".join([*lines, "}"])


def to_mermaid(trace: Trace) -> str:
    """Return the chain as a Mermaid flowchart, earlier things on the left."""
    names = {node.ref: f"n{number}" for number, node in enumerate(trace.nodes)}
    project = trace.root.ref.project
    lines = ["flowchart LR"]
    lines += [f'  {names[node.ref]}["{_entities(_label(node, project))}"]' for node in trace.nodes]
    lines += [
        f"  {names[edge.source]} -->|{_entities(edge.link.relation)}| {names[edge.target]}"
        for edge in trace.edges
    ]
    lines.append(f"  style {names[trace.root.ref]} stroke-width:3px")
    return "\n".join(lines)


def _lines(branches: tuple[Branch, ...], indent: str, project: str) -> Iterator[str]:
    for at, branch in enumerate(branches):
        last = at == len(branches) - 1
        again = "  (see above)" if branch.repeated else ""
        yield f"{indent}{'└── ' if last else '├── '}{_label(branch.node, project)}{again}"
        yield from _lines(branch.branches, indent + ("    " if last else "│   "), project)


def _label(node: Node, project: str) -> str:
    kind = _NAMES.get(node.ref.kind, node.ref.kind)
    owner = "" if node.ref.project == project else f"{node.ref.project}/"
    facts = [_fact(key, value) for key, value in node.details.items() if value not in (None, {}, [])]
    if not node.ref.id.startswith(node.title):
        facts.insert(0, node.ref.id)
    if node.present is False:
        facts.append("no longer stored")
    elif node.present is None:
        facts.append("could not be looked up")
    text = f"{owner}{kind} {node.title}" + (f" ({', '.join(facts)})" if facts else "")
    # Names are anybody's text: a line break or an escape sequence in one must not reach a terminal.
    return "".join(character if character.isprintable() else "?" for character in text)


def _fact(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={number:.4g}" for name, number in value.items())
    if isinstance(value, list):
        return " ".join(f"@{each}" for each in value)
    if isinstance(value, bool):
        words = {"pushed": ("pushed", "not pushed"), "drift_detected": ("drift", "no drift")}
        return words.get(key, (key, f"not {key}"))[not value]
    if key in ("started", "created_at", "checked_at"):
        return str(value)[:19].replace("T", " ")
    if key == "status":
        return str(value)
    if isinstance(value, str):
        return value
    return f"{value} {key[:-1] if value == 1 and key.endswith('s') else key}"


def _quoted(text: str) -> str:
    # Graphviz quotes text, and escapes quotes and backslashes in it, as JSON does.
    return json.dumps(text, ensure_ascii=False)


def _entities(text: str) -> str:
    """Return text that Mermaid cannot take for its own signs."""
    return "".join(c if c.isalnum() or c in " .-_/:=,@()" else f"#{ord(c)};" for c in text)
