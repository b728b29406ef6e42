"""What the last add or restore left in a source: each file's stat and hash, kept in the dataset's slot.

It is a cache: it saves reading files again, and can be rebuilt by the next add. The ledger is the record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlops.files import write_atomic
from mlops.integrations.dvc_data.snapshot import FileStat, Snapshot

FILE_NAME: Final = "files.json"


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """The files of one source, with their hashes.

    Args:
        md5: The version they make up.
        snapshot: The walk they were seen in.
        hashes: Relative path to md5.
    """

    md5: str
    snapshot: Snapshot
    hashes: dict[str, str]

    def unchanged(self, name: str, entry: FileStat) -> str | None:
        """Return the hash of a file that was not touched since, or None."""
        return self.hashes[name] if self.snapshot.files.get(name) == entry else None


def read_index(slot: Path) -> SourceIndex | None:
    """Read a slot's index; None if there is none that can be understood: the data is read again then."""
    try:
        values = json.loads((slot / FILE_NAME).read_bytes())
        files = {name: FileStat(*map(int, entry[:4])) for name, entry in values["files"].items()}
        hashes = {name: str(entry[4]) for name, entry in values["files"].items()}
        return SourceIndex(str(values["md5"]), Snapshot(bool(values["directory"]), files), hashes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def write_index(slot: Path, index: SourceIndex) -> None:
    """Write a slot's index whole or not at all."""
    values = {
        "md5": index.md5,
        "directory": index.snapshot.directory,
        "files": {name: [*entry, index.hashes[name]] for name, entry in index.snapshot.files.items()},
    }
    write_atomic(slot / FILE_NAME, json.dumps(values, separators=(",", ":")))
