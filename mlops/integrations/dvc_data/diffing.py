"""``diff``: which files differ between two versions, by their hashes; tables are then read and compared."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mlops.errors import DataIntegrityError
from mlops.integrations.dvc_data.differences import DataDiff
from mlops.integrations.dvc_data.ledger import Entry, Ledger
from mlops.integrations.dvc_data.listing import describe_missing
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.tables import FORMATS, compare
from mlops.integrations.dvc_data.vault import Vault

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.objects import ObjectStore


def diff(vault: Vault, ledger: Ledger, before: Entry, after: Entry, operation: Operation) -> DataDiff:
    """Compare two versions; see ``DVCData.diff``."""
    from mlops.integrations.dvc_data.objects import ObjectStore

    location = vault.remote(operation)
    objects = ObjectStore(vault, location, operation)
    old, new = (_files(objects, entry, operation) for entry in (before, after))
    changed = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    tables = []
    for name in changed:
        # A dataset that is a file has no name inside itself; its own says what it is.
        paths = [name or vault.places.locate(entry.source).name for entry in (before, after)]
        kinds = [FORMATS.get(PurePosixPath(path).suffix.lower()) for path in paths]
        if kinds[0] is None or kinds[1] is None:
            continue
        _fetch(objects, before, {name: old[name]}, operation)
        _fetch(objects, after, {name: new[name]}, operation)
        tables.append(
            compare(
                paths[1], (vault.cache.path(old[name]), kinds[0]), (vault.cache.path(new[name]), kinds[1])
            )
        )
    shown = vault.places.locate(after.source).name

    def named(names: set[str] | list[str]) -> tuple[str, ...]:
        return tuple(sorted(name or shown for name in names))

    return DataDiff(
        before=vault.version(before, ledger, location),
        after=vault.version(after, ledger, location),
        added=named(new.keys() - old.keys()),
        removed=named(old.keys() - new.keys()),
        changed=named(changed),
        tables=tuple(tables),
    )


def _files(objects: ObjectStore, entry: Entry, operation: Operation) -> dict[str, str]:
    files = objects.files_of(entry.md5)
    if files is None:
        objects.download([entry.md5], Meter())
        files = objects.files_of(entry.md5)
    if files is None:
        raise _lost(entry, None, {entry.md5}, operation)
    return files


def _fetch(objects: ObjectStore, entry: Entry, files: dict[str, str], operation: Operation) -> None:
    if gone := objects.download(files.values(), Meter()):
        raise _lost(entry, files, gone, operation)


def _lost(
    entry: Entry, files: dict[str, str] | None, gone: set[str], operation: Operation
) -> DataIntegrityError:
    from mlops.integrations.dvc_data.objects import refuse_missing

    labels = describe_missing([entry], {entry.md5: files}, gone)
    return refuse_missing(labels, operation, hint="verify() says what is whole; push(repair=True) mends it")
