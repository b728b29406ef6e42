"""Append-only records: one JSON line per check and per alert, readable without Evidently."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HISTORY_FILE: Final = "history.jsonl"
ALERTS_FILE: Final = "alerts.jsonl"
# Ends every record, so that a line cut short by a crash is never taken for a whole one.
_END: Final = b',"schema_version":1}'
_HEAD: Final = re.compile(
    rb'\{"snapshot_id":"([^"]+)","model":(?:null|"([^"]*)"),"checked_at":"([^"]+)","drift_detected":(true|false)'
)


@dataclass(slots=True)
class Counts:
    """What a history holds, found without parsing it.

    Args:
        checks: Number of checks.
        drifted: Number of checks that found drift.
        latest: Model (None for none) to the id of its latest check.
        last: The latest check's line, or None.
    """

    checks: int = 0
    drifted: int = 0
    latest: dict[str | None, str] = field(default_factory=dict)
    last: bytes | None = None


def append(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add records with one write; the caller holds the project's lock.

    Args:
        path: The file, created if need be.
        records: Plain JSON values.
    """
    lines = b"".join(_line(record) for record in records)
    with path.open("ab+") as stream:
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":
                # A crash cut the last line short; the next record must not become part of it.
                lines = b"\n" + lines
        stream.write(lines)
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records, oldest first; a line cut short by a crash is left out."""
    return [parse(line) for line in _whole_lines(path)]


def parse(line: bytes) -> dict[str, Any]:
    """Return one record."""
    record: dict[str, Any] = json.loads(line)
    return record


def count(path: Path) -> Counts:
    """Count the checks in a history."""
    counts = Counts()
    for line in _whole_lines(path):
        if head := _HEAD.match(line):
            counts.checks += 1
            counts.drifted += head[4] == b"true"
            counts.latest[head[2].decode() if head[2] is not None else None] = head[1].decode()
            counts.last = line
    return counts


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n"):
        if line.startswith(b"{") and line.endswith(_END):
            yield line


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps({**record, "schema_version": 1}, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"
