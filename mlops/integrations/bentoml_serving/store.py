"""The project's BentoML store: entries appear whole or not at all, and are found by their exact tag.

BentoML's own store writes entries in place, looks versions up by prefix, and fails as a whole when one entry
is incomplete, so this module writes and reads the same files itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import IntegrationError, IntegrationUnavailableError, MLOpsError
from mlops.files import measure, sync_directory
from mlops.integrations.bentoml_serving import entries
from mlops.integrations.bentoml_serving.entries import Deployment, StoreEntry
from mlops.integrations.bentoml_serving.model_card import digest, model_files
from mlops.integrations.bentoml_serving.staging import scratch

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

# The folder of a Bento model that holds the MLflow model; bentoml.mlflow uses the same name.
MLFLOW_FOLDER: Final = "mlflow_model"
# What the project holds; scratch directories and the logs of servers are beside it.
PARTS: Final = ("models", "bentos")
DIRECTORIES: Final = (*PARTS, "staging")
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
        for name in DIRECTORIES:
            (self.home / name).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def reporting(self, failure: str, operation: str) -> Iterator[None]:
        """Raise an operating system's error, such as a full disk, as one that says what could not be done.

        Args:
            failure: What could not be done, as the start of a sentence.
            operation: The calling method, for the error.

        Raises:
            IntegrationError: With the operating system's reason.
        """
        try:
            yield
        except MLOpsError:
            # Some of ours are errors of the operating system as well, such as a lock's time-out.
            raise
        except OSError as error:
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
            if path.exists() and not path.is_dir():
                return f"{path} is not a directory"
            if path.exists() and not os.access(path, os.R_OK | os.X_OK):
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
        """Describe a readable model together with its Bento."""
        bento = self.twin(entry)
        if entry.created_at is None:
            raise ValueError(entry.error)
        return Deployment(
            project=self.workspace.project_name,
            model=entry.model,
            version=entry.version,
            tag=entry.tag,
            model_tag=entry.tag,
            bento_tag=bento.tag if bento and not bento.error else None,
            path=entry.path,
            size=measure(entry.path).bytes if entry.size is None else entry.size,
            created_at=entry.created_at,
            labels=entry.labels,
            metadata=entry.metadata,
        )

    def stage_model(
        self,
        source: Path,
        target: Path,
        *,
        name: str,
        version: str,
        labels: Mapping[str, str],
        metadata: Mapping[str, Any],
        bentoml_version: str,
    ) -> str:
        """Write a complete Bento model into a scratch directory.

        Args:
            source: The MLflow model directory.
            target: The directory to make.
            name: The name part of the tag.
            version: The version part of the tag.
            labels: Text labels.
            metadata: What the user stores with the model.
            bentoml_version: The installed version, which the file records.

        Returns:
            The content's digest.
        """
        # An artifact that the workspace keeps can be shared. A file of the user's may be rewritten in place
        # by the next training, which would change what is deployed, so it is copied.
        own = (self.workspace.mlflow_path.resolve(), self.workspace.state_path.resolve())
        content = target / MLFLOW_FOLDER
        content.mkdir(parents=True)
        for path in model_files(source):
            copy = content / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            real = path.resolve(strict=True)
            place(real, copy, link=any(root in real.parents for root in own))
        # Of what was staged, not of the source: that may be changing while it is read.
        content_digest = digest(content)
        description = {
            "name": name,
            "version": version,
            "module": "",
            "labels": dict(labels),
            "options": {},
            "metadata": {
                **metadata,
                entries.OWN_METADATA: {"digest": content_digest, "size": measure(content).bytes},
            },
            "context": {
                "framework_name": "mlflow",
                "framework_versions": {},
                "bentoml_version": bentoml_version,
                "python_version": platform.python_version(),
            },
            "signatures": {},
            "api_version": "v1",
            "creation_time": datetime.now(UTC).isoformat(),
        }
        # JSON is YAML, so the file needs no YAML writer and no quoting rules.
        text = json.dumps(description, indent=2, ensure_ascii=False)
        with (target / entries.MODEL_FILE).open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        return content_digest

    def publish(self, staged: Path, *, kind: str, name: str, version: str, operation: str) -> bool:
        """Move a staged entry into the store in one step.

        Returns:
            Whether this call made the entry; False if the tag was already there.
        """
        folder = self.root(kind) / name
        with self.lock(operation):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                staged.rename(folder / version)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
            sync_directory(folder)
            self._point_latest(folder, version, staged.parent)
        return True

    def remove(self, entry: StoreEntry, operation: str) -> None:
        """Take an entry out of the store in one step, then free its space."""
        with self.scratch("delete", operation) as (staging, _):
            with self.lock(operation):
                try:
                    entry.path.rename(staging / entry.version)
                except FileNotFoundError:
                    return
                folder = entry.path.parent
                rest = [
                    entries.read(path, kind=entry.kind, prefix=self.prefix)
                    for path in folder.iterdir()
                    if path.is_dir()
                ]
                dated = [(e.created_at, e.version) for e in rest if e and e.created_at]
                if dated:
                    self._point_latest(folder, max(dated)[1], staging)
                elif not rest:
                    (folder / "latest").unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            sync_directory(self.root(entry.kind))

    def _point_latest(self, folder: Path, version: str, staging: Path) -> None:
        # BentoML reads this file for a tag without a version. It is written elsewhere first, because a
        # stray file or directory inside the store is an error to BentoML.
        temporary = staging / "latest"
        temporary.write_text(version, encoding="utf-8")
        temporary.replace(folder / "latest")

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


def place(source: Path, target: Path, *, link: bool) -> None:
    """Put a file's content at ``target``: as a hard link if wanted and possible, else as a durable copy."""
    if link:
        with contextlib.suppress(OSError):
            target.hardlink_to(source)
            return
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())
