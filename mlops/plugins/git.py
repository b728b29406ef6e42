"""The state of the code a process runs: the commit, and whether tracked files differ from it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

COMMIT_TAG: Final = "mlops.git_commit"
DIRTY_TAG: Final = "mlops.git_dirty"
# A very large repository on a cold disk; a run does not wait longer for its tags.
_SECONDS: Final = 10.0


def code_directory() -> Path:
    """Return the directory of the program that was started, or the working directory where there is none."""
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    return program.absolute().parent if program is not None and program.is_file() else Path.cwd()


@cache
def code_tags(directory: Path) -> dict[str, str]:
    """Return the tags of the repository a directory is in; none outside a repository or without git.

    They are taken once per process, because the code was read once. Files git does not track do not count as
    a difference: they are outputs more often than code.

    Args:
        directory: A directory of the code.
    """
    commit = _git(directory, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    if not commit or changes is None:
        return {}
    return {COMMIT_TAG: commit, DIRTY_TAG: "true" if changes else "false"}


def _git(directory: Path, *arguments: str) -> str | None:
    # Without optional locks git leaves the index alone, where another git may be at work.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
