"""Reading an archive that may be damaged, or made to do damage: nothing in it is believed unchecked.

Only regular files are written, only where the manifest says, and only with the content it says. Whoever can
change the manifest can still store a model that runs code when it is loaded: import what you would also run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from mlops.errors import ArchiveError
from mlops.workspace import archive
from mlops.workspace.archive import Manifest, Member, Meter, Progress

_BLOCK: Final = 1 << 20
# A million files make some 200 MB; what claims to be larger is not read into memory.
_MAX_MANIFEST: Final = 512 << 20
# Of a header in front of a file, such as one with a long name; tarfile reads it into memory.
_MAX_HEADER: Final = 1 << 20
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
# What tarfile and pyarrow raise on bytes that make no sense.
_UNREADABLE: Final = (tarfile.TarError, EOFError, OSError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one archive from beginning to end.

    Args:
        path: The archive.
        operation: The calling method, for errors.
    """

    path: Path
    operation: str

    def manifest(self) -> Manifest:
        """Return what the archive says it holds, without reading further.

        Raises:
            ArchiveError: It is no archive, is damaged, or of a newer format.
        """
        with self._opened() as tar:
            return self._manifest(tar)

    def extract(self, destination: Path, *, progress: Progress | None = None) -> Manifest:
        """Write the files into an empty directory; each is compared with its size and hash in the manifest.

        Args:
            destination: An existing empty directory that nobody else sees.
            progress: Called as ``progress(done, total)`` with bytes.

        Raises:
            ArchiveError: It is damaged, holds what it must not, or does not fit on the disk.
        """
        with self._opened() as tar:
            manifest = self._manifest(tar)
            free = shutil.disk_usage(destination).free
            if manifest.size > free:
                raise self.error(
                    f"{self.path} holds {manifest.size} bytes, and {destination} has room for {free}",
                    "free some space, or use a base path on a larger disk",
                )
            meter = Meter(progress, manifest.size)
            with self._writing():
                for directory in manifest.directories:
                    (destination / directory).mkdir(parents=True, exist_ok=True)
            wanted = {member.path: member for member in manifest.members if member.same_as is None}
            while (entry := self._next(tar)) is not None:
                member = wanted.pop(entry.name, None)
                if member is None:
                    self._damaged(f"{entry.name!r} is in it twice, or is not listed in its manifest")
                if entry.type != tarfile.REGTYPE or entry.issparse() or entry.size != member.size:
                    self._damaged(
                        f"{entry.name!r} is not the regular file of {member.size} bytes it should be"
                    )
                with self._content(tar, entry) as content:
                    self._store(content, entry, member, destination / member.path)
                meter.add(member.size)
            if wanted:
                self._damaged(f"it lacks {min(wanted)!r}, which its manifest lists")
        for member in manifest.members:
            if member.same_as is not None:
                with self._writing():
                    (destination / member.path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(destination / member.same_as, destination / member.path)
                meter.add(member.size)
        return manifest

    def _store(self, content: IO[bytes], entry: tarfile.TarInfo, member: Member, target: Path) -> None:
        digest = hashlib.sha256()
        with self._writing():
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                while block := self._read(content, _BLOCK):
                    digest.update(block)
                    stream.write(block)
                if entry.mode & stat.S_IXUSR:
                    os.fchmod(stream.fileno(), os.fstat(stream.fileno()).st_mode | 0o111)
        if digest.hexdigest() != member.sha256:
            self._damaged(f"the content of {member.path!r} is not what was stored")
        with self._reading():
            os.utime(target, (entry.mtime, entry.mtime))

    def _manifest(self, tar: tarfile.TarFile) -> Manifest:
        text = self._head(tar, archive.MANIFEST)
        if self._head(tar, archive.MANIFEST_HASH) != hashlib.sha256(text).hexdigest().encode():
            self._damaged("its manifest is not what was stored")
        with self._reading():
            values = json.loads(text)
        if not isinstance(values, dict) or values.get("format") != archive.FORMAT:
            self._damaged(f"its manifest is not that of a {archive.FORMAT} archive")
        version = values.get("format_version")
        if not isinstance(version, int) or version < 1:
            self._damaged(f"its format version is {version!r}")
        if version > archive.FORMAT_VERSION:
            raise self.error(
                f"{self.path} has format version {version}, and this mlops reads up to "
                f"{archive.FORMAT_VERSION}",
                "upgrade with: pip install -U mlops-workspaces",
            )
        try:
            return archive.decode(values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._damaged(f"its manifest cannot be understood: {error!r}")

    def _head(self, tar: tarfile.TarFile, name: str) -> bytes:
        entry = self._next(tar)
        if entry is None or entry.name != name or not entry.isreg() or entry.size > _MAX_MANIFEST:
            self._damaged(f"it does not begin with {archive.MANIFEST} and {archive.MANIFEST_HASH}")
        with self._content(tar, entry) as content:
            return self._read(content, entry.size)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        import pyarrow

        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(self.path.open("rb"))
                magic = stream.read(len(_ZSTANDARD))
            except OSError as error:
                raise self.error(
                    f"The archive {self.path} cannot be read: {error}", "check the path"
                ) from error
            if magic != _ZSTANDARD:
                raise self.error(
                    f"{self.path} is not an archive of a workspace",
                    "pass a file written by mlops export or WorkspaceManager.export_workspace",
                )
            stream.seek(0)
            compressed = pyarrow.PythonFile(stream, mode="r")
            plain = stack.enter_context(pyarrow.CompressedInputStream(compressed, "zstd"))
            with self._reading():
                tar = stack.enter_context(
                    tarfile.open(fileobj=plain, mode="r|", bufsize=_BLOCK, tarinfo=_BoundedInfo)
                )
            yield tar

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        with self._reading():
            return tar.next()

    @contextlib.contextmanager
    def _content(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[IO[bytes]]:
        with self._reading():
            content = tar.extractfile(entry)
        if content is None:
            self._damaged(f"{entry.name!r} has no content")
        with content:
            yield content

    def _read(self, content: IO[bytes], size: int) -> bytes:
        with self._reading():
            return content.read(size)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Blame the archive for what goes wrong with its bytes."""
        try:
            yield
        except _UNREADABLE as error:
            self._damaged(str(error))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Blame the disk for what it refuses."""
        try:
            yield
        except OSError as error:
            raise self.error(
                f"{self.path} cannot be extracted: {error}",
                "check the free space and the permissions of the base path; nothing was changed",
            ) from error

    def _damaged(self, reason: str) -> NoReturn:
        raise self.error(
            f"{self.path} is damaged: {reason}",
            "copy the archive again from where it was written, or export the project again",
        )

    def error(self, message: str, hint: str) -> ArchiveError:
        """Return an error about the archive."""
        return ArchiveError(message, operation=self.operation, details={"path": str(self.path)}, hint=hint)


class _BoundedInfo(tarfile.TarInfo):
    """A tar header that refuses long headers in front of a file."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type not in tarfile.REGULAR_TYPES and self.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]
