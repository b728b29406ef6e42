"""The protocol every tool adapter fulfils, and the registry that finds adapters through entry points.

The workspace reaches a tool only through this module, so a fifth tool is one module and one entry point in
the group ``mlops.integrations``. Adapters are imported when they are used; a broken one is reported by the
health of its tool and never breaks the others.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, runtime_checkable

from mlops.errors import IntegrationError, IntegrationNotInstalledError, MLOpsError
from mlops.files import Usage

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from mlops.settings import ProjectSettings
    from mlops.workspace.model import ProjectWorkspace

logger = logging.getLogger(__name__)

GROUP: Final = "mlops.integrations"
DISTRIBUTION: Final = "mlops-workspaces"
_VERSION: Final = re.compile(r"^Version: *(\S+)", re.MULTILINE)


class ToolState(StrEnum):
    """What a tool can do for a project right now."""

    READY = "ready"
    NOT_CREATED = "not-created"
    NOT_INSTALLED = "not-installed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ToolHealth:
    """The state of one tool in one project.

    Args:
        tool: The tool's name.
        state: What it can do now.
        location: Where its data lives: a path or a URI without credentials.
        version: The installed version, or None.
        error: Why it is not ready, or None.
    """

    tool: str
    state: ToolState
    location: str = ""
    version: str | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "state": str(self.state),
            "location": self.location,
            "version": self.version,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Link:
    """Two things that belong together, such as a data version and the run that read it.

    Args:
        source: The earlier thing, as ``kind:id``; ``workspace/links.py`` lists the kinds.
        target: The later thing, in the same form.
        relation: How they belong together, such as ``input-of`` or ``produced``; listed there too.
        attributes: Further facts.
    """

    source: str
    target: str
    relation: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What an adapter is built from: the workspace and the settings in force for it."""

    workspace: ProjectWorkspace
    settings: ProjectSettings


@runtime_checkable
class ToolAdapter(Protocol):
    """One tool in one project.

    Constructing an adapter is offline, imports nothing heavy and writes nothing. ``health``, ``summary``,
    ``usage`` and ``links`` only read; the other methods may create what they need.
    """

    tool: ClassVar[str]

    def __init__(self, context: ToolContext) -> None: ...

    def ensure(self) -> None:
        """Create the tool's store if it is missing; safe to call at once from many processes."""

    def health(self) -> ToolHealth:
        """Say whether the tool can be used, without importing or creating more than that takes."""

    def summary(self) -> dict[str, Any]:
        """Return what the project holds in this tool, as plain JSON values and exact counts."""

    def usage(self) -> Usage:
        """Return what the project's store costs on disk."""

    def links(self) -> Iterator[Link]:
        """Yield what belongs together, as this tool knows it."""

    def export(self, destination: Path, *, include_data: bool = True) -> None:
        """Write a consistent copy of the store into an existing empty directory.

        Args:
            destination: The directory.
            include_data: Whether the content of data versions is copied too, by a tool that keeps them.
        """

    def restore(self, source: Path) -> None:
        """Replace the store by an exported copy, re-pointing what it stores as absolute paths."""

    def adopt(self, former: ProjectWorkspace, *, moved: bool) -> None:
        """Give what is stored under a former name, prefix or place those of the present workspace.

        Safe to repeat, after a crash in the middle too. What cannot be renamed is refused before anything is
        changed.

        Args:
            former: The workspace that the store was made by.
            moved: Whether it is gone, so that what it keeps on shared servers is this workspace's now; a copy
                leaves that to the original.
        """

    def in_use(self) -> Iterator[str]:
        """Say what is at work in the store now, in this process or another, each in one sentence."""

    def close(self) -> None:
        """Write out what is buffered and forget open handles and caches; the adapter can be used again."""


@cache
def registered() -> dict[str, EntryPoint]:
    """Return the adapters of the environment by tool name; nothing is imported."""
    from importlib.metadata import entry_points

    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}


def adapter_class(tool: str) -> type[ToolAdapter]:
    """Import a tool's adapter.

    Raises:
        IntegrationError: There is no such adapter, or its module fails to import.
    """
    try:
        point = registered()[tool]
    except KeyError:
        raise IntegrationError(
            f"There is no integration named {tool!r}; known: {', '.join(registered()) or 'none'}",
            tool=tool,
            operation="adapter_class",
            hint=f"reinstall with: pip install --force-reinstall {DISTRIBUTION}",
        ) from None
    try:
        loaded: type[ToolAdapter] = point.load()
    except MLOpsError:
        raise
    except Exception as error:
        raise IntegrationError(
            f"The {tool} integration ({point.value}) cannot be imported: {error}",
            tool=tool,
            operation="adapter_class",
            hint="fix or uninstall the package that provides it",
        ) from error
    return loaded


def create(tool: str, context: ToolContext) -> ToolAdapter:
    """Build a tool's adapter for one project."""
    return adapter_class(tool)(context)


def installed_version(tool: str) -> str | None:
    """Return the version of a tool's package without importing it, or None."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(tool)
    except PackageNotFoundError:
        return None
    # To parse all of the metadata, as its attribute does, takes as long as to open ten projects.
    stated = _VERSION.search(found.read_text("METADATA") or "")
    return stated[1] if stated else found.version


def require(
    module: str, *, tool: str, operation: str, workspace: str, extra: str | None = None
) -> ModuleType:
    """Import a module of a tool, or say what to install.

    Args:
        module: The module's dotted name.
        tool: The tool that needs it.
        operation: The calling method.
        workspace: The project.
        extra: The extra of this distribution that brings it; the tool's own name by default.

    Raises:
        IntegrationNotInstalledError: With the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        raise IntegrationNotInstalledError(
            f"{tool} cannot be used because the package {package!r} is not installed",
            tool=tool,
            operation=operation,
            workspace=workspace,
            details={"package": package, "extra": extra or tool},
            hint=f'install it with: pip install "{DISTRIBUTION}[{extra or tool}]"',
        ) from error


def close_loaded(context: ToolContext) -> None:
    """Make every adapter that this process has imported forget a workspace, before it is moved or removed."""
    for tool, point in registered().items():
        if point.module in sys.modules:
            create(tool, context).close()
