"""Files written whole or not at all, paths that stay inside their root, and one lock per project."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from mlops.errors import IsolationError, WorkspaceLockedError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_TIMEOUT_SECONDS: Final = 30.0
STATE_DIRECTORY: Final = ".mlops"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a directory holds: ``files`` counts names, ``bytes`` counts hard-linked content once."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.files + other.files, self.bytes + other.bytes)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, never a part.

    Args:
        path: The file; its directory must exist.
        content: Text is written as UTF-8.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with writing_atomic(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing_atomic(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream for a file that takes its place when the block ends, and is dropped if the block raises.

    Args:
        path: The file; its directory must exist.
    """
    # Not mkstemp: that makes files private, and a workspace may be shared by a team through its group.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename inside ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def contained(path: Path, root: Path, *, operation: str | None = None, workspace: str | None = None) -> Path:
    """Return ``path`` with links resolved, or raise if that is not below ``root``.

    Raises:
        IsolationError: The path is the root itself or lies outside it, directly or through a link.
    """
    resolved, resolved_root = path.resolve(), root.resolve()
    if resolved_root not in resolved.parents:
        raise IsolationError(
            f"{path} is outside {root}",
            operation=operation,
            workspace=workspace,
            hint="remove the link or '..' that leads out of the base path",
        )
    return resolved


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    timeout: float = LOCK_TIMEOUT_SECONDS,
    operation: str | None = None,
    workspace: str | None = None,
) -> Iterator[None]:
    """Hold an exclusive lock between threads and processes; it dies with its process.

    Not re-entrant: a second call for the same path in the same thread waits and then raises.

    Args:
        path: The lock file, created with its directories if need be and never removed.
        timeout: Seconds to wait.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        WorkspaceLockedError: The lock was still held after ``timeout`` seconds.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock: BaseFileLock = FileLock(path, timeout=timeout, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout as error:
        raise WorkspaceLockedError(
            f"Another process has held {path} for more than {timeout:g} s",
            operation=operation,
            workspace=workspace,
            hint="wait for the other operation on this project to end, or raise MLOPS_LOCK_TIMEOUT",
        ) from error
    try:
        yield
    finally:
        lock.release()


def state_directory(root: Path) -> Path:
    """Return where a workspace's locks and staging live: the base's ``.mlops``, else its own."""
    shared = root.parent / STATE_DIRECTORY
    return shared if shared.is_dir() else root / STATE_DIRECTORY


def measure(path: Path) -> Usage:
    """Count the files below ``path`` and their bytes, hard links once and symbolic links not followed.

    A directory that does not exist holds nothing; files that vanish meanwhile are left out.
    """
    tally = _Tally()
    for status in _statuses(path):
        tally.add(status)
    return tally.usage()


def measure_parts(path: Path) -> tuple[dict[str, Usage], Usage]:
    """Count each directory in ``path``, and all of it, in one walk.

    Args:
        path: The directory; one that does not exist holds nothing.

    Returns:
        Usage by directory's name, and of the whole; hard links are counted once in each.
    """
    whole = _Tally()
    parts: dict[str, Usage] = {}
    try:
        with os.scandir(path) as entries:
            directories = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return {}, Usage()
    for name in directories:
        part = _Tally()
        for status in _statuses(path / name):
            part.add(status)
            whole.add(status)
        parts[name] = part.usage()
    for status in _statuses(path, deep=False):
        whole.add(status)
    return parts, whole.usage()


def measure_removal(paths: Iterable[Path]) -> Usage:
    """Count the files at and below some paths, and the bytes that removing all of them would free.

    Args:
        paths: Files and directories; what does not exist holds nothing. A file that has a hard link anywhere
            else frees nothing.
    """
    files = 0
    names: Counter[tuple[int, int]] = Counter()
    statuses: dict[tuple[int, int], os.stat_result] = {}
    for path in paths:
        for status in _statuses(path) if path.is_dir() and not path.is_symlink() else _status(path):
            files += 1
            identity = (status.st_dev, status.st_ino)
            names[identity] += 1
            statuses[identity] = status
    freed = (status for identity, status in statuses.items() if names[identity] >= status.st_nlink)
    return Usage(files, sum(status.st_size for status in freed))


class _Tally:
    """Files and bytes so far."""

    def __init__(self) -> None:
        self._files = 0
        self._bytes = 0
        self._seen: set[tuple[int, int]] = set()

    def add(self, status: os.stat_result) -> None:
        self._files += 1
        if status.st_nlink > 1:
            identity = (status.st_dev, status.st_ino)
            if identity in self._seen:
                return
            self._seen.add(identity)
        self._bytes += status.st_size

    def usage(self) -> Usage:
        return Usage(self._files, self._bytes)


def _status(path: Path) -> Iterator[os.stat_result]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        yield path.lstat()


def _statuses(path: Path, *, deep: bool = True) -> Iterator[os.stat_result]:
    pending = [path]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if deep:
                            pending.append(Path(entry.path))
                        continue
                    yield entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's content, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def human_bytes(size: float) -> str:
    """Return a size as people read it, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        # What would be rounded up to 1000 belongs to the next unit.
        if abs(size) < 999.95:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
