"""A model's passport: everything that made one version of it, and everything made of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops.errors import ModelNotFoundError
from mlops.lineage import references
from mlops.lineage.resolution import resolve
from mlops.workspace import links

if TYPE_CHECKING:
    from mlops.lineage.records import ProjectRecords
    from mlops.workspace.tools import Link


@dataclass(frozen=True, slots=True)
class DataUse:
    """A data version that a model was trained on.

    Args:
        name: The dataset's name.
        md5: The version.
    """

    name: str
    md5: str


@dataclass(frozen=True, slots=True)
class ModelPassport:
    """What belongs to one version of a model.

    Args:
        project: The project.
        model: ``<project>.<name>:<version>``.
        run_id: The run that made it, or None.
        data: The data versions of that run.
        commit: The git commit of the code, or None.
        dirty: Whether tracked files differed from the commit; None if that is not known.
        pipeline: The pipeline version that ran, as ``<name>@<version>``, or None.
        framework: The framework and its version, or None.
        signature: Inputs and outputs as lists of columns or tensors, or None.
        aliases: The aliases that point to it, sorted.
        bento: Tag of the Bento that serves it, or None.
        references: Hashes of the reference data set for it, oldest first.
        snapshots: Ids of the snapshots that checked it, oldest first.
        copied_from: The model version of another project it is a copy of, or None.
        copied_to: Its copies in other projects.
        created_at: When it was registered or packaged, aware.
        errors: Tool to why it could not be read; the passport may then lack something.
    """

    project: str
    model: str
    run_id: str | None = None
    data: tuple[DataUse, ...] = ()
    commit: str | None = None
    dirty: bool | None = None
    pipeline: str | None = None
    framework: str | None = None
    signature: Mapping[str, Any] | None = None
    aliases: tuple[str, ...] = ()
    bento: str | None = None
    references: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    copied_from: str | None = None
    copied_to: tuple[str, ...] = ()
    created_at: datetime | None = None
    errors: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = asdict(self)
        values["created_at"] = self.created_at.isoformat() if self.created_at else None
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def passport(text: str, records: ProjectRecords, *, operation: str = "passport") -> ModelPassport:
    """Return the passport of a model version.

    Args:
        text: ``<model>``, ``<model>:<version>`` or ``<model>@<alias>``, with or without the project in front.
        records: The project.
        operation: The calling method, for the error.

    Raises:
        ModelNotFoundError: The project has no such model version.
    """
    found = [r for r in resolve(text, records) if r.kind == references.MODEL]
    if len(found) != 1:
        known = sorted({*records.model_versions, *records.bento_models})
        raise ModelNotFoundError(
            f"{records.project} has no model version {text!r}",
            tool="mlflow",
            operation=operation,
            workspace=records.project,
            details={"models": known, "errors": dict(records.errors)},
            hint=f"models are: {', '.join(known[:10]) or 'none yet'}",
        )
    return of_model(found[0].id, records)


def of_model(model: str, records: ProjectRecords) -> ModelPassport:
    """Return the passport of a model version by its full name, ``<project>.<name>:<version>``."""
    row, entry = records.model_versions.get(model), records.bento_models.get(model)
    known = records.collected.links
    ref = f"{references.MODEL}:{model}"
    into, out_of = _into(ref, known), [link for link in known if link.source == ref]
    run = next(iter(_ids(into, references.RUN, links.PRODUCED)), None)
    made = _into(f"{references.RUN}:{run}", known) if run else []
    code = next((link for link in made if link.relation == links.CODE_OF), None)
    signature = row.tags.get("mlops.signature") if row else None
    return ModelPassport(
        project=records.project,
        model=model,
        run_id=run,
        data=tuple(
            DataUse(str(link.attributes.get("name", "")), link.source.partition(":")[2])
            for link in made
            if link.relation == links.INPUT_OF and link.source.startswith(f"{references.DATA}:")
        ),
        commit=code.source.partition(":")[2] if code else None,
        dirty=code.attributes.get("dirty") if code else None,
        pipeline=next(iter(_ids(made, references.PIPELINE, links.DEFINED)), None),
        framework=row.tags.get("mlops.framework") if row else None,
        signature=json.loads(signature) if signature else None,
        aliases=row.aliases if row else (),
        bento=model if model in records.bentos else None,
        references=_ids(out_of, references.REFERENCE, links.REFERENCE_OF),
        snapshots=_ids(out_of, references.SNAPSHOT, links.CHECKED_BY),
        copied_from=next((link.source for link in into if link.relation == links.COPIED_TO), None),
        copied_to=tuple(link.target for link in out_of if link.relation == links.COPIED_TO),
        created_at=row.created_at if row else entry.created_at if entry else None,
        errors=dict(records.errors),
    )


def _into(ref: str, known: Iterable[Link]) -> list[Link]:
    return [link for link in known if link.target == ref]


def _ids(known: Iterable[Link], kind: str, relation: str) -> tuple[str, ...]:
    """Return the other ends' ids of the links of one relation, of the things of one kind."""
    ends = [
        end.partition(":")[2]
        for link in known
        if link.relation == relation
        for end in (link.source, link.target)
        if end.startswith(f"{kind}:")
    ]
    return tuple(dict.fromkeys(ends))
