"""What the adapter returns: data versions, the state of datasets, and the results of push and verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from mlops.integrations.dvc_data.pointer import pointer_text

DIRECTORY_SUFFIX: Final = ".dir"


@dataclass(frozen=True, slots=True)
class DataVersion:
    """One version of a dataset: exact bytes, found again by their hash.

    Args:
        name: The dataset's name, the same for all its versions: the path relative to the repository, or
            ``workspace:<path>`` below the workspace, or ``external:<key>/<file name>`` elsewhere.
        path: Where the dataset's source is now, absolute.
        md5: DVC's hash of the content, 32 hex digits; a directory's has ``.dir`` after them.
        size: Bytes of the content.
        files: Number of files; 1 for a dataset that is a file.
        added_at: When this version was added, aware.
        pushed: Whether the project's present remote was seen to hold it; None if that was not looked up.
    """

    name: str
    path: Path
    md5: str
    size: int
    files: int
    added_at: datetime
    pushed: bool | None = None

    @property
    def is_directory(self) -> bool:
        """Whether the dataset is a directory in this version."""
        return self.md5.endswith(DIRECTORY_SUFFIX)

    @property
    def digest(self) -> str:
        """The hash in at most 36 characters, which is what an MLflow dataset digest may have."""
        return self.md5

    @property
    def pointer(self) -> str:
        """The text of the ``.dvc`` file for this version, as DVC itself writes it."""
        return pointer_text(
            self.path.name, md5=self.md5, size=self.size, files=self.files if self.is_directory else None
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "path": str(self.path),
            "md5": self.md5,
            "size": self.size,
            "files": self.files,
            "added_at": self.added_at.isoformat(),
            "pushed": self.pushed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the version that ``to_dict`` described."""
        return cls(
            name=str(values["name"]),
            path=Path(values["path"]),
            md5=str(values["md5"]),
            size=int(values["size"]),
            files=int(values["files"]),
            added_at=datetime.fromisoformat(values["added_at"]),
            pushed=values.get("pushed"),
        )


class DataState(StrEnum):
    """How a dataset's source compares with the versions that are stored."""

    CLEAN = "clean"
    MODIFIED = "modified"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """One dataset as it is on disk now.

    Args:
        name: The dataset's name.
        path: Its source.
        state: ``clean`` if the source is as it was last added or restored, by names, sizes and times;
            ``modified`` if it is not; ``missing`` if there is nothing.
        version: The version added last.
        on_disk: The md5 of the version the source holds, or None when it holds none.
        pushed: Whether the version added last is in the remote.
        versions: How many different versions are known.
        unpushed: How many of them are not known to be in the remote.
        changes: Files that differ from the version on disk, relative to the source, at most 20.
    """

    name: str
    path: Path
    state: DataState
    version: DataVersion
    on_disk: str | None
    pushed: bool
    versions: int
    unpushed: int
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "path": str(self.path),
            "state": str(self.state),
            "version": self.version.to_dict(),
            "on_disk": self.on_disk,
            "pushed": self.pushed,
            "versions": self.versions,
            "unpushed": self.unpushed,
            "changes": list(self.changes),
        }


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Args:
        objects: How many objects were transferred; 0 when the remote had everything.
        bytes: Their size.
        versions: The versions that the remote was seen to hold completely afterwards.
    """

    objects: int
    bytes: int
    versions: tuple[DataVersion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "objects": self.objects,
            "bytes": self.bytes,
            "versions": [version.to_dict() for version in self.versions],
        }


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What re-reading the stored objects found.

    Args:
        objects: How many objects were read, in the cache and the remote together.
        damaged: Objects whose content is not what their name says, as paths or URLs.
        missing: What exists whole in neither, as ``<file> of <dataset>@<md5>``.
        gaps: What only the cache has whole although it was pushed, in the same form.
    """

    objects: int
    damaged: tuple[str, ...]
    missing: tuple[str, ...]
    gaps: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every version can be restored, and those that were pushed from the remote alone."""
        return not self.damaged and not self.missing and not self.gaps

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "ok": self.ok,
            "objects": self.objects,
            "damaged": list(self.damaged),
            "missing": list(self.missing),
            "gaps": list(self.gaps),
        }


@dataclass(frozen=True, slots=True)
class GarbageResult:
    """What a gc removed, or would remove.

    Args:
        dry_run: Whether nothing was changed.
        versions: The versions taken off the list; ``pushed`` says which of them the remote held before.
        objects: How many files the cache loses: objects no listed version needs, and what killed processes
            left.
        bytes: Their size.
        remote_objects: How many objects the remote loses.
        remote_bytes: Their size.
        kept: How many versions stay.
    """

    dry_run: bool
    versions: tuple[DataVersion, ...]
    objects: int
    bytes: int
    remote_objects: int
    remote_bytes: int
    kept: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "dry_run": self.dry_run,
            "versions": [version.to_dict() for version in self.versions],
            "objects": self.objects,
            "bytes": self.bytes,
            "remote_objects": self.remote_objects,
            "remote_bytes": self.remote_bytes,
            "kept": self.kept,
        }
