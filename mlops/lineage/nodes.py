"""The things in a chain, with what their tool says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mlops.lineage import references
from mlops.lineage.references import Ref

if TYPE_CHECKING:
    from mlops.lineage.records import ProjectRecords

# Enough to recognise a run by; the run itself has them all.
_SHOWN_METRICS: Final = 4
_TOOLS: Final = {
    references.DATA: "dvc",
    references.RUN: "mlflow",
    references.MODEL: "mlflow",
    references.BENTO: "bentoml",
    references.REFERENCE: "evidently",
    references.SNAPSHOT: "evidently",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One thing in a chain.

    Args:
        ref: Its reference.
        title: What people call it.
        present: Whether its tool still has it; None if that could not be found out.
        details: What is known of it, as plain JSON values.
    """

    ref: Ref
    title: str
    present: bool | None
    details: Mapping[str, Any] = field(default_factory=dict)


def describe(ref: Ref, records: ProjectRecords | None) -> Node:
    """Return a thing with what its tool says of it.

    Args:
        ref: The thing.
        records: Its project, or None if that is not here.
    """
    if records is None:
        return Node(ref, ref.id, None)
    found = _DESCRIBE[ref.kind](ref.id, records) if ref.kind in _DESCRIBE else (ref.id, {})
    if found is not None:
        title, details = found
        return Node(ref, title, True, {key: value for key, value in details.items() if value is not None})
    unknown = _TOOLS.get(ref.kind) in records.errors
    return Node(ref, ref.id, None if unknown else False)


_Found = tuple[str, dict[str, Any]]


def _data(md5: str, records: ProjectRecords) -> _Found | None:
    version = records.data_versions.get(md5)
    if version is None:
        return None
    return version.name, {"bytes": version.size, "files": version.files, "pushed": version.pushed}


def _run(run_id: str, records: ProjectRecords) -> _Found | None:
    run = records.run(run_id)
    if run is None:
        return None
    started = run["start_time"]
    return run["run_name"] or run_id, {
        "status": run["status"],
        "started": started.isoformat() if started else None,
        "metrics": dict(sorted(run["metrics"].items())[:_SHOWN_METRICS]),
    }


def _model(name: str, records: ProjectRecords) -> _Found | None:
    row = records.model_versions.get(name)
    if row is not None:
        return name, {
            "aliases": list(row.aliases) or None,
            "framework": row.tags.get("mlops.framework"),
            "created_at": row.created_at.isoformat() if row.created_at else None,
        }
    # Packaged from a directory, it was never registered.
    entry = records.bento_models.get(name)
    if entry is not None:
        return name, {"created_at": entry.created_at.isoformat() if entry.created_at else None}
    versions = [key for key in records.model_versions if key.rpartition(":")[0] == name]
    return (name, {"versions": len(versions)}) if versions else None


def _bento(tag: str, records: ProjectRecords) -> _Found | None:
    entry = records.bentos.get(tag)
    if entry is None:
        return None
    return tag, {"created_at": entry.created_at.isoformat() if entry.created_at else None}


def _reference(digest: str, records: ProjectRecords) -> _Found | None:
    return (digest[:12], {}) if digest in records.references else None


def _snapshot(snapshot: str, records: ProjectRecords) -> _Found | None:
    check = records.snapshots.get(snapshot)
    if check is None:
        return None
    return snapshot, {
        "checked_at": check["checked_at"],
        "rows": check["rows"],
        "drift_detected": check["drift_detected"],
    }


def _commit(sha: str, records: ProjectRecords) -> _Found | None:
    return sha[:12], {}


_DESCRIBE: Final[Mapping[str, Callable[[str, ProjectRecords], _Found | None]]] = {
    references.DATA: _data,
    references.RUN: _run,
    references.MODEL: _model,
    references.BENTO: _bento,
    references.REFERENCE: _reference,
    references.SNAPSHOT: _snapshot,
    references.COMMIT: _commit,
}
