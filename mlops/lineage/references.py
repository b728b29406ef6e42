"""References: the names by which lineage speaks of a data version, run, model, Bento or snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

DATA: Final = "data"
COMMIT: Final = "commit"
RUN: Final = "run"
PIPELINE: Final = "pipeline"
MODEL: Final = "model"
BENTO: Final = "bento"
REFERENCE: Final = "reference"
SNAPSHOT: Final = "snapshot"
KINDS: Final = (DATA, COMMIT, RUN, PIPELINE, MODEL, BENTO, REFERENCE, SNAPSHOT)


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One thing in one project.

    Args:
        project: The project that holds it.
        kind: One of ``KINDS``, or what a further tool calls its own.
        id: The md5, run id, ``<project>.<model>:<version>``, tag or hash.
    """

    project: str
    kind: str
    id: str

    @classmethod
    def parse(cls, text: str, *, project: str) -> Self:
        """Read a reference as links write it.

        Args:
            text: ``kind:id``, with ``<project>/`` in front if another project holds it.
            project: The project whose link it is in.
        """
        kind, _, identifier = text.partition(":")
        owner, separator, name = kind.rpartition("/")
        return cls(owner if separator else project, name, identifier)

    def within(self, project: str) -> str:
        """Return the reference as a link of ``project`` writes it."""
        text = f"{self.kind}:{self.id}"
        return text if project == self.project else f"{self.project}/{text}"

    def __str__(self) -> str:
        return f"{self.project}/{self.kind}:{self.id}"
