"""Saved versions of pipelines, and where a project keeps them: one file of facts and one of code per version.

    pipelines/versions/<pipeline>/<version>.json    what it is, for people and for comparing
    pipelines/versions/<pipeline>/<version>.pkl     its steps and parameters, to run them again

Neither is ever written again. A version exists from the moment its facts are there, which come last.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from packaging.version import InvalidVersion, Version

from mlops.errors import DataIntegrityError, PipelineVersionError
from mlops.files import write_atomic
from mlops.pipelines.catalogue import DIRECTORY
from mlops.workspace import links
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import Link, ToolContext

SCHEMA: Final = 1
LOCK: Final = "pipelines"
MAX_LENGTH: Final = 64
# What may stand in a file name, an MLflow tag and a reference alike.
_NAME: Final = re.compile(rf"v?[0-9][0-9a-z.+_-]{{0,{MAX_LENGTH - 2}}}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class SavedStep:
    """One step of a saved version.

    Args:
        name: The step.
        function: Where its function was defined, as ``module:name``.
        code: Hash of the function and the user's own code it uses.
        sources: The text of that code by qualified name, as far as it has a text.
        inputs: Parameter to where its value comes from: ``step.output`` or ``params.name``.
        options: How it is carried out: its outputs, retries, limits and conditions.
        by_reference: Whether some of its code is only referred to, since it cannot be stored.
    """

    name: str
    function: str
    code: str
    sources: Mapping[str, str]
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    by_reference: bool = False


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """A pipeline as it was when it was saved.

    Args:
        pipeline: The pipeline.
        version: The version's name.
        created_at: When it was saved, aware.
        definition: Hash of its steps and parameters.
        steps: Its steps in the order they were added.
        order: The names of its steps in the order they run.
        params: Default parameters by name: their text and what they count as, ``[text, identity]``.
        data: The md5 of the newest version of each of the project's datasets, by name.
        metadata: Whatever the user wants to keep with it.
        description: One line for people.
        max_workers: How many of its steps are at work at once.
        python: The Python it was saved with, such as ``3.11``.
        code: SHA-256 of the file with its steps and parameters.
        copied_from: ``<project>/pipeline:<name>@<version>`` it is a copy of, or None.
    """

    pipeline: str
    version: str
    created_at: datetime
    definition: str
    steps: tuple[SavedStep, ...]
    order: tuple[str, ...]
    params: Mapping[str, tuple[str, str]]
    data: Mapping[str, str]
    metadata: Mapping[str, Any]
    description: str
    max_workers: int
    python: str
    code: str = ""
    copied_from: str | None = None

    @property
    def reference(self) -> str:
        """How lineage speaks of it: ``pipeline:<name>@<version>``."""
        return f"pipeline:{self.pipeline}@{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"created_at": self.created_at.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` described.

        Raises:
            ValueError, KeyError or TypeError: It is something else.
        """
        known = dict(values)
        known["created_at"] = datetime.fromisoformat(known["created_at"])
        known["steps"] = tuple(SavedStep(**step) for step in known["steps"])
        known["order"] = tuple(known["order"])
        known["params"] = {name: (text, identity) for name, (text, identity) in known["params"].items()}
        return cls(**known)


def check_version(version: object, *, operation: str, workspace: str | None = None) -> str:
    """Return a version's name, or refuse it.

    Args:
        version: A version as Python packages have it (PEP 440), with or without ``v`` in front.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        PipelineVersionError: The name breaks the rule.
    """
    if isinstance(version, str) and _NAME.fullmatch(version):
        try:
            Version(version)
        except InvalidVersion:
            pass
        else:
            return version
    raise PipelineVersionError(
        f"A version of a pipeline cannot be named {version!r}",
        operation=operation,
        workspace=workspace,
        hint="use numbers with dots, such as v1.0.0 or v1.1.0-rc.1",
    )


class VersionStore:
    """The versions of one project's pipelines.

    Args:
        workspace: The project.
    """

    def __init__(self, workspace: ProjectWorkspace) -> None:
        self._workspace = workspace

    def list(self, pipeline: str) -> list[PipelineVersion]:
        """Return the versions of a pipeline, oldest first by their numbers.

        Args:
            pipeline: A name that was checked.

        Raises:
            DataIntegrityError: A version's file is damaged.
        """
        paths = [path for path in self._directory(pipeline).glob("*.json") if not path.name.startswith(".")]
        return sorted((self._read(path) for path in paths), key=lambda found: Version(found.version))

    def pipelines(self) -> tuple[str, ...]:
        """Return the names of the pipelines that have saved versions, sorted."""
        root = self._root
        return tuple(sorted(path.name for path in root.iterdir())) if root.is_dir() else ()

    def find(self, pipeline: str, version: str) -> PipelineVersion | None:
        """Return a version, by any way to write its number, or None.

        Args:
            pipeline: A name that was checked.
            version: A version's name that was checked.
        """
        path = self._directory(pipeline) / f"{version}.json"
        if path.is_file():
            return self._read(path)
        wanted = Version(version)
        return next((found for found in self.list(pipeline) if Version(found.version) == wanted), None)

    def get(self, pipeline: str, version: str, *, operation: str) -> PipelineVersion:
        """Return a version.

        Args:
            pipeline: A name that was checked.
            version: Its name.
            operation: The calling method, for errors.

        Raises:
            PipelineVersionError: There is none of that name, or none can have it.
        """
        project = self._workspace.project_name
        found = self.find(pipeline, check_version(version, operation=operation, workspace=project))
        if found is not None:
            return found
        known = [each.version for each in self.list(pipeline)]
        raise PipelineVersionError(
            f"The pipeline {pipeline!r} has no version {version!r}",
            operation=operation,
            workspace=project,
            details={"versions": known},
            hint=f"there are: {', '.join(known)}" if known else "save one: pipeline.save_version('v1.0.0')",
        )

    def add(self, version: PipelineVersion, code: bytes) -> None:
        """Store a new version; the caller holds the lock and knows that there is none of that name.

        Args:
            version: Its facts.
            code: Its steps and parameters.
        """
        directory = self._workspace.root_path
        # One level at a time, so that a workspace that was moved away is not made anew in its old place.
        for part in (DIRECTORY, "versions", version.pipeline):
            directory /= part
            directory.mkdir(exist_ok=True)
        write_atomic(directory / f"{version.version}.pkl", code)
        content = {"schema": SCHEMA, **version.to_dict()}
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomic(directory / f"{version.version}.json", text + "\n")

    def code(self, version: PipelineVersion, *, operation: str) -> bytes:
        """Return a version's steps and parameters as they were stored.

        Args:
            version: The version.
            operation: The calling method, for errors.

        Raises:
            DataIntegrityError: They are gone or damaged.
        """
        path = self._directory(version.pipeline) / f"{version.version}.pkl"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        if hashlib.sha256(content).hexdigest() != version.code:
            raise self._damaged(path, "it is missing or not what was saved", operation)
        return content

    @property
    def _root(self) -> Path:
        return self._workspace.root_path / DIRECTORY / "versions"

    def _directory(self, pipeline: str) -> Path:
        return self._root / pipeline

    def _read(self, path: Path) -> PipelineVersion:
        try:
            content = json.loads(path.read_bytes())
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise self._damaged(path, f"it has schema {schema}, this release reads {SCHEMA}", "versions")
            return PipelineVersion.from_dict(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(path, str(error), "versions") from error

    def _damaged(self, path: Path, problem: str, operation: str) -> DataIntegrityError:
        return DataIntegrityError(
            f"A saved version of a pipeline cannot be read: {path}: {problem}",
            tool="pipelines",
            operation=operation,
            workspace=self._workspace.project_name,
            hint="restore the file from a backup, or move it away and save the version again",
        )


def version_links(context: ToolContext) -> Iterator[Link]:
    """Yield which data each saved version of a pipeline was saved with, and what it is a copy of.

    Args:
        context: The project.

    Raises:
        DataIntegrityError: A version's file is damaged.
    """
    store = VersionStore(context.workspace)
    for pipeline in store.pipelines():
        for version in store.list(pipeline):
            for name, md5 in version.data.items():
                yield Link(f"data:{md5}", version.reference, links.INPUT_OF, {"name": name})
            if version.copied_from:
                yield Link(version.copied_from, version.reference, links.COPIED_TO)
