"""``pull``: put a version's exact bytes where they belong, without losing what only the user has."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import ConfirmationRequiredError, DataIntegrityError, IntegrationError, IsolationError
from mlops.integrations.dvc_data import snapshot
from mlops.integrations.dvc_data.adding import record
from mlops.integrations.dvc_data.hashing import copy_file, file_md5
from mlops.integrations.dvc_data.index import SourceIndex, read_index, write_index
from mlops.integrations.dvc_data.ledger import Entry, Ledger
from mlops.integrations.dvc_data.listing import listing_bytes, listing_md5
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.selection import Selected
from mlops.integrations.dvc_data.snapshot import FileStat, Snapshot
from mlops.integrations.dvc_data.vault import Vault, scratch
from mlops.integrations.dvc_data.versions import DataVersion
from mlops.workspace.room import require_room

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.objects import ObjectStore

_NAME_LENGTH = 80
# A rename keeps these; together they tell that a file is the one that was put there.
_Identity = tuple[int, int, int]


def pull(
    vault: Vault,
    selected: list[Selected],
    ledger: Ledger,
    operation: Operation,
    meter: Meter,
    *,
    destination: Path | None,
    force: bool,
) -> list[DataVersion]:
    """Restore versions; see ``DVCData.pull``. All places are checked before the first is written."""
    places = [(item, destination or _source(vault, item.entry, operation)) for item in selected]
    for _, target in places:
        vault.refuse_own_files(target, operation)
    meter.expect(sum(item.entry.size for item in selected))
    store: ObjectStore | None = None
    pointers = vault.pointers(ledger)
    result = []
    for item, target in places:
        entry = item.entry
        own = vault.places.locate(entry.source) == target
        index = read_index(vault.slot(entry.name)) if own else None
        present = snapshot.take(target, operation, pointers=pointers)
        if (
            present is not None
            and index is not None
            and index.md5 == entry.md5
            and not present.changes(index.snapshot, exact=True)
        ):
            meter.advance(entry.size)
        else:
            if store is None:
                from mlops.integrations.dvc_data.objects import ObjectStore

                store = ObjectStore(vault, vault.ensure(operation), operation)
            restorer = _Restorer(vault, store, ledger, pointers, operation, meter, target, present, index)
            with operation.storing(target):
                entry, restored = restorer.restore(entry, force=force)
            if item.adopt and restored is not None:
                ledger = record(vault, entry, restored, operation, pointer=False)
            elif own and item.recorded and restored is not None:
                with vault.lock(operation):
                    vault.slot(entry.name).mkdir(parents=True, exist_ok=True)
                    write_index(vault.slot(entry.name), restored)
        version = vault.version(entry, ledger, vault.remote(operation))
        result.append(version if item.recorded or item.adopt else replace(version, pushed=None))
    return result


def refuse_overwriting(
    vault: Vault, ledger: Ledger, entry: Entry, target: Path, operation: Operation
) -> None:
    """Raise if restoring a version there would lose content that no version holds.

    Args:
        vault: The vault, whose cache has the version.
        ledger: Its ledger.
        entry: The version.
        target: The place.
        operation: The calling method.

    Raises:
        ConfirmationRequiredError: It would.
    """
    from mlops.integrations.dvc_data.objects import ObjectStore

    pointers = vault.pointers(ledger)
    present = snapshot.take(target, operation, pointers=pointers)
    store = ObjectStore(vault, vault.remote(operation), operation)
    index = read_index(vault.slot(entry.name))
    _Restorer(vault, store, ledger, pointers, operation, Meter(), target, present, index).check(entry)


class _Restorer:
    """Restores one version to one place."""

    def __init__(
        self,
        vault: Vault,
        objects: ObjectStore,
        ledger: Ledger,
        pointers: frozenset[Path],
        operation: Operation,
        meter: Meter,
        target: Path,
        present: Snapshot | None,
        index: SourceIndex | None,
    ) -> None:
        self._vault = vault
        self._objects = objects
        self._ledger = ledger
        self._pointers = pointers
        self._operation = operation
        self._meter = meter
        self._target = target
        self._present = present
        self._index = index

    def restore(self, entry: Entry, *, force: bool) -> tuple[Entry, SourceIndex | None]:
        """Put the version there.

        Returns:
            The entry with its true size and number of files, and what the place now holds; None for that if
            somebody wrote there meanwhile.
        """
        wanted, kept, doomed = self._compare(entry)
        if doomed and not force:
            self._refuse_edits(doomed)
        missing = {name: md5 for name, md5 in wanted.items() if name not in kept}
        there = sum(self._files()[name].size for name in kept)
        self._meter.advance(there)
        require_room(
            self._vault.workspace,
            directory=self._vault.root.name,
            adding_bytes=lambda: self._fetched_bytes(entry.size - there, missing),
            operation=self._operation.name,
        )
        self._fetch(entry, missing)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        identities = {name: _identity(self._files()[name]) for name in kept}
        with scratch(self._target.parent, f".{self._target.name[:_NAME_LENGTH]}.mlops-pull.") as staging:
            staged = self._stage(entry, missing, staging)
            identities |= {name: _identity(path.stat()) for name, path in staged.items()}
            if not force:
                self._refuse_changes()
            self._replace(entry, staged, set(doomed) - set(staged))
        after = self._settled_snapshot()
        size = sum(identity[0] for identity in identities.values())
        entry = replace(entry, size=size, files=len(wanted))
        if {name: _identity(stat) for name, stat in after.files.items()} != identities:
            return entry, None
        return entry, SourceIndex(entry.md5, after, wanted)

    def check(self, entry: Entry) -> None:
        """Raise if something would be overwritten or removed that could not be restored."""
        if doomed := self._compare(entry)[2]:
            self._refuse_edits(doomed)

    def _files(self) -> dict[str, FileStat]:
        return self._present.files if self._present is not None else {}

    def _listing(self, entry: Entry) -> dict[str, str]:
        files = self._objects.files_of(entry.md5)
        if files is None:
            failed = self._objects.download([entry.md5], self._meter)
            files = None if failed else self._objects.files_of(entry.md5)
        if files is None:
            raise self._lost(entry, [f"the file list of {entry.name}@{entry.md5}"])
        return files

    def _compare(self, entry: Entry) -> tuple[dict[str, str], set[str], dict[str, str]]:
        """Return the version's files, which of them are there already, and what else is there."""
        wanted = self._listing(entry)
        existing = self._existing
        kept = {name for name, md5 in existing.items() if wanted.get(name) == md5}
        return wanted, kept, {name: md5 for name, md5 in existing.items() if name not in kept}

    @cached_property
    def _existing(self) -> dict[str, str]:
        hashes = {}
        for name, stat in self._files().items():
            known = self._index.unchanged(name, stat) if self._index is not None else None
            hashes[name] = known or file_md5(self._target / name if name else self._target)
        return hashes

    def _refuse_edits(self, doomed: dict[str, str]) -> None:
        edits = {name: md5 for name, md5 in doomed.items() if not self._held(name, md5)}
        if edits:
            saved = self._saved()
            edits = {name: md5 for name, md5 in edits.items() if md5 not in saved}
        if edits:
            names = sorted(edits)
            first = self._target / names[0] if names[0] else self._target
            more = f" (and {len(names) - 1} more files)" if len(names) > 1 else ""
            raise self._operation.error(
                ConfirmationRequiredError,
                f"{first}{more} has content that no version holds, so it is not overwritten",
                hint="add it first, pull to another destination, or pass force=True to lose it",
                details={"files": names[:20]},
            )

    @cached_property
    def _pushed(self) -> set[str]:
        return self._ledger.pushed.get(self._vault.remote(self._operation).identity, set())

    def _held(self, name: str, md5: str) -> bool:
        """Say whether a file is as the listed version has it that was put there last."""
        index = self._index
        if index is None or index.hashes.get(name) != md5:
            return False
        listed = any(entry.md5 == index.md5 for entry in self._ledger.entries)
        return listed and (index.md5 in self._pushed or self._objects.cache.size(md5) is not None)

    def _saved(self) -> set[str]:
        """Return every object that some version can be restored with.

        The cache alone does not count: what no version lists, an add that was killed left there.
        """
        saved = set(self._pushed)
        if "" not in self._existing and (whole := listing_md5(listing_bytes(self._existing))) in saved:
            return {whole, *self._existing.values()}
        for md5 in self._pushed.union(entry.md5 for entry in self._ledger.entries):
            files = set((self._objects.files_of(md5) or {}).values())
            if md5 not in self._pushed:
                files = {file for file in files if self._objects.cache.size(file) is not None}
            saved |= files
        return saved

    def _refuse_changes(self) -> None:
        now = snapshot.take(self._target, self._operation, pointers=self._pointers)
        before = self._present if self._present is not None else Snapshot(False, {})
        if changes := (now if now is not None else Snapshot(False, {})).changes(before, exact=True):
            first = self._target / changes[0] if changes[0] else self._target
            raise self._operation.error(
                DataIntegrityError,
                f"{first} changed while the version was being fetched, so nothing was restored",
                hint="pull again when nothing writes to it",
            )

    def _fetched_bytes(self, size: int, missing: dict[str, str]) -> int:
        """Return what comes into the cache, of files with that size together; equal ones count each."""
        cached = [self._objects.cache.size(md5) for md5 in missing.values()]
        return size - sum(each or 0 for each in cached) if None in cached else 0

    def _fetch(self, entry: Entry, missing: dict[str, str]) -> None:
        failed = self._objects.download(set(missing.values()), self._meter)
        lost = [_label(entry, name) for name, md5 in sorted(missing.items()) if md5 in failed]
        if lost:
            raise self._lost(entry, lost)

    def _stage(self, entry: Entry, missing: dict[str, str], staging: Path) -> dict[str, Path]:
        staged = {}
        for number, (name, md5) in enumerate(missing.items()):
            copy = Path(f"{staging}/{number}")
            # A damaged cached object is set aside by the first try; the remote may have it whole.
            if not self._copy(md5, copy) and (
                self._objects.download([md5], self._meter) or not self._copy(md5, copy)
            ):
                raise self._lost(entry, [_label(entry, name)])
            if name in self._files():
                present = self._target / name if name else self._target
                if not present.is_symlink():
                    shutil.copymode(present, copy)
            staged[name] = copy
        return staged

    def _copy(self, md5: str, copy: Path) -> bool:
        try:
            if copy_file(self._vault.cache.path(md5), copy, advance=self._meter.advance) == md5:
                return True
        except FileNotFoundError:
            # A gc that ran meanwhile knows nothing of a version fetched by its md5 alone.
            return False
        copy.unlink()
        self._objects.set_aside(md5)
        return False

    def _replace(self, entry: Entry, staged: dict[str, Path], removed: set[str]) -> None:
        # Every step leaves whole files that can be restored: a pull that was cut off is finished by another.
        target = self._target
        for name in removed:
            path = target / name if name else target
            path.unlink()
            for parent in path.parents:
                if not name or parent == target or any(parent.iterdir()):
                    break
                parent.rmdir()
        if entry.md5.endswith(".dir"):
            if target.is_file():
                target.unlink()
            target.mkdir(exist_ok=True)
        made: set[str] = set()
        for name, copy in staged.items():
            path = Path(f"{target}/{name}") if name else target
            if (folder := name.rpartition("/")[0]) not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(folder)
            try:
                copy.replace(path)
            except IsADirectoryError:
                self._remove_empty(path)
                copy.replace(path)

    def _remove_empty(self, path: Path) -> None:
        for directory, _, files in os.walk(path, topdown=False):
            if files:
                raise self._operation.error(
                    IntegrationError,
                    f"A file is to take the place of the directory {path}, which has files of no version",
                    hint="move the directory away, or pull to another destination",
                )
            Path(directory).rmdir()

    def _settled_snapshot(self) -> Snapshot:
        after = snapshot.take(self._target, self._operation, pointers=self._pointers)
        if after is not None and not snapshot.settled(after):
            after = snapshot.take(self._target, self._operation, pointers=self._pointers)
        return after if after is not None else Snapshot(False, {})

    def _lost(self, entry: Entry, labels: list[str]) -> DataIntegrityError:
        from mlops.integrations.dvc_data.objects import refuse_missing

        hint = "push it again from a workspace that still has it, or restore the remote from a backup"
        if retired := self._ledger.retired.get((entry.name, entry.md5)):
            hint = f"gc removed it on {retired[1]:%Y-%m-%d} because nothing referred to it; {hint}"
        return refuse_missing(labels, self._operation, hint=hint)


def _source(vault: Vault, entry: Entry, operation: Operation) -> Path:
    path = vault.places.locate(entry.source)
    if not vault.places.may_write(entry.source):
        raise operation.error(
            IsolationError,
            f"{entry.name!r} was recorded as {path} by another workspace, or from another place",
            hint=f"name the place with destination=, such as destination={str(path)!r}, or add it again",
        )
    return path


def _identity(stat: FileStat | os.stat_result) -> _Identity:
    if isinstance(stat, FileStat):
        return stat.size, stat.mtime_ns, stat.inode
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _label(entry: Entry, name: str) -> str:
    label = f"{entry.name}@{entry.md5}"
    return f"{name} of {label}" if name else label
