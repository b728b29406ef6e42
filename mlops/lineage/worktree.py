"""A separate git worktree with the code of a run; the user's own tree and index are never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking.packages import editable_directories
from mlops.lineage.recipe import OPERATION

TOOL: Final = "git"
# Checking out a large tree on a slow disk.
_SECONDS: Final = 600.0
# Inside a hook these would lead git away from the repository that is named.
_LEADING_AWAY: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


def find_repository(commit: str, places: Iterable[Path], *, project: str) -> Path:
    """Return the top directory of the repository that has a commit.

    Args:
        commit: The commit's hash.
        places: Directories that may be in it, the likeliest first.
        project: The project, for errors.

    Raises:
        IntegrationError: None of them is in a repository, or none has the commit.
    """
    found = _repositories(places)
    if (repository := repository_with(commit, found)) is not None:
        return repository
    if not found:
        raise _error(
            f"There is no git repository here to check the commit {commit} out from",
            project,
            hint="change into the repository of the code, or leave checkout out and follow the README",
        )
    listed = ", ".join(str(root) for root in found)
    raise _error(
        f"The repository {listed} does not have the commit {commit}",
        project,
        hint=f"fetch it: git -C {found[0]} fetch --all --tags (a shallow clone needs --unshallow);"
        " a commit that was never pushed is only where it was made",
    )


def repository_with(commit: str, places: Iterable[Path]) -> Path | None:
    """Return the top directory of the first repository that has a commit, or None.

    Args:
        commit: The commit's hash.
        places: Directories that may be in it.
    """
    for root in _repositories(places):
        if _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0:
            return root
    return None


def add(repository: Path, target: Path, commit: str, *, project: str) -> None:
    """Check a commit out into a new worktree.

    Args:
        repository: The top directory of the repository.
        target: The worktree; it must not exist.
        commit: The commit.
        project: The project, for errors.

    Raises:
        IntegrationError: Git refuses.
    """
    # Forced, because a worktree whose directory somebody removed stays registered at that path.
    _require(
        repository,
        "worktree",
        "add",
        "--force",
        "--detach",
        str(target),
        commit,
        project=project,
        doing="check out",
    )


def apply(worktree: Path, diff: Path, *, project: str) -> None:
    """Apply a run's own changes to its commit.

    Args:
        worktree: The worktree.
        diff: A file for ``git apply``.
        project: The project, for errors.

    Raises:
        IntegrationError: It does not fit.
    """
    _require(
        worktree, "apply", "--whitespace=nowarn", str(diff), project=project, doing="apply the changes in"
    )


def remove(worktree: Path, *, project: str) -> None:
    """Remove a worktree with what is in it; in a copied directory it is only a directory.

    Args:
        worktree: The worktree.
        project: The project, for errors.

    Raises:
        IntegrationError: Git refuses.
    """
    listed = _git(worktree, "worktree", "list", "--porcelain").stdout.splitlines()
    if f"worktree {worktree.resolve()}" in listed[1:]:
        main = Path(listed[0].removeprefix("worktree "))
        _require(
            main, "worktree", "remove", "--force", str(worktree.resolve()), project=project, doing="remove"
        )
    elif worktree.exists():
        shutil.rmtree(worktree)


def import_paths(repository: Path, worktree: Path) -> list[Path]:
    """Return what comes first when the code of a worktree is imported.

    Where the user's tree is installed for editing, or on ``PYTHONPATH``, its modules would be found before
    those of the worktree.

    Args:
        repository: The user's tree.
        worktree: The worktree.
    """
    own_prefix = Path(sys.prefix).resolve()
    listed = [Path(path).resolve() for path in sys.path[1:] if path]
    for directory in editable_directories():
        listed += [directory.resolve() / "src", directory.resolve()]
    inherited = os.environ.get("PYTHONPATH", "")
    listed += [Path(path).resolve() for path in inherited.split(os.pathsep) if path]
    root = repository.resolve()
    found = [
        worktree / path.relative_to(root)
        for path in listed
        if path.is_relative_to(root) and not path.is_relative_to(own_prefix)
    ]
    return [path for path in dict.fromkeys(found) if path.is_dir()]


def _repositories(places: Iterable[Path]) -> list[Path]:
    tops = [_git(place, "rev-parse", "--show-toplevel") for place in places]
    return list(dict.fromkeys(Path(top.stdout.rstrip("\n")) for top in tops if top.returncode == 0))


def _require(directory: Path, *arguments: str, project: str, doing: str) -> None:
    done = _git(directory, *arguments)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise _error(
            f"git could not {doing} {directory}: {lines[-1].removeprefix('fatal: ').removeprefix('error: ')}",
            project,
            hint=f"see what git says: git -C {directory} {' '.join(arguments)}",
        )


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in _LEADING_AWAY}
    # Hooks are the user's and may do anything to the tree they are meant for.
    command = ["git", "-C", str(directory), "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_SECONDS,
            check=False,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _error(message: str, project: str, *, hint: str) -> IntegrationError:
    return IntegrationError(message, tool=TOOL, operation=OPERATION, workspace=project, hint=hint)
