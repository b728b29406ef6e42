"""Many projects in one call: from a list of names, or from the folders of a monorepo."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import names
from mlops.errors import ConfigError, InvalidProjectNameError, MLOpsError
from mlops.settings import project_name_in
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.workspace.manager import WorkspaceManager

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BootstrapFailure:
    """A project that could not be set up.

    Args:
        source: The name or folder it was asked for by.
        error: Why.
    """

    source: str
    error: MLOpsError


class BootstrapResult(list[ProjectWorkspace]):
    """The workspaces that are there now, sorted by name, and in ``failures`` what could not be set up."""

    def __init__(self, workspaces: list[ProjectWorkspace], failures: list[BootstrapFailure]) -> None:
        super().__init__(workspaces)
        self.failures: tuple[BootstrapFailure, ...] = tuple(failures)


def bootstrap(
    manager: WorkspaceManager,
    projects: list[str] | None,
    *,
    discover: str | None,
    config: dict[str, Any],
) -> BootstrapResult:
    """Create or open many projects; safe to repeat.

    A project that fails is logged as a warning and listed in the result's ``failures``; the rest is done.

    Args:
        manager: Where to create them.
        projects: Their names.
        discover: A glob of project folders, relative to the repository (or the working directory). A project
            is named by its folder's pyproject.toml, else by the folder.
        config: Passed to every ``get_or_create_workspace``.

    Raises:
        ConfigError: Neither names nor a glob were given, or the glob matches no folder.
    """
    if (projects is None) == (discover is None):
        raise ConfigError(
            "bootstrap needs either a list of project names or discover=",
            operation="bootstrap",
            hint='call bootstrap(["churn", "fraud"]) or bootstrap(discover="projects/*")',
        )
    if isinstance(projects, str):
        raise ConfigError(
            f"bootstrap needs a list of names, not the text {projects!r}",
            operation="bootstrap",
            hint=f"call bootstrap([{projects!r}])",
        )
    folders = _folders(manager.location.root, discover) if discover is not None else []
    sources: list[str | Path] = [*(projects or []), *folders]
    done: dict[str, ProjectWorkspace] = {}
    origin: dict[str, str] = {}
    failures: list[BootstrapFailure] = []
    for source in sources:
        try:
            name = _name_of(source) if isinstance(source, Path) else source
            if name in origin and isinstance(source, Path):
                raise InvalidProjectNameError(
                    f"{source} and {origin[name]} are both named {name!r}",
                    operation="bootstrap",
                    workspace=name,
                    hint="set [tool.mlops] project in one of the two pyproject.toml files",
                )
            done[name] = manager.get_or_create_workspace(name, **config)
            origin[name] = str(source)
        except MLOpsError as error:
            logger.warning("bootstrap: %s was left out: %s", source, error)
            failures.append(BootstrapFailure(str(source), error))
    return BootstrapResult([done[name] for name in sorted(done)], failures)


def _folders(root: Path, pattern: str) -> list[Path]:
    try:
        matches = sorted(root.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"{pattern!r} is not a relative glob: {error}",
            operation="bootstrap",
            hint='use a pattern such as "projects/*"',
        ) from error
    folders = [path for path in matches if path.is_dir() and not path.name.startswith((".", "__"))]
    if not folders:
        raise ConfigError(
            f"No folder matches {pattern!r} in {root}",
            operation="bootstrap",
            hint="the pattern is relative to the repository root",
        )
    return folders


def _name_of(folder: Path) -> str:
    name = project_name_in(folder / "pyproject.toml") or folder.name
    try:
        return names.validate_project_name(name, operation="bootstrap")
    except InvalidProjectNameError as error:
        raise InvalidProjectNameError(
            str(error),
            operation="bootstrap",
            workspace=name,
            details=error.details,
            hint=f"set [tool.mlops] project = {error.details['suggestion']!r} in {folder / 'pyproject.toml'}",
        ) from None
