"""The state of the code a process runs: its repository, the commit, and how tracked files differ from it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

COMMIT_TAG: Final = "mlops.git_commit"
DIRTY_TAG: Final = "mlops.git_dirty"
# A very large repository on a cold disk; a run does not wait longer for its tags.
_SECONDS: Final = 10.0
# A larger difference is data or generated files more often than code; it is then only said to exist.
MAX_DIFF_BYTES: Final = 2_000_000
# What `git apply` understands, whatever form the user prefers to read differences in.
_PATCH: Final = (
    "--binary",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--submodule=short",
)


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code of a process.

    Args:
        repository: The top directory of the working tree.
        commit: The commit that is checked out.
        dirty: Whether tracked files, or the program itself, differ from it.
        diff: What ``git apply`` needs to get from the commit to the code; empty for a clean tree, None if it
            is larger than ``MAX_DIFF_BYTES`` or could not be had.
    """

    repository: Path
    commit: str
    dirty: bool
    diff: bytes | None


def program() -> Path | None:
    """Return the file of the program this process was started with, or None where there is none.

    Python makes the main module's path absolute when it starts, so this holds after ``os.chdir`` too.
    """
    found = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv[0] if sys.argv else "")
    path = Path(found).absolute() if found else None
    return path if path is not None and path.is_file() else None


@cache
def is_installed(path: Path) -> bool:
    """Say whether a program is one that an installed package brings, such as ``torchrun`` or ``pytest``."""
    prefixes = {Path(sysconfig.get_path(name)) for name in ("scripts", "purelib", "platlib", "stdlib")}
    return any(path.is_relative_to(prefix) for prefix in prefixes)


def own_state(directory: Path) -> CodeState | None:
    """Return the state of the code of this process; None outside a repository or without git.

    Args:
        directory: The working directory. The code is where the program is; only if that is an installed one,
            or there is none, the code is here.
    """
    path = program()
    if path is None or is_installed(path):
        return state_of(directory, None)
    return state_of(path.parent, path)


@cache
def state_of(directory: Path, script: Path | None) -> CodeState | None:
    """Return the state of the repository that a directory is in; None if there is none.

    It is taken once per process, because the code was read once. Files that git does not track do not count
    as a difference, because they are outputs more often than code; the program itself does.

    Args:
        directory: A directory of the code.
        script: The program.
    """
    found = _git(directory, "rev-parse", "--show-toplevel", "HEAD")
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no") if found else None
    if not found or changes is None:
        return None
    top, _, commit = found.decode("utf-8", "surrogateescape").strip().rpartition("\n")
    repository = Path(top)
    added = b"" if script is None else _as_patch(repository, script)
    if not changes and not added:
        return CodeState(repository, commit, False, b"")
    diff = _git(repository, "diff", "HEAD", *_PATCH)
    whole = None if diff is None else diff + added
    return CodeState(
        repository, commit, True, whole if whole is not None and len(whole) <= MAX_DIFF_BYTES else None
    )


def _as_patch(repository: Path, script: Path) -> bytes:
    """Return the patch that adds a program git does not track; empty for one it does, or ignores."""
    listed = _git(repository, "ls-files", "--others", "--exclude-standard", "-z", "--", str(script))
    if not listed:
        return b""
    name = listed.rstrip(b"\0").decode("utf-8", "surrogateescape")
    # That the two differ is exit code 1.
    patch = _git(repository, "diff", *_PATCH, "--no-index", "/dev/null", name, differs=True)
    return patch or b""


def _git(directory: Path, *arguments: str, differs: bool = False) -> bytes | None:
    # Without optional locks git leaves the index alone, where another git may be at work.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode in ((0, 1) if differs else (0,)) else None
