"""The graph of what belongs together, loaded project by project as a chain leads from one to another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.lineage.references import BENTO, MODEL, Ref
from mlops.workspace.links import PACKAGED_AS

if TYPE_CHECKING:
    from mlops.lineage.records import ProjectRecords
    from mlops.workspace.tools import Link

Open = Callable[[str], "ProjectRecords | None"]
_Key = tuple[Ref, Ref, str]


@dataclass(frozen=True, slots=True)
class Edge:
    """A link between two things, each in its project."""

    source: Ref
    target: Ref
    link: Link


class Graph:
    """What belongs together.

    Args:
        open_project: Returns the records of a project by name, or None where there is no such project.
    """

    def __init__(self, open_project: Open) -> None:
        self._open = open_project
        self._loaded: dict[str, ProjectRecords | None] = {}
        self._into: dict[Ref, dict[_Key, Edge]] = defaultdict(dict)
        self._out_of: dict[Ref, dict[_Key, Edge]] = defaultdict(dict)

    @property
    def errors(self) -> dict[str, str]:
        """Why something could not be read, by ``<project>/<tool>``."""
        return {
            f"{project}/{tool}": error
            for project, records in self._loaded.items()
            for tool, error in (records.errors.items() if records else ())
        }

    def records(self, project: str) -> ProjectRecords | None:
        """Return a project's records, after its links became part of the graph."""
        if project not in self._loaded:
            records = self._loaded[project] = self._open(project)
            for link in records.collected.links if records else ():
                source, target = (Ref.parse(end, project=project) for end in (link.source, link.target))
                self._add(source, target, link)
        return self._loaded[project]

    def parents(self, ref: Ref) -> list[Edge]:
        """Return the links that lead to a thing."""
        self.records(ref.project)
        return list(self._into[ref].values())

    def children(self, ref: Ref) -> list[Edge]:
        """Return the links that lead on from a thing."""
        self.records(ref.project)
        return list(self._out_of[ref].values())

    def closure(self, roots: list[Ref], step: Callable[[Ref], list[Edge]]) -> Iterator[Edge]:
        """Yield every link on the ways from the roots in one direction, nearest first.

        Args:
            roots: Where to start.
            step: ``self.parents`` or ``self.children``.
        """
        pending, seen = list(roots), set(roots)
        while pending:
            following: list[Ref] = []
            for ref in pending:
                for edge in step(ref):
                    yield edge
                    end = edge.source if edge.target == ref else edge.target
                    if end not in seen:
                        seen.add(end)
                        following.append(end)
            pending = following

    def packaged(self, ref: Ref) -> list[Ref]:
        """Return a thing with the model it is a package of: what checked the model checked the package."""
        if ref.kind != BENTO:
            return [ref]
        models = [edge.source for edge in self.parents(ref) if edge.link.relation == PACKAGED_AS]
        return [ref, *(model for model in models if model.kind == MODEL)]

    def _add(self, source: Ref, target: Ref, link: Link) -> None:
        key = (source, target, link.relation)
        edge = Edge(source, target, link)
        # Both projects of a copy tell of it; once is enough.
        self._into[target].setdefault(key, edge)
        self._out_of[source].setdefault(key, edge)
