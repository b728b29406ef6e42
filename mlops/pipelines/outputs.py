"""What steps return, stored once per content in the project, and checked against its hash when it is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from mlops.errors import DataIntegrityError, DataNotFoundError
from mlops.integrations.mlflow_tracking.pickling import REFUSALS
from mlops.pipelines.catalogue import DIRECTORY
from mlops.pipelines.identity import identity_of
from mlops.pipelines.kinds import kind_of, type_name
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.room import require_room

# Larger plain values are pickled: nobody reads them as text, and it is many times faster.
_MAX_TEXT_ITEMS: Final = 10_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PLAIN: Final = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One stored value.

    Args:
        digest: SHA-256 of the stored bytes, in hexadecimal.
        format: ``json``, ``txt``, ``html``, ``bin`` or ``pkl``, the suffix of its file.
        kind: ``model``, ``data``, ``metrics``, ``report`` or ``file``.
        type: Its Python type, such as ``dict`` or ``pandas.DataFrame``.
        bytes: Its size as stored.
        identity: What it counts as where results are reused: the digest, or more than that, see ``identity``.
    """

    digest: str
    format: str
    kind: str
    type: str
    bytes: int
    identity: str

    def to_text(self) -> str:
        """Return it as one line, for a tag."""
        return f"{self.digest} {self.format} {self.bytes} {self.kind} {self.identity} {self.type}"

    @classmethod
    def from_text(cls, text: str) -> StoredOutput:
        """Return what ``to_text`` described.

        Raises:
            ValueError: The text is something else.
        """
        digest, suffix, size, kind, identity, name = text.split(" ", 5)
        return cls(digest, suffix, kind, name, int(size), identity)


class _Sink(Protocol):
    def write(self, data: Any, /) -> Any: ...


class _Hashing:
    """Passes bytes on, and hashes and counts them."""

    def __init__(self, target: _Sink | None) -> None:
        self._target = target
        self.hash = hashlib.sha256()
        self.count = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.hash.update(view)
        self.count += len(view)
        if self._target is not None:
            self._target.write(view)
        return len(view)


class OutputStore:
    """The stored values of one project.

    Args:
        workspace: The project.
    """

    def __init__(self, workspace: ProjectWorkspace) -> None:
        self._workspace = workspace

    @property
    def root(self) -> Path:
        """The directory of the values; it need not exist."""
        return self._workspace.root_path / DIRECTORY / "objects"

    def path(self, stored: StoredOutput) -> Path:
        """Return a value's file."""
        return self.root / stored.digest[:2] / f"{stored.digest}.{stored.format}"

    def put(self, value: Any) -> StoredOutput | None:
        """Store a value; None if it cannot be stored, like an open connection.

        What is there already, and whole, is not written again. The file appears in one rename, so that a
        process that is killed leaves none that is cut short; after a power failure its hash tells.

        Raises:
            QuotaExceededError: There is no room for it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f".{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("xb") as stream:
                stored = _encode(value, stream)
            if stored is None:
                return None
            target = self.path(stored)
            if not self.is_intact(stored):
                require_room(
                    self._workspace,
                    directory=DIRECTORY,
                    adding_bytes=stored.bytes,
                    staged=True,
                    operation="run",
                )
                target.parent.mkdir(exist_ok=True)
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return stored

    def is_intact(self, stored: StoredOutput) -> bool:
        """Say whether a value is there with the bytes it was stored with."""
        try:
            with self.path(stored).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == stored.digest
        except FileNotFoundError:
            return False

    def get(self, stored: StoredOutput) -> Any:
        """Return a value.

        Raises:
            DataIntegrityError: It is gone or damaged, or its class can no longer be imported.
        """
        path = self.path(stored)
        if not self.is_intact(stored):
            raise self._broken(stored, f"{path} is missing or damaged", "run its step again")
        try:
            return _decode(path, stored.format)
        except (ImportError, AttributeError, pickle.UnpicklingError, TypeError) as error:
            raise self._broken(
                stored,
                f"{path}, a {stored.type}, cannot be loaded here: {error}",
                f"install or import what defines {stored.type}, then try again",
            ) from error

    def find(self, digest: str) -> Any:
        """Return a value by its digest alone.

        Args:
            digest: SHA-256 in hexadecimal, with or without ``output:`` before it.

        Raises:
            DataNotFoundError: The project has no such value.
            DataIntegrityError: It is damaged, or its class can no longer be imported.
        """
        wanted = digest.removeprefix("output:")
        paths = list(self.root.glob(f"{wanted[:2]}/{wanted}.*")) if _DIGEST.fullmatch(wanted) else []
        if not paths:
            raise DataNotFoundError(
                f"The project {self._workspace.project_name!r} has no stored output {digest!r}",
                tool="pipelines",
                operation="load_output",
                workspace=self._workspace.project_name,
                hint="see get_artifacts() for the outputs of its pipelines, each with its digest",
            )
        suffix = paths[0].suffix.removeprefix(".")
        return self.get(StoredOutput(wanted, suffix, "file", "value", paths[0].stat().st_size, wanted))

    def link(self, stored: StoredOutput, directory: Path, name: str) -> None:
        """Show a value in another directory of the same file system, without storing it twice.

        Args:
            stored: The value.
            directory: Where; created if need be.
            name: The file's name there, without suffix.
        """
        directory.mkdir(parents=True, exist_ok=True)
        # Without hard links the value is still in its own place, which the tags of the run name.
        with contextlib.suppress(OSError):
            os.link(self.path(stored), directory / f"{name}.{stored.format}")

    def _broken(self, stored: StoredOutput, problem: str, hint: str) -> DataIntegrityError:
        return DataIntegrityError(
            f"A stored output cannot be used: {problem}",
            tool="pipelines",
            operation="outputs",
            workspace=self._workspace.project_name,
            details={"digest": stored.digest, "type": stored.type},
            hint=hint,
        )


class Held:
    """A value on its way through a run: in memory, stored, or both. A stored one is read when it is needed.

    Args:
        store: Where it is stored.
        stored: How, or None if it could not be stored.
        value: The value, if it is in memory.
    """

    __slots__ = ("_memory", "_store", "stored")

    def __init__(self, store: OutputStore, stored: StoredOutput | None, *value: Any) -> None:
        self._store = store
        self.stored = stored
        self._memory = value

    def get(self) -> Any:
        """Return the value."""
        if not self._memory:
            self._memory = (self._store.get(cast("StoredOutput", self.stored)),)
        return self._memory[0]

    def identity(self) -> str | None:
        """Return what the value counts as now, where results are reused; None if it cannot be stored."""
        return None if self.stored is None else identity_of(self.get(), self.stored.digest)


class Outputs(Mapping[str, Any]):
    """The values of a run by output name, each read from the project when it is first asked for.

    Args:
        held: The values.
    """

    def __init__(self, held: Mapping[str, Held]) -> None:
        self._held = dict(held)

    def __getitem__(self, name: str) -> Any:
        return self._held[name].get()

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(self._held)})"


def describe(value: Any) -> StoredOutput | None:
    """Return how a value would be stored, without storing it; None if it cannot be."""
    return _encode(value, None)


def _encode(value: Any, target: BinaryIO | None) -> StoredOutput | None:
    sink = _Hashing(target)
    if type(value) is bytes:
        suffix = "bin"
        sink.write(value)
    elif (text := _text(value)) is not None:
        suffix, content = text
        sink.write(content)
    else:
        suffix = "pkl"
        try:
            pickle.dump(value, cast("Any", sink), protocol=5)
        except REFUSALS:
            if target is not None:
                target.seek(0)
                target.truncate()
            sink = _Hashing(target)
            if not _cloudpickled(value, sink):
                return None
    digest = sink.hash.hexdigest()
    return StoredOutput(
        digest, suffix, kind_of(value), type_name(value), sink.count, identity_of(value, digest)
    )


def _cloudpickled(value: Any, sink: _Hashing) -> bool:
    import cloudpickle

    try:
        cloudpickle.Pickler(sink, protocol=5).dump(value)
    except REFUSALS:
        return False
    return True


def _text(value: Any) -> tuple[str, bytes] | None:
    """Return the suffix and bytes of a value that reads back exactly as it is from text."""
    try:
        if type(value) is str:
            html = value.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))
            return ("html" if html else "txt"), value.encode()
        if _is_plain(value, [_MAX_TEXT_ITEMS]):
            return "json", json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode()
    except (UnicodeEncodeError, ValueError, RecursionError):
        return None
    return None


def _is_plain(value: Any, left: list[int]) -> bool:
    left[0] -= 1
    if left[0] < 0:
        return False
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item, left) for key, item in value.items())
    if type(value) is list:
        return all(_is_plain(item, left) for item in value)
    return type(value) in _PLAIN


def _decode(path: Path, suffix: str) -> Any:
    if suffix == "pkl":
        with path.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 - the project's own
    content = path.read_bytes()
    if suffix == "bin":
        return content
    return json.loads(content) if suffix == "json" else content.decode()
