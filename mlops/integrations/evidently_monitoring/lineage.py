"""What the monitoring records say of where a check came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops.integrations.evidently_monitoring import history
from mlops.integrations.evidently_monitoring.reference import ReferenceStore
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
        if model is not None:
            yield reference_link(digest, model=f"{prefix}{model}", version=version)
    for record in history.read(checks):
        yield from check_links(record, prefix=prefix)


def reference_link(digest: str, *, model: str, version: str | None) -> Link:
    """Return that a reference was set for a model, or for one version of it."""
    return Link(model_reference(model, version), f"reference:{digest}", REFERENCE_OF)


def check_links(record: dict[str, Any], *, prefix: str) -> Iterator[Link]:
    """Yield what one check compared and checked.

    Args:
        record: The check, as ``MonitoringResult.to_dict`` gives it.
        prefix: What registered model names start with.
    """
    snapshot, metadata = f"snapshot:{record['snapshot_id']}", record["metadata"]
    facts = {"checked_at": record["checked_at"], "drift_detected": record["drift_detected"]}
    yield Link(f"reference:{record['reference_hash']}", snapshot, COMPARED_IN, facts)
    if record["model"]:
        model = model_reference(f"{prefix}{record['model']}", record["model_version"])
        yield Link(model, snapshot, CHECKED_BY, facts)
    if run := metadata.get("run_id"):
        yield Link(f"run:{run}", snapshot, CHECKED_BY, facts)
    if data := metadata.get("data_version"):
        yield Link(f"data:{data}", snapshot, INPUT_OF, facts)


def model_reference(full_name: str, version: str | None) -> str:
    """Return a model version as links write it; the model alone where the version is not known."""
    return f"model:{full_name}:{version}" if version else f"model:{full_name}"
