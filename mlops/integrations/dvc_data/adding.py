"""``add``: read what changed, store it by its hash, record the version, write the pointer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from mlops import jsonlines
from mlops.errors import DataIntegrityError, DataNotFoundError, IntegrationError
from mlops.files import write_atomic
from mlops.integrations.dvc_data import snapshot
from mlops.integrations.dvc_data.hashing import copy_file
from mlops.integrations.dvc_data.index import SourceIndex, read_index, write_index
from mlops.integrations.dvc_data.ledger import Entry, Ledger
from mlops.integrations.dvc_data.object_directory import seal
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.places import Source
from mlops.integrations.dvc_data.pointer import pointer_path, pointer_text, read_pointer
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.snapshot import Snapshot
from mlops.integrations.dvc_data.vault import SLOT_POINTER, Vault
from mlops.integrations.dvc_data.versions import DataVersion
from mlops.workspace.room import require_room


def add(vault: Vault, path: str | Path, operation: Operation, meter: Meter, *, pointer: bool) -> DataVersion:
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
        meter.expect(head.size)
        return vault.version(head, ledger, vault.remote(operation))
    if not snapshot.settled(seen):
        seen = _walk(vault, ledger, source, operation)
    addition = _Addition(vault, operation, source, ledger, meter)
    with operation.storing(vault.root):
        remote = vault.ensure(operation)
        meter.expect(seen.size)
        md5 = addition.store(seen, index)
        entry = Entry(name, recorded, md5, seen.size, len(seen.files), datetime.now(UTC))
        stored = SourceIndex(md5, seen, addition.hashes)
        needed = {addition.hashes[file]: stat.size for file, stat in seen.files.items()}
        ledger = record(vault, entry, stored, operation, pointer=pointer, needed=needed)
        return vault.version(ledger.heads()[name], ledger, remote)


def record(
    vault: Vault,
    entry: Entry,
    index: SourceIndex | None,
    operation: Operation,
    *,
    pointer: bool,
    needed: Mapping[str, int] | None = None,
) -> Ledger:
    """Make a stored version the dataset's current one; the ledger's line is what counts.

    Args:
        vault: The vault.
        entry: The version.
        index: What the source holds, or None if it was not looked at.
        operation: The calling method.
        pointer: Whether to write the pointer beside the source.
        needed: Objects that the cache must have, with their sizes.

    Returns:
        The ledger with the version in it.

    Raises:
        DataIntegrityError: One of the objects is no longer in the cache.
    """
    slot = vault.slot(entry.name)
    with vault.lock(operation):
        ledger = vault.ledger(operation)
        if needed is not None and not _cached(vault, entry.md5, needed):
            # What no version lists is garbage, and these were that until the line below is written.
            raise operation.error(
                DataIntegrityError,
                f"Stored content of {entry.name!r} was cleaned up while it was being added",
                hint="call add again; nothing else was lost",
            )
        head = ledger.heads().get(entry.name)
        slot.mkdir(parents=True, exist_ok=True)
        if index is not None:
            write_index(slot, index)
        files = entry.files if entry.md5.endswith(".dir") else None
        write_atomic(
            slot / SLOT_POINTER, pointer_text("payload", md5=entry.md5, size=entry.size, files=files)
        )
        if head is None or (head.md5, head.origin) != (entry.md5, entry.origin or head.origin):
            jsonlines.append(vault.ledger_path, [entry.to_event()])
            ledger.apply(entry.to_event())
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


class _Addition:
    """Stores one source's content, reading only the files that were touched since the last time.

    Each file is copied while it is hashed, so that what is kept is what the hash was made from.
    """

    def __init__(
        self, vault: Vault, operation: Operation, source: Path, ledger: Ledger, meter: Meter
    ) -> None:
        self._vault = vault
        self._operation = operation
        self._source = source
        self._ledger = ledger
        self._meter = meter
        self.hashes: dict[str, str] = {}

    def store(self, seen: Snapshot, index: SourceIndex | None) -> str:
        """Put what the cache lacks into it, fill ``hashes``, and return the hash of the whole."""
        from mlops.integrations.dvc_data.objects import ObjectStore

        objects = ObjectStore(self._vault, self._vault.remote(self._operation), self._operation)
        self._require_room(lambda: self._least_bytes(seen, index), planned=True)
        with self._vault.staging() as staging:
            staged = self._read(seen, index, staging)
            again = _walk(self._vault, self._ledger, self._source, self._operation)
            if changes := again.changes(seen, exact=True):
                raise _changed(self._source, changes, self._operation)
            self._require_room(lambda: self._new_bytes(staged))
            for md5, copy in staged.items():
                self._vault.cache.take(md5, copy)
            return objects.store_listing(self.hashes, staging) if seen.directory else self.hashes[""]

    def _read(self, seen: Snapshot, index: SourceIndex | None, staging: Path) -> dict[str, str]:
        staged: dict[str, str] = {}
        cache = self._vault.cache
        for number, (name, stat) in enumerate(seen.files.items()):
            known = index.unchanged(name, stat) if index is not None else None
            if known is not None and cache.size(known) == stat.size:
                self.hashes[name] = known
                self._meter.advance(stat.size)
                continue
            copy = f"{staging}/{number}"
            md5 = self._copy(name, copy)
            self.hashes[name] = md5
            # One that somebody wrote to since may be damaged; here is a whole one to take its place.
            if md5 in staged or cache.sealed(md5):
                Path(copy).unlink()
            else:
                staged[md5] = copy
        return staged

    def _require_room(self, adding_bytes: Callable[[], int], *, planned: bool = False) -> None:
        require_room(
            self._vault.workspace,
            directory=self._vault.root.name,
            adding_bytes=adding_bytes,
            operation=self._operation.name,
            planned=planned,
        )

    def _least_bytes(self, seen: Snapshot, index: SourceIndex | None) -> int:
        """Return what is new without a doubt: files of a size that no object has, one of each size."""
        touched = {
            stat.size
            for name, stat in seen.files.items()
            if index is None or index.unchanged(name, stat) is None
        }
        return sum(touched - {size for _, size in self._vault.cache.all()})

    def _new_bytes(self, staged: Mapping[str, str]) -> int:
        sizes = {md5: Path(copy).stat().st_size for md5, copy in staged.items()}
        return sum(size for md5, size in sizes.items() if self._vault.cache.size(md5) is None)

    def _copy(self, name: str, copy: str) -> str:
        path = f"{self._source}/{name}" if name else str(self._source)
        try:
            return str(copy_file(path, copy, advance=self._meter.advance, finish=seal))
        except FileNotFoundError as error:
            raise _changed(self._source, [name], self._operation) from error
        except PermissionError as error:
            raise self._operation.error(
                IntegrationError,
                f"{path} cannot be read: {error.strerror}",
                hint="check the file's permissions",
            ) from error


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
    return _cached(vault, head.md5, {index.hashes[name]: stat.size for name, stat in seen.files.items()})


def _cached(vault: Vault, version: str, objects: Mapping[str, int]) -> bool:
    """Say whether the cache has a version's own object, and those of its files with their sizes."""
    if vault.cache.size(version) is None:
        return False
    return all(vault.cache.size(md5) == size for md5, size in objects.items())


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
