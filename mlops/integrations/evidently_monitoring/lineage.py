"""What the monitoring records say of where a check came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops.integrations.evidently_monitoring import history
from mlops.integrations.evidently_monitoring.reference import ReferenceStore
from mlops.integrations.evidently_monitoring.results import MonitoringResult
from mlops.integrations.evidently_monitoring.schema import ReferenceData
from mlops.workspace.links import CHECKED_BY, COMPARED_IN, INPUT_OF, REFERENCE_OF
from mlops.workspace.tools import Link


def links(references: ReferenceStore, checks: Path, *, prefix: str) -> Iterator[Link]:
    """Yield the model of each reference, then what each snapshot compared and checked.

    Args:
        references: The project's reference data.
        checks: The history of checks.
        prefix: What registered model names start with.
    """
    for model, version, digest in references.assignments():
        yield from _of_reference(model, version, digest, prefix)
    for record in history.read(checks):
        yield from _of_check(record, prefix)


def links_of(made: ReferenceData | MonitoringResult, *, prefix: str) -> Iterator[Link]:
    """Yield the links of one reference or one check.

    Args:
        made: What was made current, or found.
        prefix: What registered model names start with.
    """
    if isinstance(made, ReferenceData):
        return _of_reference(made.model, made.model_version, made.hash, prefix)
    return _of_check(made.to_dict(), prefix)


def _of_reference(model: str | None, version: str | None, digest: str, prefix: str) -> Iterator[Link]:
    if model is not None:
        yield Link(_model(f"{prefix}{model}", version), f"reference:{digest}", REFERENCE_OF)


def _of_check(record: dict[str, Any], prefix: str) -> Iterator[Link]:
    snapshot, metadata = f"snapshot:{record['snapshot_id']}", record["metadata"]
    facts = {"checked_at": record["checked_at"], "drift_detected": record["drift_detected"]}
    yield Link(f"reference:{record['reference_hash']}", snapshot, COMPARED_IN, facts)
    if record["model"]:
        model = _model(f"{prefix}{record['model']}", record["model_version"])
        yield Link(model, snapshot, CHECKED_BY, facts)
    if run := metadata.get("run_id"):
        yield Link(f"run:{run}", snapshot, CHECKED_BY, facts)
    if data := metadata.get("data_version"):
        yield Link(f"data:{data}", snapshot, INPUT_OF, facts)


def _model(full_name: str, version: str | None) -> str:
    """Return a model version as links write it; the model alone where the version is not known."""
    return f"model:{full_name}:{version}" if version else f"model:{full_name}"
