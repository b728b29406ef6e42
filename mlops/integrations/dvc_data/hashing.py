"""Hashing and copying in one pass, so that the bytes kept are the bytes the hash was made from."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20
# An object's path is made of its hash, so a hash read from a file or a remote must be one.
FULL_HASH: Final = re.compile(r"[0-9a-f]{32}(?:\.dir)?")


def file_md5(path: Path) -> str:
    """Return a file's md5 as DVC computes it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def copy_and_hash(source: Path, destination: Path, *, progress: Callable[[int], None] | None = None) -> str:
    """Copy a file's content to a new file and return its md5.

    Args:
        source: The file to read.
        destination: The file to create; it must not exist.
        progress: Called with the bytes of each block.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with source.open("rb", buffering=0) as reader, destination.open("xb") as writer:
        # Python allocates as much as it is asked to read, which for many small files is most of the time.
        block_size = min(_BLOCK, os.fstat(reader.fileno()).st_size + 1)
        while block := reader.read(block_size):
            digest.update(block)
            writer.write(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()
