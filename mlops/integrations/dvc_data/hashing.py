"""Hashing and copying in one pass, so that the bytes kept are the bytes the hash was made from."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

_BLOCK: Final = 1 << 20
# An object's path is made of its hash, so a hash read from a file or a remote must be one.
FULL_HASH: Final = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
Advance = Callable[[int], None]


def file_md5(path: Path | str, *, advance: Advance | None = None) -> str:
    """Return a file's md5 as DVC computes it.

    Args:
        path: The file.
        advance: Called with the bytes of each block.
    """
    with Path(path).open("rb", buffering=0) as stream:
        return stream_md5(stream, size=os.fstat(stream.fileno()).st_size, advance=advance)


def stream_md5(stream: BinaryIO, *, size: int, advance: Advance | None = None) -> str:
    """Return the md5 of what a stream yields.

    Args:
        stream: An open stream.
        size: The bytes it is thought to have.
        advance: Called with the bytes of each block.
    """
    digest = hashlib.md5(usedforsecurity=False)
    block_size = _block_size(size)
    while block := stream.read(block_size):
        digest.update(block)
        if advance is not None:
            advance(len(block))
    return digest.hexdigest()


def copy_file(
    source: Path | str,
    destination: Path | str,
    *,
    hashing: bool = True,
    advance: Advance | None = None,
    finish: Callable[[int], None] | None = None,
) -> str | None:
    """Copy a file's content to a new file and return its md5.

    Args:
        source: The file to read.
        destination: The file to create; it must not exist.
        hashing: False where the hash is not wanted; None is returned then.
        advance: Called with the bytes of each block.
        finish: Called with the new file's descriptor when all is written.
    """
    # System calls rather than streams: of 10,000 small files Python's own layers are most of the time.
    digest = hashlib.md5(usedforsecurity=False) if hashing else None
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writer = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            block_size = _block_size(os.fstat(reader).st_size)
            while block := os.read(reader, block_size):
                if digest is not None:
                    digest.update(block)
                _write(writer, block)
                if advance is not None:
                    advance(len(block))
            if finish is not None:
                finish(writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)
    return None if digest is None else digest.hexdigest()


def _block_size(size: int) -> int:
    # Python allocates as much as it is asked to read.
    return min(_BLOCK, size + 1)


def _write(descriptor: int, block: bytes) -> None:
    written = os.write(descriptor, block)
    while written < len(block):
        # The system may take a part of what it is given; the rest then fails with the reason or succeeds.
        written += os.write(descriptor, memoryview(block)[written:])
