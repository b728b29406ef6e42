"""A source as a directory walk sees it: which files there are, and whether they were touched since.

Nothing here reads a file's content, except to recognise the project's own pointer files.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mlops.errors import DataNotFoundError, IntegrationError
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.pointer import SUFFIX, read_pointer

# DVC leaves these out of every directory it tracks (dvc/ignore.py), so a plain `dvc status` agrees with us.
IGNORED: Final = frozenset({".git", ".hg", ".dvc"})
# A kernel's file clock ticks every 1 to 10 ms: a file written again within one tick keeps its time.
_CLOCK_TICK_NS: Final = 20_000_000


class FileStat(NamedTuple):
    """What tells that a file was touched.

    The change time and inode catch an edit that put the old modification time back.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a source.

    Args:
        directory: Whether the source is a directory.
        files: Relative path with ``/`` to its stat; a file source has the one key ``""``.
    """

    directory: bool
    files: dict[str, FileStat]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    def changes(self, earlier: Snapshot, *, exact: bool) -> list[str]:
        """Return the files that are new, gone or touched, sorted.

        Args:
            earlier: What to compare with.
            exact: Compare change times and inodes too, which a copy or ``chmod`` alters but not the data.
        """
        keep = 4 if exact else 2
        both = self.files.keys() & earlier.files.keys()
        changed = {name for name in both if self.files[name][:keep] != earlier.files[name][:keep]}
        changed |= self.files.keys() ^ earlier.files.keys()
        if self.directory != earlier.directory:
            changed.add("")
        return sorted(changed)


def take(source: Path, operation: Operation, *, pointers: Collection[Path] = ()) -> Snapshot | None:
    """Walk a source; None if there is nothing.

    Links to files are followed wherever they lead: a version holds the content, and restoring it gives
    regular files. A directory link inside the source is refused: DVC would leave out what is behind it.

    Args:
        source: The file or directory.
        operation: The calling method.
        pointers: Pointer files the project itself wrote, which are no data.

    Raises:
        IntegrationError: Something in the source cannot be versioned.
    """
    try:
        root = source.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(source, error, operation) from error
    if stat.S_ISREG(root.st_mode):
        return Snapshot(False, {"": _file_stat(root)})
    if not stat.S_ISDIR(root.st_mode):
        raise _unsupported(source, "is neither a file nor a directory", operation)
    files: dict[str, FileStat] = {}
    pending = [""]
    while pending:
        relative = pending.pop()
        try:
            with os.scandir(source / relative) as entries:
                for entry in entries:
                    if entry.name in IGNORED:
                        continue
                    name = f"{relative}/{entry.name}" if relative else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(name)
                    elif not _own_pointer(entry, pointers):
                        files[name] = _entry_stat(entry, operation)
        except FileNotFoundError as error:
            raise operation.error(
                DataNotFoundError,
                f"{source / relative} was removed while it was being read",
                hint="call again when nothing writes to it",
            ) from error
        except OSError as error:
            raise _unreadable(source / relative, error, operation) from error
    return Snapshot(True, files)


def settled(snapshot: Snapshot) -> bool:
    """Wait out the file clock if a file was written this instant; return whether there was no need to.

    Without it, a write that comes right after the walk and leaves the size alone could not be told from none.
    """
    newest = max((max(entry.mtime_ns, entry.ctime_ns) for entry in snapshot.files.values()), default=0)
    remaining = newest + _CLOCK_TICK_NS - time.time_ns()
    if not 0 < remaining <= _CLOCK_TICK_NS:
        return True
    time.sleep(remaining / 1e9)
    return False


def _file_stat(values: os.stat_result) -> FileStat:
    return FileStat(values.st_size, values.st_mtime_ns, values.st_ctime_ns, values.st_ino)


def _entry_stat(entry: os.DirEntry[str], operation: Operation) -> FileStat:
    try:
        entry.name.encode("utf-8")
        values = entry.stat()
    except UnicodeEncodeError:
        problem = "has a name that is not valid UTF-8"
    except FileNotFoundError:
        if not entry.is_symlink():
            raise
        problem = "is a link to something that does not exist"
    else:
        if stat.S_ISREG(values.st_mode):
            return _file_stat(values)
        link = stat.S_ISDIR(values.st_mode)
        problem = "is a link to a directory" if link else "is neither a file nor a directory"
    raise _unsupported(Path(entry.path), problem, operation)


def _own_pointer(entry: os.DirEntry[str], pointers: Collection[Path]) -> bool:
    if not entry.name.endswith(SUFFIX) or (path := Path(entry.path)) not in pointers:
        return False
    # The dataset may have been added without a pointer, and this be data that is only named like one.
    pointer = read_pointer(path)
    return pointer is not None and pointer.path == path.stem


def _unsupported(path: Path, problem: str, operation: Operation) -> IntegrationError:
    return operation.error(
        IntegrationError,
        f"{path!s} cannot be versioned: it {problem}",
        hint="remove it from the directory, or replace a link by what it points to",
    )


def _unreadable(path: Path, error: OSError, operation: Operation) -> IntegrationError:
    return operation.error(
        IntegrationError,
        f"{path} cannot be read: {error.strerror or error}",
        hint="check the permissions of the file and of the directories above it",
    )
