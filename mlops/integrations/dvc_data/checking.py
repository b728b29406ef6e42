"""``status`` and ``verify``: how sources compare with versions, and whether the stored bytes are whole."""

from __future__ import annotations

from pathlib import Path

from mlops.errors import IntegrationError
from mlops.integrations.dvc_data import snapshot
from mlops.integrations.dvc_data.hashing import file_md5
from mlops.integrations.dvc_data.index import read_index
from mlops.integrations.dvc_data.listing import parse_listing
from mlops.integrations.dvc_data.object_directory import ObjectDirectory
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import DatasetStatus, DataState, VerifyResult

_MAX_CHANGES = 20


def status(vault: Vault, operation: Operation) -> list[DatasetStatus]:
    """Return the state of every dataset; see ``DVCData.status``."""
    ledger = vault.ledger(operation)
    remote = vault.remote(operation)
    pointers = vault.pointers(ledger)
    versions: dict[str, set[str]] = {}
    for entry in ledger.entries:
        versions.setdefault(entry.name, set()).add(entry.md5)
    result = []
    for name, head in ledger.heads().items():
        path = vault.places.locate(head.source)
        state, on_disk, changes = _compare(vault, name, path, versions[name], pointers, operation)
        pushed = ledger.pushed.get(remote.identity, set())
        result.append(
            DatasetStatus(
                name=name,
                path=path,
                state=state,
                version=vault.version(head, ledger, remote),
                on_disk=on_disk,
                pushed=head.md5 in pushed,
                versions=len(versions[name]),
                unpushed=len(versions[name] - pushed),
                changes=tuple(changes[:_MAX_CHANGES]),
            )
        )
    return result


def _compare(
    vault: Vault,
    name: str,
    path: Path,
    versions: set[str],
    pointers: frozenset[Path],
    operation: Operation,
) -> tuple[DataState, str | None, list[str]]:
    """Return a source's state, the version it holds, and what changed since it held one."""
    index = read_index(vault.slot(name))
    try:
        seen = snapshot.take(path, operation, pointers=pointers)
    except IntegrationError:
        # A link or a pipe that appeared in the source: add will refuse it by name, and it is a change.
        return DataState.MODIFIED, None, []
    if seen is None:
        return DataState.MISSING, None, []
    if index is None or index.md5 not in versions:
        return DataState.MODIFIED, None, []
    if changes := seen.changes(index.snapshot, exact=False):
        return DataState.MODIFIED, None, changes
    return DataState.CLEAN, index.md5, []


def verify(vault: Vault, operation: Operation) -> VerifyResult:
    """Read every stored object again; see ``DVCData.verify``."""
    entries = vault.ledger(operation).versions()
    if not entries:
        return VerifyResult(0, (), ())
    from mlops.integrations.dvc_data.objects import ObjectStore

    remote = vault.remote(operation)
    reader = _Reader()
    places = [vault.cache]
    if remote.path is not None:
        places.append(ObjectDirectory(remote.path / "files" / "md5"))

    def copies(md5: str) -> list[Path]:
        return [place.path(md5) for place in places if reader.whole(place.path(md5), md5)]

    unsure: dict[str, list[str]] = {}
    for entry in entries:
        label = f"{entry.name}@{entry.md5}"
        listings = copies(entry.md5)
        if not listings:
            unsure.setdefault(entry.md5, []).append(label)
        elif entry.md5.endswith(".dir"):
            files = parse_listing(listings[0].read_bytes()) or {}
            for name, md5 in files.items():
                if not copies(md5):
                    unsure.setdefault(md5, []).append(f"{name} of {label}")
    if unsure and remote.path is None:
        gone = ObjectStore(vault, remote, operation).remote.missing(unsure)
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
