"""One walk over a workspace's directory: its links, files that have other names too, and what was left."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# What this library and DVC call a file until it is renamed into place.
_TEMPORARY: Final = re.compile(r"\.(?:.+\.)?[0-9a-f]{32}\.tmp|\.[\w-]{22}\.tmp")
_WRITABLE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

# Device and inode.
Identity = tuple[int, int]


@dataclass(slots=True)
class Tree:
    """What one walk found.

    Args:
        links: Symbolic links, to files and directories; none is followed.
        elsewhere: Files that can be written to and have a name outside of this directory too.
        temporary: Files that were being written, with the time of their last change in seconds since 1970.
    """

    links: list[Path] = field(default_factory=list)
    elsewhere: dict[Identity, Path] = field(default_factory=dict)
    temporary: dict[Path, float] = field(default_factory=dict)


def walk(root: Path) -> Tree:
    """Look through a directory.

    Args:
        root: The directory; a link to one is reported and not followed.
    """
    tree = Tree()
    if root.is_symlink():
        tree.links.append(root)
        return tree
    names: Counter[Identity] = Counter()
    counts: dict[Identity, int] = {}
    for entry in _entries(root):
        if entry.is_symlink():
            tree.links.append(Path(entry.path))
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if _TEMPORARY.fullmatch(entry.name):
            tree.temporary[Path(entry.path)] = status.st_mtime
        if status.st_nlink > 1 and status.st_mode & _WRITABLE and stat.S_ISREG(status.st_mode):
            identity = status.st_dev, status.st_ino
            names[identity] += 1
            counts[identity] = status.st_nlink
            tree.elsewhere.setdefault(identity, Path(entry.path))
    for identity, count in counts.items():
        if names[identity] == count:
            del tree.elsewhere[identity]
    return tree


def newest_change(path: Path) -> float:
    """Return when anything at or below a path was last changed, in seconds since 1970; 0 if it is gone.

    Args:
        path: A file or directory.
    """
    try:
        newest = path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
    if path.is_dir() and not path.is_symlink():
        for entry in _entries(path, directories=True):
            try:
                newest = max(newest, entry.stat(follow_symlinks=False).st_mtime)
            except FileNotFoundError:
                continue
    return newest


def _entries(root: Path, *, directories: bool = False) -> Iterator[os.DirEntry[str]]:
    """Yield what is below a directory, and the directories themselves if they are asked for."""
    pending = [str(root)]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except OSError:
            continue  # gone meanwhile, or unreadable, which the tool it belongs to finds
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    if directories:
                        yield entry
                else:
                    yield entry
