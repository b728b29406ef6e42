"""The whole chain of a result: what it came from and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlops.lineage.graph import Edge, Graph
from mlops.lineage.nodes import Node, describe
from mlops.lineage.references import Ref

SCHEMA_VERSION: Final = 1

Direction = Literal["upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class Branch:
    """A thing on the way from the root, with what lies behind it.

    Args:
        node: The thing.
        relation: How it belongs to the thing before it.
        branches: What lies behind it; empty if it was shown before.
        repeated: Whether it was shown before.
    """

    node: Node
    relation: str
    branches: tuple[Branch, ...]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A result with everything it came from and everything that came of it.

    Args:
        root: The thing that was asked for.
        nodes: Every thing in the chain, the root first.
        edges: Every link in the chain.
        upstream: What it came from, as a tree.
        downstream: What came of it, as a tree.
        errors: What could not be read, by ``<project>/<tool>``; the chain may then be incomplete.
    """

    root: Node
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    upstream: tuple[Branch, ...]
    downstream: tuple[Branch, ...]
    errors: Mapping[str, str]

    def __str__(self) -> str:
        from mlops.lineage.drawing import to_tree

        return to_tree(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        project = self.root.ref.project
        return {
            "schema_version": SCHEMA_VERSION,
            "project": project,
            "root": self.root.ref.within(project),
            "nodes": [
                {
                    "ref": node.ref.within(project),
                    "kind": node.ref.kind,
                    "id": node.ref.id,
                    "project": node.ref.project,
                    "title": node.title,
                    "present": node.present,
                    "details": dict(node.details),
                }
                for node in self.nodes
            ],
            "links": [
                {
                    "source": edge.source.within(project),
                    "target": edge.target.within(project),
                    "relation": edge.link.relation,
                    "attributes": dict(edge.link.attributes),
                }
                for edge in self.edges
            ],
            "errors": dict(self.errors),
        }


def trace(ref: Ref, graph: Graph) -> Trace:
    """Follow a thing's links in both directions, into other projects too where it was copied.

    Args:
        ref: The thing.
        graph: The links.
    """
    up = list(graph.closure([ref], graph.parents))
    down = list(graph.closure(graph.packaged(ref), graph.children))
    refs = dict.fromkeys([ref, *(end for edge in (*up, *down) for end in (edge.source, edge.target))])
    nodes = {each: describe(each, graph.records(each.project)) for each in refs}
    return Trace(
        root=nodes[ref],
        nodes=tuple(nodes.values()),
        edges=tuple({(e.source, e.target, e.link.relation): e for e in (*up, *down)}.values()),
        upstream=tuple(_branches([ref], up, nodes, "upstream")),
        downstream=tuple(_branches(graph.packaged(ref), down, nodes, "downstream")),
        errors=graph.errors,
    )


def _branches(
    roots: list[Ref], edges: list[Edge], nodes: Mapping[Ref, Node], direction: Direction
) -> Iterator[Branch]:
    following: dict[Ref, list[tuple[Ref, str]]] = {}
    for edge in edges:
        start, end = edge.source, edge.target
        if direction == "upstream":
            start, end = end, start
        following.setdefault(start, []).append((end, edge.link.relation))
    shown = set(roots)

    def grow(start: Ref) -> Iterator[Branch]:
        for end, relation in sorted(set(following.get(start, ()))):
            repeated = end in shown
            shown.add(end)
            yield Branch(nodes[end], relation, () if repeated else tuple(grow(end)), repeated)

    for root in roots:
        yield from (branch for branch in grow(root) if branch.node.ref not in roots)
