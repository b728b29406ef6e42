"""Scratch directories that belong to one process and are cleared away after it, however it ended.

Each lies on the file system of what it is made for, so that what was made in it can be renamed into place.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mlops.files import STATE_DIRECTORY, locked


def claim(root: Path, name: str) -> tuple[Path, int]:
    """Make a directory and hold a lock on it; call this, like ``sweep``, under the project's lock.

    The lock belongs to the open descriptor, so the kernel releases it when its last holder is gone, whether
    that ended well or was killed. A child that inherits the descriptor keeps it.

    Args:
        root: Where the directory is made; it must exist.
        name: What it is for; part of its name.

    Returns:
        The directory and the descriptor that holds it.
    """
    path = root / f"{name}-{uuid.uuid4().hex[:12]}"
    path.mkdir()
    return path, hold(path)


def hold(path: Path) -> int:
    """Lock a directory that was just made, and return the descriptor that holds it until it is closed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def is_held(path: Path) -> bool:
    """Say whether a process holds a directory.

    Raises:
        FileNotFoundError: It is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Shared, so that two who look do not take each other for an owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def sweep(root: Path, name: str = "") -> None:
    """Remove the directories made below ``root`` that nobody holds any more.

    Args:
        root: Where they were made; it may be missing.
        name: Only those made for this; all by default, for a place that holds nothing else.
    """
    for path in root.glob(f"{glob.escape(name)}-*" if name else "*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def scratch(
    root: Path, name: str, lock: contextlib.AbstractContextManager[None]
) -> Iterator[tuple[Path, int]]:
    """Give a scratch directory on the file system of ``root`` and remove it afterwards.

    Args:
        root: Where scratch directories are made; abandoned ones are removed on the way.
        name: What it is for.
        lock: The project's lock, held only while the directory is made.

    Yields:
        The directory, and the descriptor that holds it, to be inherited by a child that works in it.
    """
    with lock:
        sweep(root)
        path, descriptor = claim(root, name)
    try:
        yield path, descriptor
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


@contextlib.contextmanager
def base_scratch(base: Path, name: str, *, operation: str) -> Iterator[Path]:
    """Give a scratch directory for work on whole workspaces, which can be renamed into the base.

    Args:
        base: The base path; its state directory must exist.
        name: What it is for.
        operation: The calling method, for errors.

    Raises:
        WorkspaceLockedError: Another process kept the lock for making such directories.
    """
    root = base / STATE_DIRECTORY / "staging" / "workspaces"
    root.mkdir(parents=True, exist_ok=True)
    lock = locked(base / STATE_DIRECTORY / "locks" / "staging.workspaces.lock", operation=operation)
    with scratch(root, name, lock) as (path, _):
        yield path
