"""Directories for work on whole workspaces, on the base's own file system, cleared away however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mlops.files import STATE_DIRECTORY, locked


@contextlib.contextmanager
def scratch(base: Path, name: str, *, operation: str) -> Iterator[Path]:
    """Give an empty directory that can be renamed into the base, and remove what is left of it afterwards.

    Directories of processes that were killed are removed on the way: the lock on a directory is the kernel's,
    which releases it with its holder.

    Args:
        base: The base path; its state directory must exist.
        name: What it is for; part of its name.
        operation: The calling method, for errors.

    Raises:
        WorkspaceLockedError: Another process kept the lock for making such directories.
    """
    root = base / STATE_DIRECTORY / "staging" / "workspaces"
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{name}-{uuid.uuid4().hex[:12]}"
    with locked(base / STATE_DIRECTORY / "locks" / "staging.workspaces.lock", operation=operation):
        _sweep(root)
        path.mkdir()
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _sweep(root: Path) -> None:
    for path in root.iterdir():
        # Somebody holds it, or removes it at this moment.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
