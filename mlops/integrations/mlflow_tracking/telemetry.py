"""Import MLflow without its usage reporting.

Left alone, ``import mlflow`` writes an installation id below the user's home directory, sets an environment
variable and later reports to a server. MLflow has no setting for this but environment variables, and those
belong to the user; so the module that decides is switched off between its loading and its first use.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from mlops.workspace.tools import require

DECIDING_MODULE: Final = "mlflow.telemetry.utils"
# MLflow's own marker for "running in a test or on a build server", where it reports nothing.
SWITCH: Final = "_IS_IN_CI_ENV_OR_TESTING"

_importing = threading.RLock()


def import_mlflow(*, operation: str, workspace: str) -> ModuleType:
    """Import MLflow quietly, or return it if the user's code has already imported it.

    A process that imported MLflow itself keeps whatever it chose about reporting.

    Args:
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        IntegrationNotInstalledError: MLflow is not installed.
    """
    with _importing:
        if "mlflow" in sys.modules:
            return require("mlflow", tool="mlflow", operation=operation, workspace=workspace)
        finder = _QuietFinder()
        sys.meta_path.insert(0, finder)
        try:
            return require("mlflow", tool="mlflow", operation=operation, workspace=workspace)
        finally:
            sys.meta_path.remove(finder)


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finds one module, the way the rest of the import system would, and has it loaded quietly."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != DECIDING_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if hasattr(module, SWITCH):
            setattr(module, SWITCH, True)
