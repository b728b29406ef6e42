"""What a BentoML store holds, as values: read from the files, without importing BentoML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlops import plain_yaml

MODEL_FILE: Final = "model.yaml"
BENTO_FILE: Final = "bento.yaml"
# Where this package keeps its own facts among a model's metadata.
OWN_METADATA: Final = "mlops"


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One Bento model or Bento on disk.

    Args:
        kind: ``model`` or ``bento``.
        tag: ``<name>:<version>``, from the place it is stored in.
        path: Its directory.
        model: The model's name without the project's prefix.
        version: The version.
        created_at: Creation time, aware; None for an entry that cannot be read.
        labels: Text labels.
        metadata: What the user stored with the model.
        digest: Content hash of the packaged MLflow model, or None for one that another program stored.
        size: Bytes of the content as it was stored, or None if not recorded.
        error: Why the entry cannot be read, or None.
    """

    kind: str
    tag: str
    path: Path
    model: str
    version: str
    created_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    size: int | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": self.kind,
            "tag": self.tag,
            "path": str(self.path),
            "model": self.model,
            "version": self.version,
            "created_at": self.created_at.isoformat() if self.created_at else None,
            "labels": dict(self.labels),
            "metadata": dict(self.metadata),
            "size": self.size,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Deployment:
    """A packaged version of a model, ready to serve when it has a Bento.

    Args:
        project: The project it belongs to.
        model: The model's name without the project's prefix.
        version: The version.
        tag: ``<project>.<model>:<version>``.
        model_tag: Tag of the Bento model, or None for a service of the user's own.
        bento_tag: Tag of the Bento, or None if only the model was stored.
        path: Directory of the Bento model, or of the Bento of a service.
        size: Bytes of the model's files.
        created_at: Creation time, aware.
        labels: Text labels, ``project``, ``model`` and ``version`` among them.
        metadata: What the user stored with the model.
    """

    project: str
    model: str
    version: str
    tag: str
    model_tag: str | None
    bento_tag: str | None
    path: Path
    size: int
    created_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "project": self.project,
            "model": self.model,
            "version": self.version,
            "tag": self.tag,
            "model_tag": self.model_tag,
            "bento_tag": self.bento_tag,
            "path": str(self.path),
            "size": self.size,
            "created_at": self.created_at.isoformat(),
            "labels": dict(self.labels),
            "metadata": dict(self.metadata),
        }


def scan(
    root: Path, *, kind: str, prefix: str, load: Callable[[bytes], Any] | None = None
) -> Iterator[StoreEntry]:
    """Yield every entry below ``models/`` or ``bentos/``, by tag; what cannot be read carries its error.

    Args:
        root: The directory of that kind; a missing one holds nothing.
        kind: ``model`` or ``bento``.
        prefix: The prefix that the project's tags have now.
        load: Reads an entry's file; everything in it by default.
    """
    for name in _directories(root):
        for version in _directories(name):
            if (entry := read(version, kind=kind, prefix=prefix, load=load)) is not None:
                yield entry


def read(
    path: Path, *, kind: str, prefix: str, load: Callable[[bytes], Any] | None = None
) -> StoreEntry | None:
    """Read one entry from its directory ``<name>/<version>``; None if it vanished meanwhile."""
    import yaml

    name, version = path.parent.name, path.name
    tag = f"{name}:{version}"
    model = name.removeprefix(prefix)
    file = path / (MODEL_FILE if kind == "model" else BENTO_FILE)

    def broken(reason: str) -> StoreEntry:
        return StoreEntry(kind, tag, path, model, version, error=f"{file}: {reason}")

    try:
        values = (load or plain_yaml.load)(file.read_bytes())
    except FileNotFoundError:
        return broken("the file is missing, so the entry is incomplete") if path.is_dir() else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        return broken(" ".join(str(error).split()))
    if not isinstance(values, dict):
        return broken("it holds no mapping")
    if (str(values.get("name")), str(values.get("version"))) != (name, version):
        return broken(f"it describes {values.get('name')}:{values.get('version')}, not {tag}")
    labels, metadata = values.get("labels") or {}, values.get("metadata") or {}
    try:
        created_at = _aware(values["creation_time"])
        labels = {str(key): str(value) for key, value in labels.items()}
        metadata = dict(metadata)
        own = dict(metadata.pop(OWN_METADATA, None) or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return broken(f"a value is missing or has the wrong type ({error!r})")
    if not name.startswith(prefix):
        # Stored under the name this project had before it was renamed or copied.
        model = labels.get("model", name)
    return StoreEntry(
        kind, tag, path, model, version, created_at, labels, metadata, own.get("digest"), own.get("size")
    )


def _directories(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as found:
            return sorted(Path(each.path) for each in found if each.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        # Never made, or removed by another process since it was listed.
        return []


def _aware(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
