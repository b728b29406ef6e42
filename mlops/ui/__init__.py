"""Web pages over the projects of a base: one MLflow UI whose workspaces are the projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops.ui.server import MLflowUI

__all__ = ["MLflowUI"]


def __getattr__(name: str) -> Any:
    # MLflow imports this package's plugin whenever it is imported itself; that must cost next to nothing.
    if name in __all__:
        from mlops.ui import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
