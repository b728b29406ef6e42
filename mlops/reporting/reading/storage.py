"""One walk through a workspace: what its parts cost, and what tells whether anything in it has changed."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from mlops.files import measure
from mlops.workspace.model import DIRECTORIES

_pack: Final = struct.Struct("<qqqQ").pack
# Links below this one are the user's and lead to nothing that a report looks at.
_OWN: Final = "outputs"


@dataclass(slots=True)
class Walk:
    """What a walk found.

    Args:
        total_bytes: The whole workspace, hard links counted once.
        by_directory: Bytes of each part, hard links counted once in each.
        paths: Everything there is, relative to the workspace, in the order of the walk.
        state: Digest of the times, sizes and inodes of all of it.
        changed_at: The latest change of anything, in nanoseconds since the epoch.
        linked: Whether a symbolic link leads somewhere that the digest knows nothing of.
    """

    total_bytes: int
    by_directory: Mapping[str, int]
    paths: list[str]
    state: bytes
    changed_at: int
    linked: bool


def walk(root: Path) -> Walk:
    """Walk through a workspace; what vanishes meanwhile is left out.

    Args:
        root: The workspace's directory.
    """
    top = str(root)
    paths: list[str] = []
    stats: list[bytes] = []
    by_directory = dict.fromkeys(DIRECTORIES, 0)
    seen: set[tuple[int, int]] = set()
    total = changed_at = 0
    linked = False
    # The stat of a directory comes before its listing: what is added in between then differs next time.
    stats.append(_state(root.stat()))
    pending = [("", "")]
    seen_in: dict[str, set[tuple[int, int]]] = {}
    while pending:
        relative, part = pending.pop()
        try:
            entries = os.scandir(f"{top}/{relative}" if relative else top)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                    directory = entry.is_dir(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                path = f"{relative}/{entry.name}" if relative else entry.name
                paths.append(path)
                stats.append(_state(stat))
                changed_at = max(changed_at, stat.st_ctime_ns)
                if directory:
                    pending.append((path, part or entry.name))
                    continue
                if entry.is_symlink():
                    linked = linked or part != _OWN
                size = stat.st_size
                if stat.st_nlink > 1:
                    identity = (stat.st_dev, stat.st_ino)
                    mine = seen_in.setdefault(part, set())
                    if part in by_directory and identity not in mine:
                        by_directory[part] += size
                    mine.add(identity)
                    if identity in seen:
                        continue
                    seen.add(identity)
                elif part in by_directory:
                    by_directory[part] += size
                total += size
    for name in DIRECTORIES:
        if (root / name).is_symlink():
            by_directory[name] = measure(root / name).bytes
    return Walk(total, by_directory, paths, _digest(stats), changed_at, linked)


def state_of(root: Path, paths: Iterable[str]) -> bytes | None:
    """Return the digest that ``walk`` would give if nothing had changed; None if something is gone.

    Args:
        root: The workspace's directory.
        paths: Those of a walk, in its order.
    """
    top = f"{root}/"
    lstat, pack = os.lstat, _pack
    try:
        stats = [_state(root.stat())]
        for path in paths:
            stat = lstat(top + path)
            stats.append(pack(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _digest(stats)


def _state(stat: os.stat_result) -> bytes:
    return _pack(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)


def _digest(stats: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(stats), digest_size=16).digest()
