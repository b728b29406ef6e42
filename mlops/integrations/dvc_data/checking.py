"""``status`` and ``verify``: how sources compare with versions, and whether the stored bytes are whole."""

from __future__ import annotations

import json
from pathlib import Path

from mlops.errors import IntegrationError
from mlops.integrations.dvc_data import snapshot
from mlops.integrations.dvc_data.hashing import file_md5
from mlops.integrations.dvc_data.index import read_index
from mlops.integrations.dvc_data.ledger import Entry, Ledger
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.remote import RemoteLocation
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import DatasetStatus, DataState, VerifyResult

_MAX_CHANGES = 20


def status(vault: Vault, operation: Operation) -> list[DatasetStatus]:
    """Return the state of every dataset; see ``DVCData.status``."""
    ledger = vault.ledger(operation)
    remote = vault.remote(operation)
    return [_status(vault, entry, ledger, remote, operation) for entry in ledger.heads().values()]


def _status(
    vault: Vault, head: Entry, ledger: Ledger, remote: RemoteLocation, operation: Operation
) -> DatasetStatus:
    path = vault.places.locate(head.source)
    versions = {entry.md5 for entry in ledger.versions(head.name)}
    pushed = ledger.pushed.get(remote.identity, set())
    index = read_index(vault.slot(head.name))
    changes: list[str] = []
    on_disk = None
    try:
        seen = snapshot.take(path, operation, pointers=vault.pointers(ledger))
    except IntegrationError:
        # A link or a pipe that appeared in the source: add will refuse it by name, and it is a change.
        state = DataState.MODIFIED
    else:
        if seen is None:
            state = DataState.MISSING
        elif index is None or index.md5 not in versions:
            state = DataState.MODIFIED
        else:
            changes = seen.changes(index.snapshot, exact=False)
            state = DataState.MODIFIED if changes else DataState.CLEAN
            on_disk = None if changes else index.md5
    return DatasetStatus(
        name=head.name,
        path=path,
        state=state,
        version=vault.version(head, ledger, remote),
        on_disk=on_disk,
        pushed=head.md5 in pushed,
        versions=len(versions),
        unpushed=len(versions - pushed),
        changes=tuple(changes[:_MAX_CHANGES]),
    )


def verify(vault: Vault, operation: Operation) -> VerifyResult:
    """Read every stored object again; see ``DVCData.verify``."""
    entries = vault.ledger(operation).versions()
    if not entries:
        return VerifyResult(0, (), ())
    from mlops.integrations.dvc_data.objects import ObjectStore

    remote = vault.remote(operation)
    reader = _Reader()
    remote_files = remote.path / "files" / "md5" if remote.path is not None else None

    def copies(md5: str) -> list[Path]:
        roots = [vault.cache] + ([remote_files] if remote_files is not None else [])
        return [path for root in roots if reader.whole(path := root / md5[:2] / md5[2:], md5)]

    unsure: dict[str, list[str]] = {}
    for entry in entries:
        label = f"{entry.name}@{entry.md5}"
        listings = copies(entry.md5)
        if not listings:
            unsure.setdefault(entry.md5, []).append(label)
        elif entry.md5.endswith(".dir"):
            for item in json.loads(listings[0].read_bytes()):
                if not copies(item["md5"]):
                    unsure.setdefault(item["md5"], []).append(f"{item['relpath']} of {label}")
    if unsure and remote.path is None:
        gone = ObjectStore(vault, remote, operation).missing_remotely(unsure)
        unsure = {md5: labels for md5, labels in unsure.items() if md5 in gone}
    missing = sorted(label for labels in unsure.values() for label in labels)
    return VerifyResult(reader.count, tuple(sorted(reader.damaged)), tuple(missing))


class _Reader:
    """Hashes each object once."""

    def __init__(self) -> None:
        self.count = 0
        self.damaged: list[str] = []
        self._seen: dict[Path, bool] = {}

    def whole(self, path: Path, md5: str) -> bool:
        if path not in self._seen:
            self._seen[path] = self._read(path, md5)
        return self._seen[path]

    def _read(self, path: Path, md5: str) -> bool:
        try:
            actual = file_md5(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.count += 1
        if actual != md5.removesuffix(".dir"):
            self.damaged.append(str(path))
            return False
        return True
