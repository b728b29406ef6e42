"""``export`` and ``restore``: a consistent copy of a vault, and putting one in place of another.

Objects are never changed once stored, so restoring adds objects before, and removes them after, the one
atomic change that counts: that of the ledger.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from mlops.errors import ArchiveError
from mlops.integrations.dvc_data.ledger import FILE_NAME, read_ledger, rewrite
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.vault import Vault

# Options a user keeps in config.local are credentials more often than not, and tmp is rebuilt.
_LEFT_OUT: Final = (PurePosixPath(".dvc/config.local"), PurePosixPath(".dvc/tmp"))


def export(vault: Vault, destination: Path, operation: Operation, *, objects: bool) -> None:
    """Copy the vault; see ``DVCData.export``.

    Args:
        vault: The project's vault.
        destination: An existing empty directory.
        operation: The calling method.
        objects: Whether to copy what the cache and a remote in the vault hold.

    Raises:
        ArchiveError: The destination is not an existing empty directory.
    """
    if not destination.is_dir() or any(destination.iterdir()):
        raise operation.error(
            ArchiveError,
            f"{destination} is not an existing empty directory",
            hint="create the directory and export again",
        )
    if not vault.root.is_dir():
        return
    read_ledger(vault.ledger_path, operation)
    with vault.lock(operation):
        # First, while nobody appends: what the ledger names is in the cache already, and stays.
        small = [path for path in _files(vault.root) if not _is_object(path)]
        for relative in small:
            _copy(vault.root / relative, destination / relative)
    # A directory of the project's own, where nobody writes to what is stored, can share the objects.
    own = vault.workspace.state_path.resolve() in destination.resolve().parents
    try:
        for relative in _files(vault.root) if objects else ():
            if _is_object(relative):
                _copy(vault.root / relative, destination / relative, link=own)
    except FileNotFoundError as error:
        raise operation.error(
            ArchiveError,
            f"{error.filename} was cleaned up while the data was being exported",
            hint="export again to an empty directory when no gc is at work",
        ) from error


def restore(vault: Vault, source: Path, operation: Operation) -> None:
    """Replace the vault; see ``DVCData.restore``.

    Raises:
        ArchiveError: The source is not a vault.
    """
    if not source.is_dir():
        raise operation.error(
            ArchiveError, f"{source} is not a directory", hint="name a directory written by export"
        )
    read_ledger(source / FILE_NAME, operation)
    files = list(_files(source))
    if files and not (source / ".dvc" / "config").is_file():
        raise operation.error(
            ArchiveError,
            f"{source} is not an exported DVC store: it has no .dvc/config",
            hint="name a directory written by export",
        )
    with operation.storing(vault.root):
        _replace(vault, source, files, operation)


def _replace(vault: Vault, source: Path, files: list[PurePosixPath], operation: Operation) -> None:
    before = list(_files(vault.root))
    vault.ensure(operation)
    objects = [path for path in files if _is_object(path)]
    for relative in objects:
        target = vault.root / relative
        if not target.is_file() or target.stat().st_size != (source / relative).stat().st_size:
            _copy_whole(source / relative, target)
    with vault.lock(operation):
        kept = set(files)
        for relative in files:
            if relative.parts[0] == "datasets":
                _copy_whole(source / relative, vault.root / relative)
        rewrite(vault.ledger_path, source / FILE_NAME, root=str(vault.places.workspace))
        # Only what was there at first: an add at work right now may have stored objects meanwhile.
        for relative in before:
            if (_is_object(relative) or relative.parts[0] == "datasets") and relative not in kept:
                (vault.root / relative).unlink(missing_ok=True)


def _is_object(relative: PurePosixPath) -> bool:
    return relative.parts[:2] == (".dvc", "cache") or relative.parts[0] not in (
        ".dvc",
        "datasets",
        FILE_NAME,
    )


def _files(root: Path) -> Iterator[PurePosixPath]:
    for directory, names, files in os.walk(root):
        names.sort()
        here = PurePosixPath(Path(directory).relative_to(root).as_posix())
        for name in sorted(files):
            relative = here / name
            temporary = name.endswith(".tmp") and name.startswith(".")
            if not temporary and not any(relative.is_relative_to(path) for path in _LEFT_OUT):
                yield relative


def _copy(source: Path, destination: Path, *, link: bool = False) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with contextlib.suppress(OSError):  # a file system without hard links
            destination.hardlink_to(source)
            return
    shutil.copy2(source, destination)


def _copy_whole(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        shutil.copy2(source, temporary)
        temporary.replace(destination)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
