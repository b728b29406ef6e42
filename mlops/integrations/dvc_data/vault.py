"""The project's DVC repository on disk: its directories, configuration, lock and staging; no DVC needed.

dvc/
├── .dvc/config         written here; own options belong in .dvc/config.local, which is never touched
├── .dvc/cache/         every object once, by its hash
├── datasets/<slot>/    one per dataset: the current version's pointer, and the index of the source's files
├── ledger.jsonl        every version ever added
└── remote/             where versions are pushed, unless the settings name another place
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import names
from mlops.errors import IntegrationUnavailableError, IsolationError, WorkspaceNotFoundError
from mlops.files import write_atomic
from mlops.integrations.dvc_data.ledger import FILE_NAME, Entry, Ledger, read_ledger
from mlops.integrations.dvc_data.object_directory import ObjectDirectory
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.places import Places
from mlops.integrations.dvc_data.pointer import pointer_path
from mlops.integrations.dvc_data.remote import RemoteLocation, locate_remote
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.versions import DataVersion

SLOT_POINTER: Final = "payload.dvc"
_SLOT_NAME_LENGTH: Final = 60
_URL_LINE: Final = re.compile(r"^(\s*url\s*=).*$", re.MULTILINE)
_REMOTE_SECTION: Final = f"['remote \"{names.DVC_REMOTE}\"']"


class Vault:
    """One project's vault.

    Args:
        context: The workspace and its settings.
    """

    def __init__(self, context: ToolContext) -> None:
        self.workspace = context.workspace
        self.settings = context.settings
        self.root = self.workspace.dvc_path
        self.dvc_dir = self.root / ".dvc"
        self.config = self.dvc_dir / "config"
        self.cache = ObjectDirectory(self.dvc_dir / "cache" / "files" / "md5")
        self.corrupt = self.dvc_dir / "tmp" / "corrupt"
        self.datasets = self.root / "datasets"
        self.ledger_path = self.root / FILE_NAME
        self.places = Places(self.workspace.root_path)

    def operation(self, name: str) -> Operation:
        """Return the operation that a public method's errors name."""
        return Operation(name, self.workspace.project_name)

    def remote(self, operation: Operation) -> RemoteLocation:
        """Return where the project's remote is."""
        return locate_remote(self.workspace, self.settings.dvc_remote_path, operation)

    def ledger(self, operation: Operation) -> Ledger:
        """Read the ledger."""
        return read_ledger(self.ledger_path, operation)

    def slot(self, dataset: str) -> Path:
        """Return a dataset's own directory in the vault; the name in it is for people, the hash decides."""
        key = hashlib.sha256(dataset.encode()).hexdigest()[:10]
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", dataset)[-_SLOT_NAME_LENGTH:].strip("._-") or "data"
        return self.datasets / f"{readable}-{key}"

    def version(self, entry: Entry, ledger: Ledger, remote: RemoteLocation) -> DataVersion:
        """Return a ledger's entry as it is now."""
        from mlops.integrations.dvc_data.versions import DataVersion

        return DataVersion(
            name=entry.name,
            path=self.places.locate(entry.source),
            md5=entry.md5,
            size=entry.size,
            files=entry.files,
            added_at=entry.added_at,
            pushed=entry.md5 in ledger.pushed.get(remote.identity, ()),
        )

    def pointers(self, ledger: Ledger) -> frozenset[Path]:
        """Return where the pointers of all datasets are."""
        return frozenset(pointer_path(self.places.locate(entry.source)) for entry in ledger.heads().values())

    @contextlib.contextmanager
    def lock(self, operation: Operation) -> Iterator[None]:
        """Hold the project's DVC lock; only for changes of the ledger and the slots, never for a transfer."""
        with self.workspace.lock("dvc", timeout=self.settings.lock_timeout, operation=operation.name):
            yield

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a new empty directory where data is prepared for the cache, removed afterwards."""
        parent = self.workspace.state_path / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        with scratch(parent, f"{names.slug(self.workspace.project_name)}.dvc.") as path:
            yield path

    def ensure(self, operation: Operation) -> RemoteLocation:
        """Create what is missing, and bring the remote's address in the configuration up to date.

        Raises:
            WorkspaceNotFoundError: The workspace itself is gone.
            IntegrationUnavailableError: The configuration file is damaged.
        """
        if not self.workspace.root_path.is_dir():
            raise operation.error(
                WorkspaceNotFoundError,
                f"Workspace does not exist: {self.workspace.root_path}",
                hint="create the project again, or open it where it is now",
            )
        remote = self.remote(operation)
        for directory in (self.cache.root, self.dvc_dir / "tmp", self.datasets):
            directory.mkdir(parents=True, exist_ok=True)
        if remote.path is not None and remote.required is None:
            remote.path.mkdir(parents=True, exist_ok=True)
        present = self.read_config(operation)
        if present is None:
            write_atomic(self.config, self._config_text(remote))
        else:
            expected = f"    url = {self._config_url(remote)}"
            updated = _URL_LINE.sub(lambda _: expected, present)
            if updated != present:
                write_atomic(self.config, updated)
        return remote

    def read_config(self, operation: Operation) -> str | None:
        """Return the configuration file's text, or None if there is none.

        Raises:
            IntegrationUnavailableError: It cannot be read, or lacks the project's remote.
        """
        try:
            text = self.config.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = str(error)
        else:
            if _REMOTE_SECTION in text and _URL_LINE.search(text):
                return text
            reason = f"it has no section {_REMOTE_SECTION} with a url"
        raise operation.error(
            IntegrationUnavailableError,
            f"The DVC configuration {self.config} is damaged: {reason}",
            hint="repair it, or delete it: the next operation writes it again, and no data depends on it",
        )

    def overrides(self, remote: RemoteLocation) -> dict[str, Any]:
        """Return the configuration that holds whatever the files say: this project's own cache and remote."""
        own: dict[str, Any] = {"url": remote.url}
        return {
            "core": {"remote": names.DVC_REMOTE, "no_scm": True, "analytics": False, "check_update": False},
            "cache": {"dir": str(self.cache.root.parents[1]), "type": ["reflink", "hardlink", "copy"]},
            "remote": {names.DVC_REMOTE: own},
        }

    def refuse_own_files(self, path: Path, operation: Operation) -> None:
        """Raise if a path is in the vault, or has the vault in it.

        Raises:
            IsolationError: It is or has.
        """
        resolved, root = path.resolve(), self.root.resolve()
        if resolved.is_relative_to(root) or root.is_relative_to(resolved):
            relation = "is inside" if resolved.is_relative_to(root) else "contains"
            raise operation.error(
                IsolationError,
                f"{path} {relation} the project's own DVC storage, {self.root}",
                hint="name a file or directory of your own, such as one below outputs/",
            )

    def _config_text(self, remote: RemoteLocation) -> str:
        # No absolute path of this workspace is written, so a copy of it never points at the original.
        lines = [
            "[core]",
            "    no_scm = true",
            "    analytics = false",
            "    check_update = false",
            f"    remote = {names.DVC_REMOTE}",
            "[cache]",
            '    dir = "cache"',
            '    type = "reflink,hardlink,copy"',
            _REMOTE_SECTION,
            f"    url = {self._config_url(remote)}",
            "    verify = true",
        ]
        return "\n".join([*lines, ""])

    def _config_url(self, remote: RemoteLocation) -> str:
        inside = remote.path is not None and remote.required is None
        # Unquoted, a comma makes a list and a '#' starts a comment.
        return f'"{os.path.relpath(remote.public, self.dvc_dir) if inside else remote.public}"'


@contextlib.contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new empty directory, removed afterwards; those that killed processes left are removed first.

    Args:
        parent: An existing directory.
        prefix: What the directory's name starts with; the rest says which process on which machine made it.
    """
    prefix = f"{prefix}{socket.gethostname()}."
    for left in [path for path in parent.iterdir() if path.name.startswith(prefix)]:
        owner = left.name.removeprefix(prefix).partition(".")[0]
        if owner.isdecimal() and not _alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    path = parent / f"{prefix}{os.getpid()}.{uuid.uuid4().hex[:8]}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
