"""A directory of objects named by their hash, laid out as DVC does: the cache, or a remote on a disk.

DVC's own class for it is not used to write, because it tries a copy-on-write link first. Where the disk has
none, an empty file of the final name is there for a moment: a process that dies then leaves it behind, and
another one takes it for the object.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from pathlib import Path
from typing import Final

from mlops.integrations.dvc_data.hashing import copy_and_hash, file_md5

# DVC's mark for an object whose content was checked (dvc_data/hashfile/db/local.py).
_MODE: Final = 0o444


class ObjectDirectory:
    """Objects below one directory; each is there whole or not at all.

    Args:
        root: The directory ``files/md5`` of a cache or remote; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, md5: str) -> Path:
        """Return where an object is, whether or not it exists."""
        return self.root / md5[:2] / md5[2:]

    def size(self, md5: str) -> int | None:
        """Return an object's bytes, or None if it does not exist."""
        try:
            return self.path(md5).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def intact(self, md5: str) -> bool:
        """Read an object and say whether it exists with the content its name says."""
        try:
            return file_md5(self.path(md5)) == md5.removesuffix(".dir")
        except (FileNotFoundError, NotADirectoryError):
            return False

    def take(self, md5: str, file: Path) -> None:
        """Move a file here as an object whose hash is known; one already here with that size is kept.

        Args:
            md5: The file's hash.
            file: The file, which is gone afterwards on the same disk.
        """
        if self.size(md5) == file.stat().st_size:
            return
        target = self.path(md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(_MODE)
        try:
            file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            temporary = _beside(target)
            try:
                shutil.copyfile(file, temporary)
                _publish(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)

    def copy_from(self, other: ObjectDirectory, md5: str) -> bool:
        """Copy an object from another directory, hashing it on the way.

        Returns:
            Whether it had the content its name says; if not, nothing was changed here.

        Raises:
            FileNotFoundError: It does not exist there.
        """
        target = self.path(md5)
        source = other.path(md5)
        if not source.is_file():
            raise FileNotFoundError(errno.ENOENT, "No such object", str(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target)
        try:
            if copy_and_hash(source, temporary) != md5.removesuffix(".dir"):
                return False
            _publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return True


def _beside(target: Path) -> Path:
    # The name DVC gives its own temporary files, so that `dvc gc` finds those a killed process left.
    return target.with_name(f".{uuid.uuid4().hex}.tmp")


def _publish(temporary: Path, target: Path) -> None:
    temporary.chmod(_MODE)
    temporary.replace(target)
