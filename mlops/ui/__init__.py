"""Web pages over the projects of a base: MLflow's, whose workspaces are the projects, and Evidently's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops.ui.evidently_server import EvidentlyUI
    from mlops.ui.server import MLflowUI

__all__ = ["EvidentlyUI", "MLflowUI"]
_MODULES = {"EvidentlyUI": "evidently_server", "MLflowUI": "server"}


def __getattr__(name: str) -> Any:
    # MLflow imports this package's plugin whenever it is imported itself; that must cost next to nothing.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"mlops.ui.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
