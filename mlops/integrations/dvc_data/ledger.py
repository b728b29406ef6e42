"""The record of every version ever added: one JSON object per line, only ever appended to.

It is read without DVC. A line counts once its newline is there, so a process killed while appending leaves
the ledger as it was before; the next writer removes what it left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlops.errors import DataIntegrityError
from mlops.files import write_atomic
from mlops.integrations.dvc_data.hashing import FULL_HASH
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.places import Source

FILE_NAME: Final = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version that was added.

    Args:
        name: The dataset.
        source: Where it was added from.
        md5: Hash of the content.
        size: Bytes.
        files: Number of files.
        added_at: When, aware.
    """

    name: str
    source: Source
    md5: str
    size: int
    files: int
    added_at: datetime

    def to_event(self) -> dict[str, Any]:
        """Return the line's object."""
        return {
            "event": "added",
            "name": self.name,
            "md5": self.md5,
            "size": self.size,
            "files": self.files,
            "source": self.source.to_dict(),
            "at": self.added_at.isoformat(),
        }


@dataclass(slots=True)
class Ledger:
    """The ledger's content at one moment.

    Args:
        entries: The versions in the order they were added; one that was added again is there again.
        pushed: Per remote, the md5s it was seen to hold completely.
    """

    entries: list[Entry] = field(default_factory=list)
    pushed: dict[str, set[str]] = field(default_factory=dict)

    def heads(self) -> dict[str, Entry]:
        """Return the version added last, per dataset, sorted by name."""
        last = {entry.name: entry for entry in self.entries}
        return {name: last[name] for name in sorted(last)}

    def sources(self) -> dict[str, Source]:
        """Return where each dataset was last added from."""
        return {entry.name: entry.source for entry in self.entries}

    def versions(self, name: str | None = None) -> list[Entry]:
        """Return the different versions, of one dataset or all, oldest first by when each was last added."""
        latest: dict[tuple[str, str], Entry] = {}
        for entry in self.entries:
            if name is None or entry.name == name:
                latest.pop((entry.name, entry.md5), None)
                latest[entry.name, entry.md5] = entry
        return list(latest.values())

    def matching(self, prefix: str) -> list[Entry]:
        """Return the versions whose hash is, or else starts with, ``prefix``."""
        versions = self.versions()
        exact = [entry for entry in versions if prefix in (entry.md5, entry.md5.removesuffix(".dir"))]
        return exact or [entry for entry in versions if entry.md5.startswith(prefix)]


def read_ledger(path: Path, operation: Operation) -> Ledger:
    """Read the ledger; an absent one is empty.

    Raises:
        DataIntegrityError: A line cannot be understood.
    """
    ledger = Ledger()
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return ledger
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
            if event["event"] == "added":
                ledger.entries.append(_entry(event))
            elif event["event"] == "pushed":
                ledger.pushed.setdefault(str(event["remote"]), set()).update(map(str, event["md5s"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise operation.error(
                DataIntegrityError,
                f"Line {number} of {path} cannot be understood: {error}",
                hint="restore the file from a backup, or remove that line; the data itself is not affected",
                details={"path": str(path), "line": number},
            ) from error
    return ledger


def append(path: Path, events: Iterable[Mapping[str, Any]]) -> None:
    """Append events; the caller holds the project's lock."""
    data = b"".join(_line(event) for event in events)
    with path.open("a+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        kept = _end_of_last_line(stream, end)
        if kept != end:
            stream.truncate(kept)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def pushed_event(remote: str, md5s: Iterable[str], at: datetime) -> dict[str, Any]:
    """Return the event that a remote was seen to hold versions completely."""
    return {"event": "pushed", "remote": remote, "md5s": sorted(md5s), "at": at.isoformat()}


def rewrite(path: Path, ledger: Ledger, *, root: str, at: datetime) -> None:
    """Write a ledger that came from an archive, marking absolute sources recorded by another workspace."""
    events = []
    for entry in ledger.entries:
        source = entry.source
        if source.anchor == "absolute" and source.root != root:
            source = replace(source, foreign=True)
        events.append(replace(entry, source=source).to_event())
    events += [pushed_event(remote, md5s, at) for remote, md5s in sorted(ledger.pushed.items())]
    write_atomic(path, b"".join(_line(event) for event in events))


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _end_of_last_line(stream: Any, end: int) -> int:
    block = 65536
    position = end
    while position > 0:
        start = max(0, position - block)
        stream.seek(start)
        found = stream.read(position - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        position = start
    return 0


def _entry(event: Mapping[str, Any]) -> Entry:
    added_at = datetime.fromisoformat(event["at"])
    if added_at.tzinfo is None:
        raise ValueError("the time has no zone")
    if not FULL_HASH.fullmatch(event["md5"]):
        raise ValueError(f"{event['md5']!r} is no md5")
    return Entry(
        name=str(event["name"]),
        source=Source.from_dict(event["source"]),
        md5=str(event["md5"]),
        size=int(event["size"]),
        files=int(event["files"]),
        added_at=added_at,
    )
