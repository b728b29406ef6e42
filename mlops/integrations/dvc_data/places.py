"""Where a dataset's source is, in words that survive a move of the workspace or the repository.

A source below the workspace or the repository is recorded relative to it. Only a source outside both is
recorded by its absolute path, with the workspace it was added from: a copy of it must not write there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, Self

from mlops.settings import DEFAULT_BASE
from mlops.workspace.model import METADATA_FILE

Anchor = Literal["workspace", "repository", "absolute"]
ANCHORS: Final = ("workspace", "repository", "absolute")


@dataclass(frozen=True, slots=True)
class Source:
    """A recorded source.

    Args:
        anchor: What ``location`` is relative to.
        location: Path with ``/``.
        root: For an absolute location, the workspace directory it was added from.
        foreign: Whether the record came from elsewhere through an archive.
    """

    anchor: Anchor
    location: str
    root: str | None = None
    foreign: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without those at their default."""
        values: dict[str, Any] = {"anchor": self.anchor, "location": self.location}
        if self.root is not None:
            values["root"] = self.root
        if self.foreign:
            values["foreign"] = True
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the source that ``to_dict`` described.

        Raises:
            ValueError: The anchor is unknown, or a relative location leads out of it.
        """
        anchor, location = values["anchor"], str(values["location"])
        if anchor not in ANCHORS:
            raise ValueError(f"unknown anchor {anchor!r}")
        if location.startswith("/") != (anchor == "absolute") or ".." in location.split("/"):
            raise ValueError(f"bad location {location!r}")
        return cls(anchor, location, values.get("root"), bool(values.get("foreign", False)))


class Places:
    """Turns paths into recorded sources and back, for one workspace where it is now."""

    def __init__(self, workspace_root: Path) -> None:
        self._root = workspace_root

    @cached_property
    def workspace(self) -> Path:
        """The workspace's directory, links resolved."""
        return self._root.resolve()

    @cached_property
    def repository(self) -> Path | None:
        """The directory the project's code lives in, or None if there is no telling.

        It is the nearest directory above the workspace with a ``.git``, else with a ``pyproject.toml``, else
        the one whose ``mlops/workspace`` is the base.
        """
        above = self.workspace.parents
        for marker in (".git", "pyproject.toml"):
            for directory in above:
                if (directory / marker).exists():
                    return directory
        base = self.workspace.parent
        if base.parts[-len(DEFAULT_BASE.parts) :] == DEFAULT_BASE.parts:
            return base.parents[len(DEFAULT_BASE.parts) - 1]
        return None

    def absolute(self, path: str | Path) -> Path:
        """Return the one spelling of a path: absolute, with links above it resolved, but not itself."""
        given = Path(path).expanduser()
        if given.name in ("", ".."):
            return given.resolve()
        return given.parent.resolve() / given.name

    def describe(self, path: Path) -> Source:
        """Return how to record a path given by ``absolute``."""
        if path.is_relative_to(self.workspace):
            return Source("workspace", path.relative_to(self.workspace).as_posix())
        if self.repository is not None and path.is_relative_to(self.repository):
            return Source("repository", path.relative_to(self.repository).as_posix())
        return Source("absolute", path.as_posix(), root=str(self.workspace))

    def dataset_name(self, source: Source) -> str:
        """Return the name a new dataset gets."""
        if source.anchor == "repository":
            return source.location
        if source.anchor == "workspace":
            return f"workspace:{source.location}"
        key = hashlib.sha256(source.location.encode()).hexdigest()[:8]
        return f"external:{key}/{PurePosixPath(source.location).name}"

    def locate(self, source: Source) -> Path:
        """Return where a recorded source is now."""
        if source.anchor == "absolute":
            return Path(source.location)
        if source.anchor == "repository" and self.repository is not None:
            return self.repository / source.location
        return self.workspace / source.location

    def dataset_at(self, path: Path, datasets: Mapping[str, Source]) -> str | None:
        """Return the dataset whose source is at a path given by ``absolute``, or None.

        Args:
            path: The path.
            datasets: Name to recorded source.
        """
        described = self.describe(path)
        for name, source in datasets.items():
            if source.anchor == described.anchor:
                if source.location == described.location:
                    return name
            elif self.locate(source) == path:
                # Recorded before the workspace or the repository was where it is now.
                return name
        return None

    def may_write(self, source: Source) -> bool:
        """Say whether data may be put back there without the caller naming the place.

        Not if the workspace is a copy of one that still exists, came out of an archive made elsewhere, or has
        left its repository; nor if a link now leads out of the repository or the workspace.
        """
        if source.anchor == "absolute":
            if source.foreign:
                return False
            here = source.root is None or Path(source.root) == self.workspace
            return here or not (Path(source.root or "") / METADATA_FILE).exists()
        root = self.workspace if source.anchor == "workspace" else self.repository
        return root is not None and self.locate(source).parent.resolve().is_relative_to(root)
