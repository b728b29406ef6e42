"""Importing DVC without what its import does to the process."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Final

from mlops.integrations.dvc_data.operation import TOOL, Operation
from mlops.workspace.tools import require

_IMPORT: Final = threading.Lock()
_MODULES: Final = (
    "dvc.config",
    "dvc.fs",
    "dvc_data.hashfile.db",
    "dvc_data.hashfile.tree",
    "dvc_data.hashfile.hash_info",
)
_LOGGERS: Final = ("dvc", "dvc_data", "dvc_objects")
# asyncio and aiohttp are silenced by DVC's import (dvc/logger.py), for the whole process.
_SILENCED: Final = ("asyncio", "aiohttp")
_COLORAMA_STATE: Final = ("orig_stdout", "orig_stderr", "wrapped_stdout", "wrapped_stderr", "atexit_done")


def load_dvc(operation: Operation) -> None:
    """Import the parts of DVC that are used, and undo what that does to the process.

    DVC's import wraps stdout and stderr, puts handlers on its loggers and silences those of asyncio and
    aiohttp. If the user's own code imported DVC first, everything is left as it is.

    Raises:
        IntegrationNotInstalledError: DVC is not installed.
    """
    with _IMPORT:
        if "dvc" in sys.modules:
            for module in _MODULES:
                require(module, tool=TOOL, operation=operation.name, workspace=operation.project)
            return
        require("colorama", tool=TOOL, operation=operation.name, workspace=operation.project)
        from colorama import initialise

        streams = sys.stdout, sys.stderr
        levels = {name: logging.getLogger(name).level for name in (*_LOGGERS, *_SILENCED)}
        handlers = {name: list(logging.getLogger(name).handlers) for name in _LOGGERS}
        colorama = {name: getattr(initialise, name, None) for name in _COLORAMA_STATE}
        try:
            for module in _MODULES:
                require(module, tool=TOOL, operation=operation.name, workspace=operation.project)
        finally:
            sys.stdout, sys.stderr = streams
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for name, kept in handlers.items():
                # The null handler keeps Python from printing DVC's warnings where logging is not configured.
                logging.getLogger(name).handlers[:] = [*kept, logging.NullHandler()]
            if not colorama["atexit_done"]:
                import atexit

                atexit.unregister(initialise.reset_all)
            for name, value in colorama.items():
                setattr(initialise, name, value)
