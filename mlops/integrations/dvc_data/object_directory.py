"""A directory of objects named by their hash, laid out as DVC does: the cache, or a remote on a disk.

DVC's own class for it is not used to write, because it tries a copy-on-write link first. Where the disk has
none, an empty file of the final name is there for a moment: a process that dies then leaves it behind, and
another one takes it for the object.

Paths are plain text in here: with 100,000 objects, making path objects takes longer than the disk does.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH112, PTH116

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlops.integrations.dvc_data.hashing import FULL_HASH, Advance, copy_file, file_md5

# DVC's mark for an object whose content was checked (dvc_data/hashfile/db/local.py).
_MODE: Final = 0o444
# Our mark: the nanoseconds of the time of the last change. Whoever writes to an object later leaves another
# value, by chance the same once in 10^9 times; the time itself stays true to within a second.
_SEAL_NS: Final = 271_828_183
_SECOND_NS: Final = 1_000_000_000
_PREFIX: Final = re.compile(r"[0-9a-f]{2}")


class ObjectDirectory:
    """Objects below one directory; each is there whole or not at all.

    Args:
        root: The directory ``files/md5`` of a cache or remote; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._text = str(root)

    def path(self, md5: str) -> Path:
        """Return where an object is, whether or not it exists."""
        return Path(self._name(md5))

    def size(self, md5: str) -> int | None:
        """Return an object's bytes, or None if it does not exist."""
        status = self._status(md5)
        return None if status is None else status.st_size

    def sealed(self, md5: str) -> bool:
        """Say whether an object was stored with its hash checked, and not written to since."""
        status = self._status(md5)
        return status is not None and status.st_mtime_ns % _SECOND_NS == _SEAL_NS

    def intact(self, md5: str, *, advance: Advance | None = None) -> bool | None:
        """Read an object and say whether its content is what its name says; None if it does not exist.

        Args:
            md5: The object.
            advance: Called with the bytes of each block.
        """
        try:
            return file_md5(self._name(md5), advance=advance) == md5.removesuffix(".dir")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def all(self) -> Iterator[tuple[str, int]]:
        """Yield every object with its bytes."""
        for path, size, _ in self._files():
            if FULL_HASH.fullmatch(md5 := path.parent.name + path.name):
                yield md5, size

    def litter(self, *, age: float) -> Iterator[tuple[Path, int]]:
        """Yield the temporary files that killed processes left, with their bytes.

        Args:
            age: Seconds since they were last written, so that those being written are left out.
        """
        before = time.time() - age
        for path, size, modified in self._files():
            if path.name.endswith(".tmp") and modified < before:
                yield path, size

    def remove(self, md5: str) -> None:
        """Remove an object; it may be gone already."""
        _discard(self._name(md5))

    def take(self, md5: str, file: str) -> None:
        """Move a file here as an object whose hash was just computed; a sealed one already here is kept.

        Args:
            md5: The file's hash.
            file: The file, sealed; it is gone afterwards on the same disk.
        """
        if self.sealed(md5):
            return
        try:
            self._ready(md5)
            os.replace(file, self._name(md5))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(file, md5, hashing=False)

    def copy_from(
        self, other: ObjectDirectory, md5: str, *, trusting: bool = False, advance: Advance | None = None
    ) -> bool:
        """Copy an object from another directory, hashing it on the way.

        Args:
            other: Where it is.
            md5: The object.
            trusting: Do not hash one that is sealed there.
            advance: Called with the bytes of each block.

        Returns:
            Whether it had the content its name says; if not, nothing was changed here.

        Raises:
            FileNotFoundError: It does not exist there.
        """
        return self._copy(
            other._name(md5), md5, hashing=not (trusting and other.sealed(md5)), advance=advance
        )

    def _copy(self, source: str, md5: str, *, hashing: bool, advance: Advance | None = None) -> bool:
        self._ready(md5)
        # The name DVC gives its own temporary files, so that `dvc gc` finds those a killed process left.
        temporary = f"{self._text}/{md5[:2]}/.{uuid.uuid4().hex}.tmp"
        try:
            actual = copy_file(source, temporary, hashing=hashing, advance=advance, finish=seal)
            if hashing and actual != md5.removesuffix(".dir"):
                os.unlink(temporary)
                return False
            os.replace(temporary, self._name(md5))
        except BaseException:
            _discard(temporary)
            raise
        return True

    def _name(self, md5: str) -> str:
        return f"{self._text}/{md5[:2]}/{md5[2:]}"

    def _ready(self, md5: str) -> None:
        directory = f"{self._text}/{md5[:2]}"
        if not os.path.isdir(directory):
            os.makedirs(directory, exist_ok=True)

    def _status(self, md5: str) -> os.stat_result | None:
        try:
            return os.stat(self._name(md5))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        try:
            prefixes = sorted(entry.name for entry in os.scandir(self.root) if _PREFIX.fullmatch(entry.name))
        except (FileNotFoundError, NotADirectoryError):
            return
        for prefix in prefixes:
            with os.scandir(self.root / prefix) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    yield Path(entry.path), status.st_size, status.st_mtime


def seal(descriptor: int) -> None:
    """Mark an open file, all written, as one whose content was hashed.

    Args:
        descriptor: The open file.
    """
    now = time.time_ns()
    os.fchmod(descriptor, _MODE)
    os.utime(descriptor, ns=(now, now // _SECOND_NS * _SECOND_NS + _SEAL_NS))


def _discard(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
