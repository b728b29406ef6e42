"""``add``: read what changed, store it by its hash, record the version, write the pointer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import DataIntegrityError, DataNotFoundError, IntegrationError
from mlops.files import write_atomic
from mlops.integrations.dvc_data import snapshot
from mlops.integrations.dvc_data.hashing import copy_and_hash
from mlops.integrations.dvc_data.index import SourceIndex, read_index, write_index
from mlops.integrations.dvc_data.ledger import Entry, Ledger, append
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.places import Source
from mlops.integrations.dvc_data.pointer import pointer_path, pointer_text, read_pointer
from mlops.integrations.dvc_data.snapshot import Snapshot
from mlops.integrations.dvc_data.vault import SLOT_POINTER, Vault
from mlops.integrations.dvc_data.versions import DataVersion

if TYPE_CHECKING:
    pass

Progress = Callable[[int, int], None]


def add(
    vault: Vault, path: str | Path, operation: Operation, *, pointer: bool, progress: Progress | None
) -> DataVersion:
    """Store the present content of a file or directory as a version; see ``DVCData.add``."""
    source = vault.places.absolute(path)
    if not source.exists():
        problem = "is a link to something that does not exist" if source.is_symlink() else "does not exist"
        raise operation.error(
            DataNotFoundError,
            f"{source} {problem}",
            hint="check the path; a relative one starts at the working directory",
        )
    vault.refuse_own_files(source, operation)
    _check_name(source, operation)
    ledger = vault.ledger(operation)
    name, recorded = _identify(vault, ledger, source)
    seen = _walk(vault, ledger, source, operation)
    head = ledger.heads().get(name)
    index = read_index(vault.slot(name))
    if pointer:
        check_pointer(source, operation)
    if head is not None and index is not None and _unchanged(vault, head, index, seen):
        # A process killed after the record and before the pointer leaves the pointer to the next call.
        if pointer:
            with operation.storing(pointer_path(source)):
                write_pointer(source, head)
        if progress is not None:
            progress(head.size, head.size)
        return vault.version(head, ledger, vault.remote(operation))
    if not snapshot.settled(seen):
        seen = _walk(vault, ledger, source, operation)
    addition = _Addition(vault, operation, source, ledger, progress)
    try:
        with operation.storing(vault.root):
            remote = vault.ensure(operation)
            md5 = addition.store(seen, index)
            entry = Entry(name, recorded, md5, seen.size, len(seen.files), datetime.now(UTC))
            stored = SourceIndex(md5, seen, addition.hashes)
            ledger = record(vault, entry, stored, operation, pointer=pointer)
            return vault.version(ledger.heads()[name], ledger, remote)
    except _CallbackError as failure:
        error = failure.error
    raise error


def record(vault: Vault, entry: Entry, index: SourceIndex, operation: Operation, *, pointer: bool) -> Ledger:
    """Make a stored version the dataset's current one; the ledger's line is what counts.

    Args:
        vault: The vault.
        entry: The version.
        index: What the source holds.
        operation: The calling method.
        pointer: Whether to write the pointer beside the source.

    Returns:
        The ledger with the version in it.
    """
    slot = vault.slot(entry.name)
    with vault.lock(operation):
        ledger = vault.ledger(operation)
        head = ledger.heads().get(entry.name)
        slot.mkdir(parents=True, exist_ok=True)
        write_index(slot, index)
        files = entry.files if entry.md5.endswith(".dir") else None
        write_atomic(
            slot / SLOT_POINTER, pointer_text("payload", md5=entry.md5, size=entry.size, files=files)
        )
        if head is None or head.md5 != entry.md5:
            append(vault.ledger_path, [entry.to_event()])
            ledger.entries.append(entry)
        if pointer:
            write_pointer(vault.places.locate(entry.source), entry)
    return ledger


def check_pointer(source: Path, operation: Operation) -> None:
    """Raise if the file where the pointer goes is something else than a plain pointer to this source.

    A plain pointer is what this package and ``dvc add`` write, and would write again. One with more in it (an
    import, a stage, notes, several outputs), or any other file of that name, is somebody's work.

    Raises:
        IntegrationError: It is.
    """
    path = pointer_path(source)
    if not path.exists() and not path.is_symlink():
        return
    present = read_pointer(path)
    if present is None or present.path != source.name:
        raise operation.error(
            IntegrationError,
            f"{path} is not a plain DVC pointer to {source.name}, so it is not overwritten",
            hint="move that file away, or pass pointer=False to add the data without a pointer",
        )


def write_pointer(source: Path, entry: Entry) -> None:
    """Write a source's pointer if it does not say the same already."""
    path = pointer_path(source)
    files = entry.files if entry.md5.endswith(".dir") else None
    present = read_pointer(path)
    if present is None or (present.md5, present.size, present.files) != (entry.md5, entry.size, files):
        write_atomic(path, pointer_text(source.name, md5=entry.md5, size=entry.size, files=files))


class _CallbackError(Exception):
    """Carries what the caller's progress function raised past the handling of our own errors."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class _Addition:
    """Stores one source's content, reading only the files that were touched since the last time.

    Each file is copied while it is hashed, so that what is kept is what the hash was made from.
    """

    def __init__(
        self, vault: Vault, operation: Operation, source: Path, ledger: Ledger, progress: Progress | None
    ) -> None:
        self._vault = vault
        self._operation = operation
        self._source = source
        self._ledger = ledger
        self._progress = progress
        self._done = self._total = 0
        self.hashes: dict[str, str] = {}

    def store(self, seen: Snapshot, index: SourceIndex | None) -> str:
        """Put what the cache lacks into it, fill ``hashes``, and return the hash of the whole."""
        from mlops.integrations.dvc_data.objects import ObjectStore

        objects = ObjectStore(self._vault, self._vault.remote(self._operation), self._operation)
        self._total = seen.size
        with self._vault.staging() as staging:
            staged = self._read(seen, index, staging)
            again = _walk(self._vault, self._ledger, self._source, self._operation)
            if changes := again.changes(seen, exact=True):
                raise _changed(self._source, changes, self._operation)
            for md5, copy in staged.items():
                self._vault.cache.take(md5, copy)
            return objects.store_listing(self.hashes, staging) if seen.directory else self.hashes[""]

    def _read(self, seen: Snapshot, index: SourceIndex | None, staging: Path) -> dict[str, Path]:
        staged: dict[str, Path] = {}
        for number, (name, stat) in enumerate(seen.files.items()):
            known = index.unchanged(name, stat) if index is not None else None
            if known is not None and self._vault.cache.size(known) == stat.size:
                self.hashes[name] = known
                self._report(stat.size)
                continue
            copy = staging / str(number)
            md5 = self._copy(name, copy)
            self.hashes[name] = md5
            if md5 in staged or self._vault.cache.size(md5) == stat.size:
                copy.unlink()
            else:
                staged[md5] = copy
        return staged

    def _copy(self, name: str, copy: Path) -> str:
        path = self._source / name if name else self._source
        try:
            return copy_and_hash(path, copy, progress=self._report)
        except FileNotFoundError as error:
            raise _changed(self._source, [name], self._operation) from error
        except PermissionError as error:
            raise self._operation.error(
                IntegrationError,
                f"{path} cannot be read: {error.strerror}",
                hint="check the file's permissions",
            ) from error

    def _report(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            try:
                self._progress(self._done, self._total)
            except BaseException as error:
                raise _CallbackError(error) from error


def _identify(vault: Vault, ledger: Ledger, source: Path) -> tuple[str, Source]:
    recorded = vault.places.describe(source)
    # A dataset keeps its name, even where a new one in this place would now get another.
    name = vault.places.dataset_at(source, ledger.sources())
    return name or vault.places.dataset_name(recorded), recorded


def _walk(vault: Vault, ledger: Ledger, source: Path, operation: Operation) -> Snapshot:
    pointers = vault.pointers(ledger) if source.is_dir() else frozenset()
    taken = snapshot.take(source, operation, pointers=pointers)
    if taken is None:
        raise operation.error(
            DataNotFoundError,
            f"{source} was removed while it was being added",
            hint="call again when nothing writes to it",
        )
    return taken


def _unchanged(vault: Vault, head: Entry, index: SourceIndex, seen: Snapshot) -> bool:
    """Say whether the source is the current version untouched, and the cache still has all of it."""
    if index.md5 != head.md5 or seen.changes(index.snapshot, exact=True):
        return False
    objects = {index.hashes[name]: stat.size for name, stat in seen.files.items()}
    if any(vault.cache.size(md5) != size for md5, size in objects.items()):
        return False
    return vault.cache.size(head.md5) is not None


def _check_name(source: Path, operation: Operation) -> None:
    try:
        str(source).encode("utf-8")
    except UnicodeEncodeError:
        raise operation.error(
            IntegrationError,
            f"{str(source)!a} cannot be versioned: its path is not valid UTF-8",
            hint="rename the file or directory",
        ) from None


def _changed(source: Path, names: list[str], operation: Operation) -> DataIntegrityError:
    first = source / names[0] if names[0] else source
    return operation.error(
        DataIntegrityError,
        f"{first} changed while {source} was being added, so no version was recorded",
        hint="call add again when nothing writes to it",
        details={"changed": names[:20]},
    )
