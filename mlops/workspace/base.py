"""The base directory: what marks it, what git sees of it, and which entries are projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlops import names
from mlops.errors import InvalidProjectNameError
from mlops.files import STATE_DIRECTORY, contained, write_atomic
from mlops.workspace.model import METADATA_FILE

# Configuration belongs in git; databases, data and models do not.
GITIGNORE: Final = """\
*
!/.gitignore
!/*/
!/*/workspace.yaml
/.mlops/
"""


def prepare(base: Path) -> None:
    """Create the base with its state directory and .gitignore; what is there stays as it is."""
    (base / STATE_DIRECTORY).mkdir(parents=True, exist_ok=True)
    ignore = base / ".gitignore"
    if not ignore.exists():
        write_atomic(ignore, GITIGNORE)


def project_root(base: Path, project_name: object, *, operation: str) -> Path:
    """Return the directory of a project, after checking the name and that it lies inside the base.

    Raises:
        InvalidProjectNameError: The name breaks the rule.
        IsolationError: The directory is a link that leads out of the base.
    """
    name = names.validate_project_name(project_name, operation=operation)
    contained(base / name, base, operation=operation, workspace=name)
    return base / name


def project_directories(base: Path) -> Iterator[Path]:
    """Yield the directories that hold a ``workspace.yaml``, sorted by name."""
    try:
        entries = sorted(base.iterdir(), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if not entry.name.startswith(".") and (entry / METADATA_FILE).exists():
            yield entry


def refuse_collision(base: Path, name: str, *, operation: str, besides: str | None = None) -> None:
    """Refuse a name that differs from an existing project's only in ``_`` and ``-``.

    Args:
        base: The base path.
        name: The name.
        operation: The calling method, for the error.
        besides: A project that is about to give up its name.

    Raises:
        InvalidProjectNameError: The two would share their slug on a server.
    """
    for other in project_directories(base):
        if other.name not in (name, besides) and names.slug(other.name) == names.slug(name):
            raise InvalidProjectNameError(
                f"Project name {name!r} collides with the existing project {other.name!r}: "
                "'_' and '-' count as the same character",
                operation=operation,
                workspace=name,
                details={"collides_with": other.name},
                hint=f"open {other.name!r}, or choose a name that differs in more than '_' and '-'",
            )
