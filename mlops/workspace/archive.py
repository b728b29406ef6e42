"""One file that holds a whole workspace: its format, and writing it.

A tar of regular files, compressed with Zstandard, so that ``tar --zstd -tf`` shows what is inside:

manifest.json      what the archive holds: size and SHA-256 of every file, and which files are equal
manifest.sha256    the hash of that
workspace.yaml     the configuration, without credentials and absolute paths
tools/<tool>/...   what the tool's adapter exports
files/...          everything else in the workspace: links.jsonl, outputs/

Files that are equal are stored once. Reading refuses whatever the manifest does not list.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlops.errors import ArchiveError
from mlops.files import hash_file, sync_directory
from mlops.workspace.model import METADATA_FILE

Progress = Callable[[int, int], None]

FORMAT: Final = "mlops-workspace"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_HASH: Final = "manifest.sha256"
TOOLS: Final = "tools"
FILES: Final = "files"
_BLOCK: Final = 1 << 20
_PLACE: Final = re.compile(r"tools/[A-Za-z0-9_-]+/.|files/.", re.DOTALL)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Args:
        path: Where it is in the archive, with ``/``.
        size: Bytes.
        sha256: Hash of its content.
        same_as: The file stored in its place, whose content is the same; None if it is stored itself.
    """

    path: str
    size: int
    sha256: str
    same_as: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says it holds.

    Args:
        project_name: The project's name when it was exported.
        workspace_id: The workspace's id.
        created_at: When, aware.
        versions: The versions of mlops and the tools that wrote it.
        members: Every file but the manifest.
        directories: The directories that hold no file.
        left_out: What the workspace has and the archive does not, with the reason.
    """

    project_name: str
    workspace_id: str
    created_at: datetime
    versions: Mapping[str, str | None] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    directories: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files once they are extracted."""
        return sum(member.size for member in self.members)


def write(tree: Path, path: Path, manifest: Manifest, *, progress: Progress | None = None) -> Manifest:
    """Write an archive, whole or not at all.

    Args:
        tree: The files to store; nobody else changes them meanwhile.
        path: The archive; an existing file is replaced. The caller holds a lock for it.
        manifest: What is known already; the files are added.
        progress: Called as ``progress(done, total)`` with bytes, each of which is read twice.

    Returns:
        The manifest that was written.

    Raises:
        ArchiveError: The archive cannot be written; what was there before is unchanged.
    """
    import pyarrow

    files, directories, left_out = _walk(tree)
    meter = Meter(progress, 2 * sum(file.stat().st_size for file in files.values()))
    members: list[Member] = []
    first: dict[tuple[str, int], str] = {}
    partial = path.with_name(f".{path.name}.partial")
    try:
        for name, file in files.items():
            size, digest = file.stat().st_size, hash_file(file)
            known = first.setdefault((digest, size), name)
            members.append(Member(name, size, digest, None if known == name else known))
            meter.add(size)
        written = Manifest(
            manifest.project_name,
            manifest.workspace_id,
            manifest.created_at,
            manifest.versions,
            tuple(members),
            tuple(directories),
            (*manifest.left_out, *left_out),
        )
        text = _encode(written)
        with (
            pyarrow.CompressedOutputStream(str(partial), "zstd") as compressed,
            tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as tar,
        ):
            _add_text(tar, MANIFEST, text)
            _add_text(tar, MANIFEST_HASH, hashlib.sha256(text).hexdigest().encode())
            for member in members:
                if member.same_as is None:
                    _add_file(tar, member, files[member.path])
                meter.add(member.size)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        if error is meter.failure:
            raise
        raise ArchiveError(
            f"The archive {path} cannot be written: {error}",
            operation="export_workspace",
            workspace=manifest.project_name,
            hint="check the free space and the permissions there; nothing was replaced",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)
    return written


class Meter:
    """Tells a function of the caller's how far something is.

    Args:
        progress: Called as ``progress(done, total)``, or None.
        total: The bytes there are.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self.failure: BaseException | None = None
        self.add(0)

    def add(self, size: int) -> None:
        """Count bytes."""
        self._done += size
        if self._progress is not None:
            try:
                self._progress(self._done, self._total)
            except BaseException as error:
                self.failure = error  # the caller's own, which passes through unchanged
                raise


def _walk(tree: Path) -> tuple[dict[str, Path], list[str], list[str]]:
    """Return the files by their path in the archive, the empty directories, and what is neither."""
    files: dict[str, Path] = {}
    empty: list[str] = []
    left_out: list[str] = []
    for folder, folders, names in os.walk(tree):
        folders.sort()
        here = Path(folder)
        if not folders and not names and here != tree:
            empty.append(here.relative_to(tree).as_posix())
        for name in sorted(names):
            path = here / name
            inside = path.relative_to(tree).as_posix()
            if path.is_symlink() or not path.is_file():
                left_out.append(f"{inside}: it is no regular file")
            else:
                files[inside] = path
    return files, empty, left_out


def _add_text(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, member: Member, path: Path) -> None:
    status = path.stat()
    info = tarfile.TarInfo(member.path)
    # Whose the file is, and what others may do with it, means nothing on another machine.
    info.size, info.mtime = member.size, status.st_mtime
    info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    with path.open("rb") as stream:
        tar.addfile(info, stream)


def _encode(manifest: Manifest) -> bytes:
    values: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "project_name": manifest.project_name,
        "workspace_id": manifest.workspace_id,
        "created_at": manifest.created_at.isoformat(),
        "versions": dict(manifest.versions),
        "left_out": list(manifest.left_out),
        "directories": list(manifest.directories),
        "members": [
            {key: value for key, value in asdict(member).items() if value is not None}
            for member in manifest.members
        ],
    }
    return json.dumps(values, indent=1).encode()


def decode(values: Mapping[str, Any]) -> Manifest:
    """Return the manifest of a file's values, after checking that every path in it stays where it belongs.

    Raises:
        ValueError: Something in it is wrong; so do KeyError and TypeError say.
    """
    stored: dict[str, Member] = {}
    members: list[Member] = []
    for value in values["members"]:
        member = Member(_place(value["path"]), value["size"], value["sha256"], value.get("same_as"))
        if type(member.size) is not int or member.size < 0 or not _SHA256.fullmatch(member.sha256):
            raise ValueError(f"the entry of {member.path!r} is wrong")
        if member.same_as is None:
            stored[member.path] = member
        members.append(member)
    if len({member.path for member in members}) != len(members):
        raise ValueError("a path is listed twice")
    for member in members:
        if member.same_as is not None:
            original = stored[member.same_as]
            if (original.size, original.sha256) != (member.size, member.sha256):
                raise ValueError(f"{member.path!r} is not the same as {member.same_as!r}")
    if METADATA_FILE not in stored:
        raise ValueError(f"there is no {METADATA_FILE}")
    created_at = datetime.fromisoformat(values["created_at"])
    return Manifest(
        project_name=str(values["project_name"]),
        workspace_id=str(values["workspace_id"]),
        created_at=created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC),
        versions=dict(values["versions"]),
        members=tuple(members),
        directories=tuple(_place(path, directory=True) for path in values["directories"]),
        left_out=tuple(map(str, values["left_out"])),
    )


def _place(path: str, *, directory: bool = False) -> str:
    """Return a path if it is a plain one below the places an archive has."""
    parts = path.split("/")
    known = parts[0] in (TOOLS, FILES) if directory else path == METADATA_FILE or bool(_PLACE.match(path))
    if not known or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"bad path {path!r}")
    return path
