"""What belongs together, drawn from left to right: which things are shown, and where each has its place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from mlops.lineage import references
from mlops.lineage.nodes import Node, describe
from mlops.lineage.trace import Branch

if TYPE_CHECKING:
    from mlops.lineage.graph import Edge, Graph
    from mlops.lineage.references import Ref

# What a person can follow on one screen.
MAX_NODES: Final = 60
# A model that was checked a thousand times is shown with its latest checks.
MAX_ALIKE: Final = 5
# In units of the drawing, which are pixels where it is not scaled.
_WIDTH: Final = 180
_HEIGHT: Final = 40
_ACROSS: Final = 70
_DOWN: Final = 14
_MARGIN: Final = 6
# As many characters as fit into a box.
_TITLE_LENGTH: Final = 20
_SWEEPS: Final = 4
# Where the project's page tells of the things of a kind.
_PARTS: Final = {
    references.DATA: "data",
    references.MODEL: "models",
    references.BENTO: "models",
    references.REFERENCE: "monitoring",
    references.SNAPSHOT: "monitoring",
    references.PIPELINE: "pipelines",
}


@dataclass(frozen=True, slots=True)
class Box:
    """One thing in its place.

    Args:
        node: The thing.
        title: Its name, cut to fit.
        x: Left edge.
        y: Top edge.
        href: The page that tells of it, or None.
    """

    node: Node
    title: str
    x: float
    y: float
    href: str | None


@dataclass(frozen=True, slots=True)
class Arrow:
    """A link between two things.

    Args:
        path: Its way, in the language of SVG paths.
        relation: How they belong together.
    """

    path: str
    relation: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing and the tree that says the same in words.

    Args:
        boxes: The things.
        arrows: The links.
        width: Width of the drawing.
        height: Its height.
        left_out: How many further things there are.
        tree: The things with what came of each, from the earliest on.
        errors: What could not be read, by ``<project>/<tool>``.
        box_width: Width of a box.
        box_height: Its height.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    width: float
    height: float
    left_out: int
    tree: tuple[Branch, ...]
    errors: Mapping[str, str]
    box_width: float = _WIDTH
    box_height: float = _HEIGHT


def draw(graph: Graph, roots: Sequence[Ref], *, total: int | None = None, limit: int = MAX_NODES) -> Drawing:
    """Return the drawing of some things with what they came from and what came of them.

    Args:
        graph: The links.
        roots: The things, the most important first.
        total: How many things there are, if that is more than what the roots lead to.
        limit: At most so many are drawn.
    """
    shown, met = _chosen(graph, roots, limit)
    edges = [edge for ref in shown for edge in graph.children(ref) if edge.target in shown]
    nodes = {ref: describe(ref, graph.records(ref.project)) for ref in shown}
    columns = _ordered(_columns(list(shown), edges), edges)
    tallest = max((len(column) for column in columns), default=0)
    places: dict[Ref, tuple[float, float]] = {}
    for across, column in enumerate(columns):
        # Shorter columns in the middle: the arrows get shorter.
        top = (tallest - len(column)) * (_HEIGHT + _DOWN) / 2
        for down, ref in enumerate(column):
            places[ref] = _MARGIN + across * (_WIDTH + _ACROSS), _MARGIN + top + down * (_HEIGHT + _DOWN)
    return Drawing(
        boxes=tuple(
            Box(nodes[ref], _cut(nodes[ref].title), x, y, _href(ref)) for ref, (x, y) in places.items()
        ),
        arrows=tuple(
            Arrow(_path(places[edge.source], places[edge.target]), edge.link.relation) for edge in edges
        ),
        width=2 * _MARGIN + max(len(columns) * (_WIDTH + _ACROSS) - _ACROSS, 0),
        height=2 * _MARGIN + max(tallest * (_HEIGHT + _DOWN) - _DOWN, 0),
        left_out=max(total or 0, met) - len(shown),
        tree=tuple(_tree(columns, edges, nodes)),
        errors=graph.errors,
    )


def _chosen(graph: Graph, roots: Sequence[Ref], limit: int) -> tuple[dict[Ref, None], int]:
    """Return the things to draw, and how many were met on the way."""
    shown: dict[Ref, None] = {}
    met: set[Ref] = set()
    for root in roots:
        if len(shown) >= limit:
            met.add(root)
            continue
        for step in (graph.parents, graph.children):
            pending, seen = [root], {root}
            while pending:
                ref = pending.pop(0)
                met.add(ref)
                if ref not in shown and len(shown) >= limit:
                    continue
                shown[ref] = None
                ends = {e.source if e.target == ref else e.target: e.link.relation for e in step(ref)}
                met.update(ends)
                following = [end for end in _latest(ends) if end not in seen]
                seen.update(following)
                pending += following
    return shown, len(met)


def _latest(ends: Mapping[Ref, str]) -> list[Ref]:
    """Return the last few things of each relation; tools tell of what is older first."""
    by_relation: dict[str, list[Ref]] = defaultdict(list)
    for ref, relation in ends.items():
        by_relation[relation].append(ref)
    return [ref for alike in by_relation.values() for ref in alike[-MAX_ALIKE:]]


def _columns(refs: Sequence[Ref], edges: Sequence[Edge]) -> list[list[Ref]]:
    """Return the things by column: each is right of all that it came from."""
    into: dict[Ref, list[Ref]] = defaultdict(list)
    for edge in edges:
        into[edge.target].append(edge.source)
    column: dict[Ref, int] = {}
    on_the_way: set[Ref] = set()

    def place(ref: Ref) -> int:
        if ref not in column:
            on_the_way.add(ref)
            # A link back to where the way came from cannot count, or it would never end.
            before = [place(source) for source in into[ref] if source not in on_the_way]
            on_the_way.discard(ref)
            column[ref] = max(before, default=-1) + 1
        return column[ref]

    for ref in refs:
        place(ref)
    found: list[list[Ref]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for ref in sorted(refs):
        found[column[ref]].append(ref)
    return found


def _ordered(columns: list[list[Ref]], edges: Sequence[Edge]) -> list[list[Ref]]:
    """Return the columns with linked things near each other: each at the mean height of its neighbours."""
    neighbours: dict[Ref, list[Ref]] = defaultdict(list)
    for edge in edges:
        neighbours[edge.source].append(edge.target)
        neighbours[edge.target].append(edge.source)
    for _ in range(_SWEEPS):
        height = {ref: at - len(column) / 2 for column in columns for at, ref in enumerate(column)}
        for column in columns:
            column.sort(key=_mean_height(neighbours, height))
            height |= {ref: at - len(column) / 2 for at, ref in enumerate(column)}
    return columns


def _mean_height(
    neighbours: Mapping[Ref, Sequence[Ref]], height: Mapping[Ref, float]
) -> Callable[[Ref], float]:
    def mean(ref: Ref) -> float:
        near = neighbours.get(ref, ())
        return sum(height[each] for each in near) / len(near) if near else height[ref]

    return mean


def _tree(
    columns: Sequence[Sequence[Ref]], edges: Sequence[Edge], nodes: Mapping[Ref, Node]
) -> Iterable[Branch]:
    out_of: dict[Ref, list[tuple[Ref, str]]] = defaultdict(list)
    for edge in edges:
        out_of[edge.source].append((edge.target, edge.link.relation))
    told: set[Ref] = set()

    def grow(ref: Ref, relation: str) -> Branch:
        repeated = ref in told
        told.add(ref)
        branches = () if repeated else tuple(grow(*each) for each in sorted(out_of[ref]))
        return Branch(nodes[ref], relation, branches, repeated and bool(out_of[ref]))

    for column in columns:
        for ref in column:
            if ref not in told:
                yield grow(ref, "")


def _path(source: tuple[float, float], target: tuple[float, float]) -> str:
    (left, top), (right, bottom) = source, target
    x1, y1, x2, y2 = left + _WIDTH, top + _HEIGHT / 2, right, bottom + _HEIGHT / 2
    bend = max((x2 - x1) / 2, _ACROSS / 2)
    return f"M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"


def _href(ref: Ref) -> str | None:
    if ref.kind == references.RUN:
        return f"/projects/{quote(ref.project)}/runs/{quote(ref.id, safe='')}"
    part = _PARTS.get(ref.kind)
    return f"/projects/{quote(ref.project)}#{part}" if part else None


def _cut(text: str) -> str:
    # Paths and ids are told apart by their ends, names by their beginnings.
    return text if len(text) <= _TITLE_LENGTH else f"{text[:8]}…{text[-_TITLE_LENGTH + 9 :]}"
