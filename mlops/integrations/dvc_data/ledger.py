"""The record of every version ever added: one JSON object per line, only ever appended to.

It is read without DVC. The events are ``added``, ``pushed`` (a remote was seen to hold versions completely),
``retired`` (gc took versions off the list, and says so before it removes anything), ``dropped`` (gc takes
objects of retired versions out of a remote) and ``copied`` (another project took a version over).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlops import jsonlines
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
        origin: The project it was copied from, or None.
    """

    name: str
    source: Source
    md5: str
    size: int
    files: int
    added_at: datetime
    origin: str | None = None

    def to_event(self) -> dict[str, Any]:
        """Return the line's object."""
        event = {
            "event": "added",
            "name": self.name,
            "md5": self.md5,
            "size": self.size,
            "files": self.files,
            "source": self.source.to_dict(),
            "at": self.added_at.isoformat(),
        }
        return event if self.origin is None else event | {"origin": self.origin}


@dataclass(slots=True)
class Ledger:
    """The ledger's content at one moment.

    Args:
        entries: The versions in the order they were added; one that was added again is there again.
        pushed: Per remote, the md5s it was seen to hold completely.
        retired: The versions that gc took off the list, with the time, by name and md5.
        copies: Which version went to which project: dataset, md5, project.
        drops: How often objects were taken out of a remote.
    """

    entries: list[Entry] = field(default_factory=list)
    pushed: dict[str, set[str]] = field(default_factory=dict)
    retired: dict[tuple[str, str], tuple[Entry, datetime]] = field(default_factory=dict)
    copies: list[tuple[str, str, str]] = field(default_factory=list)
    drops: int = 0

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event, the way a reader of its line would.

        Raises:
            ValueError: Something in it is wrong; so do KeyError and TypeError say.
        """
        kind = event["event"]
        if kind == "added":
            entry = _entry(event)
            self.entries.append(entry)
            self.retired.pop((entry.name, entry.md5), None)
        elif kind == "pushed":
            self.pushed.setdefault(str(event["remote"]), set()).update(map(str, event["md5s"]))
        elif kind == "dropped":
            self.drops += 1
            self.pushed.get(str(event["remote"]), set()).difference_update(map(str, event["md5s"]))
        elif kind == "retired":
            self._retire({(str(name), str(md5)) for name, md5 in event["versions"]}, _time(event["at"]))
        elif kind == "copied":
            self.copies.append((str(event["name"]), str(event["md5"]), str(event["project"])))

    def _retire(self, versions: set[tuple[str, str]], at: datetime) -> None:
        for entry in self.entries:
            if (entry.name, entry.md5) in versions:
                self.retired[entry.name, entry.md5] = entry, at
        self.entries = [entry for entry in self.entries if (entry.name, entry.md5) not in versions]

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
    for line in jsonlines.read(path):
        problem: object = line.error
        if line.value is not None:
            try:
                ledger.apply(line.value)
                continue
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                problem = error
        raise operation.error(
            DataIntegrityError,
            f"Line {line.number} of {path} cannot be understood: {problem}",
            hint="restore the file from a backup, or remove that line; the data itself is not affected",
            details={"path": str(path), "line": line.number},
        )
    return ledger


def pushed_event(remote: str, md5s: Iterable[str], at: datetime) -> dict[str, Any]:
    """Return the event that a remote was seen to hold versions completely."""
    return {"event": "pushed", "remote": remote, "md5s": sorted(md5s), "at": at.isoformat()}


def dropped_event(remote: str, md5s: Iterable[str], at: datetime) -> dict[str, Any]:
    """Return the event that objects of retired versions are being taken out of a remote."""
    return {"event": "dropped", "remote": remote, "md5s": sorted(md5s), "at": at.isoformat()}


def retired_event(entries: Iterable[Entry], at: datetime) -> dict[str, Any]:
    """Return the event that versions are no longer listed, and may lose their objects from now on."""
    versions = [[entry.name, entry.md5] for entry in entries]
    return {"event": "retired", "versions": versions, "at": at.isoformat()}


def copied_event(entry: Entry, project: str, at: datetime) -> dict[str, Any]:
    """Return the event that another project took a version over."""
    return {
        "event": "copied",
        "name": entry.name,
        "md5": entry.md5,
        "project": project,
        "at": at.isoformat(),
    }


def rewrite(path: Path, incoming: Path, *, root: str) -> None:
    """Write a ledger that came from an archive, marking absolute sources recorded by another workspace.

    Args:
        path: The ledger to replace.
        incoming: The archive's, already read without an error.
        root: This workspace's directory.
    """
    events = []
    for line in jsonlines.read(incoming):
        event = line.value or {}
        if event.get("event") == "added":
            entry = _entry(event)
            if entry.source.anchor == "absolute" and entry.source.root != root:
                event = replace(entry, source=replace(entry.source, foreign=True)).to_event()
        events.append(event)
    write_atomic(path, b"".join(map(jsonlines.encode, events)))


def _entry(event: Mapping[str, Any]) -> Entry:
    if not FULL_HASH.fullmatch(event["md5"]):
        raise ValueError(f"{event['md5']!r} is no md5")
    return Entry(
        name=str(event["name"]),
        source=Source.from_dict(event["source"]),
        md5=str(event["md5"]),
        size=int(event["size"]),
        files=int(event["files"]),
        added_at=_time(event["at"]),
        origin=event.get("origin"),
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("the time has no zone")
    return time
