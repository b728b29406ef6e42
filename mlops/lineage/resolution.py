"""From what a person types to the thing that is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from mlops.errors import DataNotFoundError
from mlops.lineage import references
from mlops.lineage.references import Ref

if TYPE_CHECKING:
    from mlops.lineage.records import ProjectRecords

# Shorter starts of a hash would hit by chance.
MIN_PREFIX: Final = 4
_HEX: Final = re.compile(rf"[0-9a-f-]{{{MIN_PREFIX},64}}(?:\.dir)?")


def resolve(text: str, records: ProjectRecords) -> list[Ref]:
    """Return the things of a project that a text can mean; more than one if it is ambiguous.

    Args:
        text: ``kind:id``; a file or dataset; ``<project>.<model>:<version>``, ``<model>:<version>``,
            ``<model>@<alias>`` or a model's name for its newest version; a Bento tag; or a hash or id, or
            the start of one with at least 4 characters.
        records: The project.
    """
    ways: tuple[Callable[[str, ProjectRecords], Iterable[Ref]], ...] = (
        _explicit,
        _model,
        _identifier,
        _dataset,
    )
    for way in ways:
        if found := list(dict.fromkeys(way(text, records))):
            return found
    return []


def _explicit(text: str, records: ProjectRecords) -> Iterator[Ref]:
    kind, separator, identifier = text.partition(":")
    if separator and kind in references.KINDS and identifier:
        yield from _matching(identifier, (ref for ref in _known(records) if ref.kind == kind))


def _model(text: str, records: ProjectRecords) -> Iterator[Ref]:
    prefix = records.tracking.model_prefix
    name, at, alias = text.partition("@")
    name, colon, version = name.partition(":")
    full = name if name.startswith(prefix) else f"{prefix}{name}"
    ref = partial(Ref, records.project, references.MODEL)
    if at:
        rows = records.model_versions.values()
        yield from (ref(f"{r.name}:{r.version}") for r in rows if r.name == full and alias in r.aliases)
    elif colon:
        tag = f"{full}:{version}"
        if tag in records.model_versions or tag in records.bento_models:
            yield ref(tag)
        elif tag in records.bentos:
            yield Ref(records.project, references.BENTO, tag)
    else:
        versions = [row.version for row in records.model_versions.values() if row.name == full]
        if versions:
            yield ref(f"{full}:{max(versions, key=int)}")


def _identifier(text: str, records: ProjectRecords) -> Iterator[Ref]:
    if _HEX.fullmatch(text):
        yield from _matching(text, _known(records))


def _dataset(text: str, records: ProjectRecords) -> Iterator[Ref]:
    try:
        versions = records.data.history(text)
    except DataNotFoundError:
        return
    yield Ref(records.project, references.DATA, versions[-1].md5)


def _matching(identifier: str, known: Iterable[Ref]) -> list[Ref]:
    among = list(known)
    exact = [ref for ref in among if identifier in (ref.id, ref.id.removesuffix(".dir"))]
    return exact or [ref for ref in among if len(identifier) >= MIN_PREFIX and ref.id.startswith(identifier)]


def _known(records: ProjectRecords) -> Iterator[Ref]:
    """Yield everything that can be meant; what belongs to nothing yet is in no link."""
    project = records.project
    for link in records.collected.links:
        for end in (link.source, link.target):
            if (ref := Ref.parse(end, project=project)).project == project:
                yield ref
    yield from (Ref(project, references.RUN, run_id) for run_id in records.run_ids())
    yield from (Ref(project, references.DATA, md5) for md5 in records.data_versions)
    yield from (Ref(project, references.MODEL, name) for name in records.model_versions)
    yield from (Ref(project, references.BENTO, tag) for tag in records.bentos)
    yield from (Ref(project, references.SNAPSHOT, snapshot) for snapshot in records.snapshots)
    yield from (Ref(project, references.REFERENCE, digest) for digest in records.references)
