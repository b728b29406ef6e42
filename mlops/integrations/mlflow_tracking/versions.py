"""A model version as users see it, and its translation from MLflow's records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

PREFIX: Final = "mlops."
PROJECT: Final = "mlops.project"
NAME: Final = "mlops.model"
MODEL_ID: Final = "mlops.model_id"
RUN_ID: Final = "mlops.run_id"
FLAVOR: Final = "mlops.flavor"
FRAMEWORK: Final = "mlops.framework"
SIZE: Final = "mlops.size_bytes"
SIGNATURE: Final = "mlops.signature"
DATA: Final = "mlops.data."
GIT_COMMIT: Final = "mlops.git_commit"
GIT_DIRTY: Final = "mlops.git_dirty"
MLFLOW_GIT_COMMIT: Final = "mlflow.source.git.commit"
# The model version of another project that this one is a copy of, `churn/model:...`; and one tag per copy.
COPIED_FROM: Final = "mlops.copied_from"
COPIED_TO: Final = "mlops.copied_to."
PROMOTED: Final = "mlops.promoted."
# mlflow/utils/validation.py, MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH
MAX_TAG_LENGTH: Final = 100_000
# These appear as fields of their own, and the signature is long.
_FIELDS: Final = frozenset({SIGNATURE, SIZE, MODEL_ID, NAME})


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One stored model.

    Args:
        project: The project it belongs to.
        name: The short name, such as ``classifier``.
        full_name: The name in the registry, ``<project>.<name>``.
        version: The registry's version, such as ``3``; "" for a model that was logged but not registered.
        run_id: The run that logged it, or "".
        model_id: MLflow's id of the logged model, or "".
        uri: The MLflow URI that loads it: ``models:/<full_name>/<version>``, or ``models:/<model_id>``.
        source: Where the files are.
        flavor: The flavour's name, such as ``sklearn``, or "" if it is not known.
        framework: The framework and its version, such as ``scikit-learn==1.9.1``, or "".
        created_at: When it was stored, aware.
        aliases: The aliases that point to it, sorted.
        tags: Its tags.
        signature: Inputs and outputs as lists of columns or tensors, or None.
        size_bytes: What its files take on disk, or None if that is not known.
    """

    project: str
    name: str
    full_name: str
    version: str
    run_id: str
    model_id: str
    uri: str
    source: str
    flavor: str
    framework: str
    created_at: datetime
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    signature: Mapping[str, Any] | None = None
    size_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "project": self.project,
            "name": self.name,
            "full_name": self.full_name,
            "version": self.version,
            "run_id": self.run_id,
            "model_id": self.model_id,
            "uri": self.uri,
            "source": self.source,
            "flavor": self.flavor,
            "framework": self.framework,
            "created_at": self.created_at.isoformat(),
            "aliases": list(self.aliases),
            "tags": dict(self.tags),
            "signature": None if self.signature is None else dict(self.signature),
            "size_bytes": self.size_bytes,
        }


def from_registry(record: Any, *, project: str, name: str, aliases: Iterable[str]) -> ModelVersion:
    """Translate MLflow's registry record.

    Args:
        record: An ``mlflow.entities.model_registry.ModelVersion``.
        project: The project.
        name: The short name.
        aliases: The aliases of the version; MLflow's searches leave them out of the record.
    """
    tags = dict(record.tags)
    return ModelVersion(
        project=project,
        name=name,
        full_name=record.name,
        version=str(record.version),
        run_id=record.run_id or tags.get(RUN_ID, ""),
        model_id=tags.get(MODEL_ID) or model_id_in(record.source or ""),
        uri=f"models:/{record.name}/{record.version}",
        source=record.source or "",
        aliases=tuple(sorted(aliases)),
        **_described(tags, record.creation_timestamp),
    )


def from_logged(record: Any, *, project: str, full_name: str) -> ModelVersion:
    """Translate MLflow's record of a logged model that is not registered.

    Args:
        record: An ``mlflow.entities.LoggedModel``.
        project: The project.
        full_name: The name it would have in the registry.
    """
    tags = {key: value for key, value in record.tags.items() if not key.startswith("mlflow.")}
    return ModelVersion(
        project=project,
        name=logged_name(record),
        full_name=full_name,
        version="",
        run_id=record.source_run_id or "",
        model_id=record.model_id,
        uri=f"models:/{record.model_id}",
        source=record.artifact_location,
        **_described(tags, record.creation_timestamp),
    )


def from_run(run: Any, *, name: str, source: str, project: str, prefix: str) -> ModelVersion:
    """Describe a model among a run's artifacts, where MLflow kept models before it had records for them.

    Args:
        run: An ``mlflow.entities.Run``.
        name: The model's path below the run's artifacts.
        source: Its location.
        project: The project.
        prefix: The prefix of registered names.
    """
    return ModelVersion(
        project=project,
        name=name,
        full_name=f"{prefix}{name}",
        version="",
        run_id=run.info.run_id,
        model_id="",
        uri=f"runs:/{run.info.run_id}/{name}",
        source=source,
        **_described({}, run.info.start_time),
    )


def logged_name(record: Any) -> str:
    """Return the short name of a logged model; MLflow refuses dots in the name it keeps itself."""
    return str(record.tags.get(NAME) or record.name)


def local_path(uri: str) -> Path | None:
    """Return the path of a ``file:`` URI or a plain path, None for any other scheme."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def model_id_in(source: str) -> str:
    """Return the logged model's id in a version's source, or "".

    A source is ``models:/m-<hex>``, or the location of the files, ``.../models/m-<hex>/artifacts``.
    """
    parts = source.replace("models:/", "models/").split("/")
    return next((p for before, p in pairwise(parts) if before == "models" and p[:2] == "m-"), "")


def signature_tag(signature: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the tag that keeps a signature readable without its files; none if it is too long for one."""
    text = json.dumps(signature, separators=(",", ":")) if signature else ""
    return {SIGNATURE: text} if 0 < len(text) <= MAX_TAG_LENGTH else {}


def _described(tags: Mapping[str, str], created: int) -> dict[str, Any]:
    size, signature = tags.get(SIZE, ""), tags.get(SIGNATURE)
    return {
        "flavor": tags.get(FLAVOR, ""),
        "framework": tags.get(FRAMEWORK, ""),
        "created_at": datetime.fromtimestamp(created / 1000, UTC),
        "tags": {key: value for key, value in tags.items() if key not in _FIELDS},
        "signature": json.loads(signature) if signature else None,
        "size_bytes": int(size) if size.isdigit() else None,
    }
