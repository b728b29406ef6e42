"""A directory of objects named by their hash, laid out as DVC does: the cache, or a remote on a disk.

DVC's own class for it is not used to write, because it tries a copy-on-write link first. Where the disk has
none, an empty file of the final name is there for a moment: a process that dies then leaves it behind, and
another one takes it for the object.
"""

from __future__ import annotations

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
        return Path(f"{self._text}/{md5[:2]}/{md5[2:]}")

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
            return file_md5(self.path(md5), advance=advance) == md5.removesuffix(".dir")
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
        self.path(md5).unlink(missing_ok=True)

    def take(self, md5: str, file: Path) -> None:
        """Move a file here as an object whose hash was just computed; one already here of that size is kept.

        Args:
            md5: The file's hash.
            file: The file, which is gone afterwards on the same disk.
        """
        if self.size(md5) == file.stat().st_size:
            return
        file.chmod(_MODE)
        _seal(file)
        try:
            self._publish(file, md5)
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
        return self._copy(other.path(md5), md5, hashing=not (trusting and other.sealed(md5)), advance=advance)

    def _copy(self, source: Path, md5: str, *, hashing: bool, advance: Advance | None = None) -> bool:
        directory = self.root / md5[:2]
        directory.mkdir(parents=True, exist_ok=True)
        # The name DVC gives its own temporary files, so that `dvc gc` finds those a killed process left.
        temporary = directory / f".{uuid.uuid4().hex}.tmp"
        try:
            actual = copy_file(source, temporary, hashing=hashing, advance=advance, finish=_finish)
            if hashing and actual != md5.removesuffix(".dir"):
                temporary.unlink()
                return False
            temporary.replace(self.path(md5))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return True

    def _status(self, md5: str) -> os.stat_result | None:
        try:
            return self.path(md5).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _publish(self, file: Path, md5: str) -> None:
        target = self.path(md5)
        try:
            file.replace(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)

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


def _seal(file: Path | int) -> None:
    now = time.time_ns()
    os.utime(file, ns=(now, now // _SECOND_NS * _SECOND_NS + _SEAL_NS))


def _finish(descriptor: int) -> None:
    os.fchmod(descriptor, _MODE)
    _seal(descriptor)
