"""What was cut off half-way: a renaming, a restore, and the files that writers prepare before they store."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from mlops import names
from mlops.files import STATE_DIRECTORY, locked
from mlops.integrations.bentoml_serving import BentoServing
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.project import project_id
from mlops.reporting.doctor.crashes import abandoned_claims
from mlops.reporting.doctor.finding import SHOWN, Check, Finding, named
from mlops.reporting.doctor.subject import Subject
from mlops.reporting.doctor.tree import Tree, newest_change
from mlops.workspace import renaming
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.scratch import is_held, sweep

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

# Nothing is prepared for so long; the tools' own clean-up of what killed processes left uses the same.
_ABANDONED_SECONDS: Final = 86_400.0
_WORKSPACES: Final = "workspaces"
# What a restore of monitoring data keeps in its staging directory: what was there before.
_REPLACED: Final = "old"


def renamed(manager: WorkspaceManager, workspace: ProjectWorkspace) -> Iterator[Finding]:
    """Yield a renaming that was not finished.

    Args:
        manager: The base.
        workspace: The project.
    """
    root = workspace.root_path
    if not renaming.pending(root):
        return

    def finish() -> str | None:
        with workspace.lock(operation="doctor"):
            if not renaming.pending(root):
                return None
            renaming.finish(manager, root)
            return "it is finished now"

    yield Finding(
        workspace.project_name,
        Check.RENAME,
        f"{workspace.project_name} is being renamed, or that was cut off: {root / renaming.MARKER} is there",
        "opening the project, or mlops doctor --fix, finishes it",
        details={"path": str(root / renaming.MARKER)},
        repair=finish,
    )


def temporary_files(workspace: ProjectWorkspace, tree: Tree) -> Iterator[Finding]:
    """Yield files that writers were killed over, before they took their place.

    Args:
        workspace: The project.
        tree: What its directory has.
    """
    before = time.time() - _ABANDONED_SECONDS
    outputs = workspace.outputs_path
    left = [path for path, at in tree.temporary.items() if at < before and not path.is_relative_to(outputs)]
    if left:
        yield _leftover(
            workspace.project_name, sorted(left), "A file that was being written was never completed"
        )


def staged_models(subject: Subject) -> Iterator[Finding]:
    """Yield scratch directories in a project's model store that nobody holds."""
    store = BentoServing(subject.context).store
    root = store.home / "staging"

    def clear() -> str | None:
        with store.lock("doctor"):
            sweep(root)
        return "it was removed" if any(not path.exists() for path in left) else None

    if left := abandoned_claims(root):
        yield Finding(
            subject.project,
            Check.LEFTOVER,
            f"A model was being packaged in {named(left)}, which nobody does any more",
            _HINT,
            details={"paths": [str(path) for path in left[:SHOWN]]},
            repair=clear,
        )


def monitoring_restore(workspace: ProjectWorkspace) -> Iterator[Finding]:
    """Yield monitoring data that a restore had moved aside when it was killed.

    Args:
        workspace: The project.
    """
    target = workspace.monitoring_path
    staging = workspace.state_path / "staging"
    for directory in sorted(staging.glob("restore-*")):
        replaced = directory / _REPLACED
        if not (replaced / project_id(workspace)).is_dir():
            continue
        if target.exists():
            # The restore was complete, or something was stored since: which, nobody but a person knows.
            yield Finding(
                workspace.project_name,
                Check.RESTORE,
                f"What a restore of the monitoring data replaced is still in {replaced}",
                f"if what is in {target} now is right, remove it",
                problem=False,
                details={"path": str(replaced)},
            )
            continue

        def put_back(replaced: Path = replaced) -> str | None:
            with workspace.lock(TOOL, operation="doctor"):
                if target.exists() or not replaced.exists():
                    return None
                replaced.rename(target)
            return "it is back"

        yield Finding(
            workspace.project_name,
            Check.RESTORE,
            f"A restore of the monitoring data was cut off; what was there before is in {replaced}",
            "put it back with: mlops doctor --fix",
            details={"path": str(replaced)},
            repair=put_back,
        )


def of_base(base: Path, workspaces: Sequence[ProjectWorkspace]) -> Iterator[Finding]:
    """Yield what is left in the staging directory that all projects of a base share.

    Args:
        base: The base path.
        workspaces: Its projects; what carries the name or id of one is told as that project's.
    """
    staging = base / STATE_DIRECTORY / "staging"
    by_owner: dict[str, list[Path]] = {}
    for path in sorted(staging.iterdir()) if staging.is_dir() else ():
        if path.name != _WORKSPACES and is_abandoned(path):
            by_owner.setdefault(_owner(path.name, workspaces), []).append(path)
    for owner, left in by_owner.items():
        yield _leftover(owner, left, "Something was being prepared, and was left half-way")
    copies = staging / _WORKSPACES

    def clear() -> str | None:
        with locked(base / STATE_DIRECTORY / "locks" / "staging.workspaces.lock", operation="doctor"):
            sweep(copies)
        return "it was removed" if any(not path.exists() for path in left) else None

    if left := abandoned_claims(copies):
        yield Finding(
            "",
            Check.LEFTOVER,
            f"A project was being copied in {named(left)}, which nobody does any more",
            _HINT,
            details={"paths": [str(path) for path in left[:SHOWN]]},
            repair=clear,
        )


_HINT: Final = "remove it with: mlops doctor --fix"


def _leftover(owner: str, left: Sequence[Path], what: str) -> Finding:
    def remove() -> str | None:
        present = [path for path in left if path.exists()]
        for path in present:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return "it was removed" if present else None

    details = {"paths": [str(path) for path in left[:SHOWN]]}
    return Finding(owner, Check.LEFTOVER, f"{what}: {named(left)}", _HINT, details=details, repair=remove)


def is_abandoned(path: Path) -> bool:
    """Say whether what somebody prepares in a staging directory was left there, and holds nothing unique."""
    if path.name.endswith(".mlflow-previous") or (path / _REPLACED).exists():
        # The only copy of what a restore that was cut off was replacing.
        return False
    if (pid := _pid_of(path.name)) is not None:
        return not psutil.pid_exists(pid)
    if path.is_dir() and is_held(path):
        return False  # the call of a step that takes longer than that
    return newest_change(path) < time.time() - _ABANDONED_SECONDS


def _pid_of(name: str) -> int | None:
    """Return the process of this machine that made a directory with ``vault.scratch``, or None."""
    _, found, rest = name.partition(f".dvc.{socket.gethostname()}.")
    with contextlib.suppress(ValueError):
        return int(rest.partition(".")[0]) if found else None
    return None


def _owner(name: str, workspaces: Sequence[ProjectWorkspace]) -> str:
    for workspace in workspaces:
        slug = names.slug(workspace.project_name)
        if name.startswith((f"{slug}.dvc.", f"{workspace.id}.")):
            return workspace.project_name
    return ""
