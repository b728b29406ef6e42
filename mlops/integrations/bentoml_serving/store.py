"""The project's BentoML store: entries appear whole or not at all, and are found by their exact tag.

BentoML's own store writes entries in place, looks versions up by prefix, and fails as a whole when one entry
is incomplete, so this module writes and reads the same files itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.errors import IntegrationError, IntegrationUnavailableError, MLOpsError
from mlops.files import measure, sync_directory
from mlops.integrations.bentoml_serving import entries
from mlops.integrations.bentoml_serving.entries import Deployment, StoreEntry
from mlops.workspace.scratch import scratch

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

# What the project holds; scratch directories and the logs of servers are beside it.
PARTS: Final = ("models", "bentos")
DIRECTORIES: Final = (*PARTS, "staging")
# BentoML's file, beside the versions of a name, that says which was stored last.
LATEST: Final = "latest"
# Holds what a restore is replacing, until all of it is replaced.
REPLACED: Final = ".replaced"


class BentoStore:
    """The models and Bentos of one project, below its BentoML home.

    Args:
        workspace: The project's workspace.
        prefix: The prefix of the project's tags.
        lock_timeout: Seconds to wait for another process.
    """

    def __init__(self, workspace: ProjectWorkspace, *, prefix: str, lock_timeout: float) -> None:
        self.workspace = workspace
        self.prefix = prefix
        self.home = workspace.models_path
        self.lock_timeout = lock_timeout

    def ensure(self, operation: str = "ensure") -> None:
        """Create the store's directories that are missing, and undo a restore that was interrupted.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted or moved; it is not brought back.
            IntegrationUnavailableError: Something else is where the store should be.
        """
        self.workspace.require_present(operation=operation)
        if problem := self.problem():
            raise IntegrationUnavailableError(
                problem,
                tool="bentoml",
                operation=operation,
                workspace=self.workspace.project_name,
                details={"path": str(self.home)},
                hint="move it away, or restore the directory",
            )
        if (self.home / REPLACED).is_dir():
            with self.lock(operation):
                self.recover()
        # Without parents: a workspace that is deleted meanwhile must not come back.
        for path in (self.home, *(self.home / name for name in DIRECTORIES)):
            path.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def reporting(self, failure: str, operation: str) -> Iterator[None]:
        """Raise an operating system's error, such as a full disk, as one that says what could not be done.

        Args:
            failure: What could not be done, as the start of a sentence.
            operation: The calling method, for the error.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted or moved meanwhile.
            IntegrationError: With the operating system's reason.
        """
        try:
            yield
        except MLOpsError:
            # Some of ours are errors of the operating system as well, such as a lock's time-out.
            raise
        except OSError as error:
            self.workspace.require_present(operation=operation)
            raise IntegrationError(
                f"{failure}: {error}",
                tool="bentoml",
                operation=operation,
                workspace=self.workspace.project_name,
                hint="check the file named, its permissions and the free space; nothing stored was changed",
            ) from error

    def problem(self) -> str | None:
        """Say what keeps the store from being used, or None."""
        for path in (self.home, *(self.home / name for name in DIRECTORIES)):
            try:
                mode = path.stat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not stat.S_ISDIR(mode):
                return f"{path} is not a directory"
            if not os.access(path, os.R_OK | os.X_OK):
                return f"{path} cannot be read"
        return None

    def recover(self) -> None:
        """Put back what an interrupted restore had moved away; call this under the lock."""
        replaced = self.home / REPLACED
        if not replaced.is_dir():
            return
        for part in PARTS:
            if (replaced / part).is_dir():
                shutil.rmtree(self.home / part, ignore_errors=True)
                (replaced / part).rename(self.home / part)
        replaced.rmdir()

    def root(self, kind: str) -> Path:
        """Return the directory that holds the entries of a kind: ``model`` or ``bento``."""
        return self.home / f"{kind}s"

    def lock(self, operation: str) -> contextlib.AbstractContextManager[None]:
        """Hold the project's BentoML lock."""
        return self.workspace.lock("bentoml", timeout=self.lock_timeout, operation=operation)

    def scratch(self, name: str, operation: str) -> contextlib.AbstractContextManager[tuple[Path, int]]:
        """Give a scratch directory on the store's own file system, and the descriptor that holds it."""
        self.ensure(operation)
        return scratch(self.home / "staging", name, self.lock(operation))

    def entries(self, kind: str) -> Iterator[StoreEntry]:
        """Yield the entries of a kind by tag; a damaged one carries its error."""
        return entries.scan(self.root(kind), kind=kind, prefix=self.prefix)

    def find(self, kind: str, model: str, version: str) -> StoreEntry | None:
        """Return the entry of exactly this model and version, or None.

        An entry under the name that the project had before it was renamed or copied is found by its labels.
        """
        path = self.root(kind) / f"{self.prefix}{model}" / version
        if path.is_dir():
            return entries.read(path, kind=kind, prefix=self.prefix)
        for entry in self.entries(kind):
            if entry.model == model and entry.version == version and entry.labels.get("model") == model:
                return entry
        return None

    def twin(self, entry: StoreEntry) -> StoreEntry | None:
        """Return the Bento of a model, or the model of a Bento, or None."""
        other = "bento" if entry.kind == "model" else "model"
        path = self.root(other) / entry.path.parent.name / entry.version
        return entries.read(path, kind=other, prefix=self.prefix) if path.is_dir() else None

    def deployment(self, entry: StoreEntry) -> Deployment:
        """Describe a readable model together with its Bento, or the Bento of a service of the user's own."""
        bento = entry if entry.kind == "bento" else self.twin(entry)
        if entry.created_at is None:
            raise ValueError(entry.error)
        return Deployment(
            project=self.workspace.project_name,
            model=entry.model,
            version=entry.version,
            tag=entry.tag,
            model_tag=entry.tag if entry.kind == "model" else None,
            bento_tag=bento.tag if bento and not bento.error else None,
            path=entry.path,
            size=measure(entry.path).bytes if entry.size is None else entry.size,
            created_at=entry.created_at,
            labels=entry.labels,
            metadata=entry.metadata,
        )

    def publish(
        self,
        staged: Path,
        *,
        kind: str,
        name: str,
        version: str,
        operation: str,
        model: StoreEntry | None = None,
    ) -> bool:
        """Move a staged entry into the store in one step.

        Args:
            staged: The complete entry.
            kind: ``model`` or ``bento``.
            name: The name part of the tag.
            version: The version part of the tag.
            operation: The calling method, for errors.
            model: The model that a Bento was built from.

        Returns:
            Whether this call made the entry; False if the tag was already there, or the Bento's model is not
            there any more.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted or moved.
        """
        folder = self.root(kind) / name
        with self.lock(operation):
            self.workspace.require_present(operation=operation)
            if model is not None:
                now = entries.read(model.path, kind="model", prefix=self.prefix)
                if now is None or (now.digest, now.created_at) != (model.digest, model.created_at):
                    return False
            folder.mkdir(exist_ok=True)
            try:
                staged.rename(folder / version)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
            sync_directory(folder)
            self._point_latest(folder, version, staged.parent)
        return True

    def remove(self, *doomed: StoreEntry, operation: str) -> None:
        """Take entries out of the store, in this order and under one lock, then free their space."""
        with self.scratch("delete", operation) as (staging, _):
            with self.lock(operation):
                for entry in doomed:
                    self._take_out(entry, staging)
            for entry in doomed:
                sync_directory(self.root(entry.kind))

    def _take_out(self, entry: StoreEntry, staging: Path) -> None:
        try:
            entry.path.rename(staging / f"{entry.kind}-{entry.version}")
        except FileNotFoundError:
            return
        self._point_newest(entry.path.parent, entry.kind, staging)

    def complete(self, entry: StoreEntry, operation: str) -> None:
        """Write the file that names the newest version, which a kill just after ``publish`` leaves out."""
        folder = entry.path.parent
        if (folder / LATEST).exists():
            return
        with self.scratch("latest", operation) as (staging, _), self.lock(operation):
            self._point_newest(folder, entry.kind, staging)

    def _point_newest(self, folder: Path, kind: str, staging: Path) -> None:
        rest = [
            entries.read(path, kind=kind, prefix=self.prefix) for path in folder.iterdir() if path.is_dir()
        ]
        dated = [(e.created_at, e.version) for e in rest if e and e.created_at]
        if dated:
            self._point_latest(folder, max(dated)[1], staging)
        elif not rest:
            (folder / LATEST).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _point_latest(self, folder: Path, version: str, staging: Path) -> None:
        # BentoML reads this file for a tag without a version. It is written elsewhere first, because a
        # stray file or directory inside the store is an error to BentoML.
        temporary = staging / LATEST
        temporary.write_text(version, encoding="utf-8")
        temporary.replace(folder / LATEST)

    def damaged(self, entry: StoreEntry, operation: str) -> IntegrationError:
        """Return the error for an entry that cannot be read."""
        return IntegrationError(
            f"The stored {entry.kind} {entry.tag} cannot be read: {entry.error}",
            tool="bentoml",
            operation=operation,
            workspace=self.workspace.project_name,
            details={"path": str(entry.path)},
            hint=f"remove it with delete({entry.model!r}, {entry.version!r}) and deploy the model again",
        )
