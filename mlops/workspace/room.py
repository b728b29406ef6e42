"""Room for what is about to be stored: refused before anything is written where a hard limit would be passed.

Checked is what versions of data, artifacts, models, packages, reference data and outputs of pipelines take
when they are stored through this package. What is small (parameters, metrics, texts, figures, checks), what
plain MLflow or BentoML code stores by itself, and an imported, cloned or restored workspace are not refused;
they count as soon as they are measured.

What the workspace holds is measured, hard links once, and remembered by the process for some seconds. A write
is refused on a fresh measurement only. What another writer is storing at the same moment may not be measured
yet, so two of them may go beyond a limit together, by what they write then and no more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mlops.errors import ConfigError, QuotaExceededError, WorkspaceCorruptError
from mlops.files import STATE_DIRECTORY, human_bytes, measure_parts
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.quota import TOTAL, Limits, QuotaRow, assess, limits_of

logger = logging.getLogger(__name__)

# A measurement counts for so long, or for longer where the walk took long: at most a twentieth of the time is
# spent on walks.
_FRESH_SECONDS: Final = 10.0
_FRESH_FACTOR: Final = 20.0


def require_room(
    workspace: ProjectWorkspace,
    *,
    directory: str,
    adding_bytes: int | Callable[[], int],
    operation: str,
    staged: bool = False,
    linked: bool = False,
    planned: bool = False,
) -> None:
    """Raise if something would take a project over a hard limit; call it before anything is stored.

    A project without limits costs the look at the time of its ``workspace.yaml``, and nothing is measured. A
    ``quota`` section that is wrong, in a file somebody edited, limits nothing: that is logged.

    Args:
        workspace: The project.
        directory: The directory of the workspace where it goes, such as ``dvc``.
        adding_bytes: How much it is, or a function that finds out, called where there is a limit.
        operation: The calling method, for the error.
        staged: Whether it lies in that directory already, as a temporary file.
        linked: Whether it is in the workspace already and becomes a hard link, which costs nothing in total.
        planned: Whether this only saves preparing in vain what cannot be stored: the write itself asks again.

    Raises:
        QuotaExceededError: There is no room for it.
    """
    limits = _limits_now(workspace, operation)
    if not limits:
        return
    adding = adding_bytes() if callable(adding_bytes) else adding_bytes
    if adding <= 0:
        return
    write = _Write(workspace, directory, adding, linked, planned, operation)
    after = write.by_memory(limits)
    if after is None:
        measured = _measure(workspace.root_path, directory, adding if staged else 0)
        if row := write.exceeded(limits, measured):
            raise write.refusal(row)
        after = measured if planned else write.after(measured)
        with _lock:
            _measured[workspace.root_path] = after
    if not planned:
        write.warn(limits, after)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a workspace held when it was measured, with what this process has stored since."""

    by_directory: Mapping[str, int]
    total: int
    until: float


@dataclass(frozen=True, slots=True)
class _Write:
    """Something that is about to be stored."""

    workspace: ProjectWorkspace
    directory: str
    adding: int
    linked: bool
    planned: bool
    operation: str

    def after(self, measured: _Measured) -> _Measured:
        held = measured.by_directory.get(self.directory, 0)
        return replace(
            measured,
            by_directory={**measured.by_directory, self.directory: held + self.adding},
            total=measured.total + (0 if self.linked else self.adding),
        )

    def by_memory(self, limits: Limits) -> _Measured | None:
        """Return what there is then, if what was measured lately has room for this write."""
        root = self.workspace.root_path
        with _lock:
            measured = _measured.get(root)
            if measured is None or measured.until < time.monotonic() or self.exceeded(limits, measured):
                return None
            if not self.planned:
                measured = _measured[root] = self.after(measured)
            return measured

    def exceeded(self, limits: Limits, measured: _Measured) -> QuotaRow | None:
        """Return the limit there is no room in, with what is used of it now."""
        before = assess(limits, measured.by_directory, measured.total)
        after = self.after(measured)
        for now, then in zip(before, assess(limits, after.by_directory, after.total), strict=True):
            # What does not grow is none of this write's business.
            if then.state == "hard" and then.used_bytes > now.used_bytes:
                return now
        return None

    def refusal(self, row: QuotaRow) -> QuotaExceededError:
        project, hard = self.workspace.project_name, row.hard_bytes or 0
        option = "" if row.scope == TOTAL else f" --tool {row.scope}"
        return QuotaExceededError(
            f"There is no room for {human_bytes(self.adding)} more in {_label(row.scope, project)}: "
            f"{human_bytes(row.used_bytes)} of its hard limit of {human_bytes(hard)} are used",
            operation=self.operation,
            workspace=project,
            details={
                "scope": row.scope,
                "used_bytes": row.used_bytes,
                "hard_bytes": hard,
                "adding_bytes": self.adding,
            },
            hint=f"see what can be freed with: mlops usage {project} --gc; or raise the limit with: "
            f"mlops quota {project}{option} --hard SIZE",
        )

    def warn(self, limits: Limits, measured: _Measured) -> None:
        """Log each soft limit that is exceeded, once until there is room again."""
        for row in assess(limits, measured.by_directory, measured.total):
            key = (self.workspace.root_path, row.scope)
            if row.state == "ok":
                _warned.discard(key)
            elif key not in _warned and row.soft_bytes is not None:
                _warned.add(key)
                logger.warning(
                    "%s holds %s, which is over its soft limit of %s",
                    _label(row.scope, self.workspace.project_name),
                    human_bytes(row.used_bytes),
                    human_bytes(row.soft_bytes),
                )


_lock = threading.Lock()
_measured: dict[Path, _Measured] = {}
_warned: set[tuple[Path, str]] = set()
# The limits by workspace, with what tells one state of its file from another.
_limits: dict[Path, tuple[tuple[int, int, int], Limits]] = {}


def _after_fork() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _limits_now(workspace: ProjectWorkspace, operation: str) -> Limits:
    """Return the limits that the file sets now, whenever the project was opened."""
    try:
        status = workspace.metadata_file.stat()
    except OSError:
        return Limits()
    state = (status.st_mtime_ns, status.st_size, status.st_ino)
    known = _limits.get(workspace.root_path)
    if known is not None and known[0] == state:
        return known[1]
    name = workspace.project_name
    try:
        limits = limits_of(
            ProjectWorkspace.load_metadata(workspace.root_path, project_name=name), operation=operation
        )
    except (ConfigError, WorkspaceCorruptError) as error:
        logger.warning("Nothing is limited in %r: %s", name, error)
        limits = Limits()
    _limits[workspace.root_path] = (state, limits)
    return limits


def _measure(root: Path, directory: str, staged_bytes: int) -> _Measured:
    started = time.monotonic()
    parts, whole = measure_parts(root)
    by_directory = {name: usage.bytes for name, usage in parts.items()}
    # Where a workspace has no base, its staging is inside; what is prepared there is not stored yet.
    total = whole.bytes - by_directory.pop(STATE_DIRECTORY, 0) - staged_bytes
    by_directory[directory] = by_directory.get(directory, 0) - staged_bytes
    ended = time.monotonic()
    return _Measured(by_directory, total, ended + max(_FRESH_SECONDS, _FRESH_FACTOR * (ended - started)))


def _label(scope: str, project: str) -> str:
    return f"the project {project!r}" if scope == TOTAL else f"{scope} of the project {project!r}"
