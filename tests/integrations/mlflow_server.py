"""A real MLflow server on 127.0.0.1, with a database and artifacts of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mlops.integrations.mlflow_tracking.server import probe
from mlops.integrations.mlflow_tracking.store import database_uri, ensure_template


@contextmanager
def mlflow_server(home: Path) -> Iterator[str]:
    """Start it in a new directory and yield its address.

    Args:
        home: The directory.
    """
    home.mkdir()
    database = home / "server.db"
    # Migrated once per test run: that is most of what a server does when it starts.
    shutil.copyfile(ensure_template(operation="test", workspace="server"), database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", database_uri(database)]
    command += ["--artifacts-destination", str(home / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        uri = f"http://127.0.0.1:{port}"
        while probe(uri) is not None:
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
