"""The server's own process: MLflow's pages and API over the projects of a base, until its owner is gone.

Usage: python -m mlops.ui.child OWNER_PID SOCKET_DESCRIPTOR HOME SCOPE_URI

It runs what ``mlflow server`` runs, in one process instead of two, on a socket that its owner has bound.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.25
# For answers that are being sent; then the connections are cut.
GRACE_SECONDS = 3


def serve(arguments: list[str], app: Callable[[str, Path], Any]) -> int:
    """Serve until asked to stop, and return the exit code.

    Args:
        arguments: Those of the command line.
        app: Returns the application for a scope's URI and the server's own directory.
    """
    owner, descriptor, home, uri = arguments
    threading.Thread(target=_end_with, args=(int(owner), Path(home)), daemon=True).start()
    with contextlib.closing(socket.socket(fileno=int(descriptor))) as listener:
        import uvicorn

        running = uvicorn.Server(
            uvicorn.Config(
                app(uri, Path(home)),
                access_log=False,
                log_level="warning",
                timeout_graceful_shutdown=GRACE_SECONDS,
                lifespan="on",
            )
        )
        running.run(sockets=[listener])
        return 0 if running.started else 1


def mlflow_app(uri: str, _home: Path) -> Any:
    """Return MLflow's application.

    Args:
        uri: The projects to show, as a scope's URI.
    """
    from mlflow import server
    from mlflow.server import handlers

    # What `mlflow server` sets for the processes it starts.
    for variable in ("BACKEND_STORE_URI", "REGISTRY_STORE_URI", "ARTIFACT_ROOT", "ARTIFACTS_DESTINATION"):
        os.environ[getattr(server, f"{variable}_ENV_VAR")] = uri
    os.environ[server.SERVE_ARTIFACTS_ENV_VAR] = "true"
    handlers.initialize_backend_stores(uri, uri, uri, workspace_store_uri=uri)

    from mlflow.server.fastapi_app import app

    return app


def _end_with(owner: int, home: Path) -> None:
    """End this process once its owner is gone, however that died, and remove what it left."""
    while os.getppid() == owner:
        time.sleep(POLL_SECONDS)
    # First, because the signal may end the process at once: nobody is left to look at the log.
    shutil.rmtree(home, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS + 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], mlflow_app))
