"""Append-only files of one JSON object per line: what is there is never rewritten, so it is never lost.

A line counts once its newline is there. A process killed while it appends leaves the file as it was before;
the next writer removes what it left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, Final

_BLOCK: Final = 65536


@dataclass(frozen=True, slots=True)
class Line:
    """One whole line of a file.

    Args:
        number: Its number, from 1.
        value: The object, or None if the line cannot be understood.
        error: Why not, or None.
    """

    number: int
    value: dict[str, Any] | None
    error: str | None = None


def encode(value: Mapping[str, Any]) -> bytes:
    """Return a value as a line.

    Raises:
        TypeError: It is not plain JSON.
        ValueError: It has a number JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def append(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Append objects with one durable write; the caller holds the lock of the file.

    Args:
        path: The file, created if need be; its directory must exist.
        values: Plain JSON values.
    """
    data = b"".join(encode(value) for value in values)
    if not data:
        return
    with path.open("a+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        kept = _end_of_last_line(stream, end)
        if kept != end:
            stream.truncate(kept)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path) -> Iterator[Line]:
    """Yield the whole lines of a file; none where there is no file.

    Args:
        path: The file.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            yield Line(number, None, str(error))
            continue
        if isinstance(value, dict):
            yield Line(number, value)
        else:
            yield Line(number, None, f"it is no object but a {type(value).__name__}")


def _end_of_last_line(stream: BufferedRandom, end: int) -> int:
    position = end
    while position > 0:
        start = max(0, position - _BLOCK)
        stream.seek(start)
        found = stream.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
