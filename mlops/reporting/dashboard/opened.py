"""Projects opened for a page: never created, and read part by part, so that a broken tool hides no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from mlops.reporting.reading.troubles import UNREADABLE, said
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a page.

    Args:
        value: What it shows; None if that could not be read.
        error: Why, or None.
    """

    value: T | None = None
    error: str | None = None


def read(source: Callable[[], T]) -> Part[T]:
    """Return what ``source`` returns, or why it cannot be read.

    Args:
        source: Reads one part of a page.
    """
    try:
        return Part(source())
    except UNREADABLE as error:
        return Part(error=said(error))


def open_context(manager: WorkspaceManager, project: str) -> ToolContext:
    """Return what adapters of a project are built from.

    Args:
        manager: The base.
        project: The project's name, as an address has it: any text.

    Raises:
        InvalidProjectNameError: No project can have that name.
        WorkspaceNotFoundError: None has it.
        WorkspaceCorruptError: Its file cannot be read.
    """
    workspace = manager.get_workspace(project)
    return ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)
