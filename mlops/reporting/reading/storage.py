"""One walk through a workspace: what its parts cost, and what tells whether anything in it has changed."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
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
        filled: The names in the workspace that are anything else than an empty directory.
    """

    total_bytes: int
    by_directory: Mapping[str, int]
    paths: list[str]
    state: bytes
    changed_at: int
    linked: bool
    filled: frozenset[str]


def walk(root: Path) -> Walk:
    """Walk through a workspace; what vanishes meanwhile is left out.

    Args:
        root: The workspace's directory.
    """
    top, pack = f"{root}/", _pack
    paths: list[str] = []
    # The stat of a directory comes before its listing: what is added in between then differs next time.
    stats = [_state(root.stat())]
    sizes: defaultdict[str, int] = defaultdict(int)
    seen: set[tuple[int, int]] = set()
    seen_in: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    total = changed_at = 0
    linked = False
    filled: set[str] = set()
    pending = [("", "")]
    while pending:
        prefix, part = pending.pop()
        try:
            entries = os.scandir(top + prefix)
        except (FileNotFoundError, NotADirectoryError):
            continue
        within, before = 0, len(paths)
        with entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                changed = stat.st_ctime_ns
                if changed > changed_at:
                    changed_at = changed
                path = prefix + entry.name
                paths.append(path)
                stats.append(pack(stat.st_mtime_ns, changed, stat.st_size, stat.st_ino))
                if entry.is_dir(follow_symlinks=False):
                    pending.append((path + "/", part or entry.name))
                    continue
                if not part:
                    filled.add(entry.name)
                if stat.st_nlink == 1:
                    within += stat.st_size
                    linked = linked or (part != _OWN and entry.is_symlink())
                else:
                    identity = (stat.st_dev, stat.st_ino)
                    if identity not in seen_in[part]:
                        sizes[part] += stat.st_size
                        seen_in[part].add(identity)
                    if identity not in seen:
                        total += stat.st_size
                        seen.add(identity)
        total += within
        sizes[part] += within
        if len(paths) > before:
            filled.add(part)
    by_directory = {name: sizes[name] for name in DIRECTORIES}
    if linked:
        linked_parts = (name for name in DIRECTORIES if (root / name).is_symlink())
        by_directory |= {name: measure(root / name).bytes for name in linked_parts}
    return Walk(total, by_directory, paths, _digest(stats), changed_at, linked, frozenset(filled))


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
