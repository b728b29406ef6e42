"""An MLflow store that is not the workspace's own: a server, a shared database, or another SQLite file."""

from __future__ import annotations

import base64
import re
import socket
import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from mlops.errors import IntegrationError, IntegrationUnavailableError
from mlops.integrations.mlflow_tracking.store import PROJECT_TAG, TOOL, WORKSPACE_TAG, reading

# MLflow itself retries a dead server for minutes; a look at its state may not take that long.
PROBE_SECONDS: Final = 3.0
_PORTS: Final = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")


def redact(text: str) -> str:
    """Return a URI, or text with URIs in it, without user names and passwords."""
    return _CREDENTIALS.sub("", text)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI, or None for any other."""
    scheme, separator, rest = uri.partition(":///")
    if not separator or scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(rest.partition("?")[0]))


def probe(uri: str) -> str | None:
    """Return why a store cannot be reached, or None if it answers; at most a few seconds.

    Args:
        uri: A tracking URI. Of a kind that is not known here only the form is checked.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if (path := sqlite_file(uri)) is not None:
        return _probe_sqlite(path)
    if scheme in ("http", "https"):
        return _probe_http(parts)
    if scheme in _PORTS:
        return _probe_socket(parts.hostname or "localhost", _port(parts, scheme))
    return None


def require_reachable(uri: str, *, operation: str, workspace: str) -> None:
    """Raise if a store does not answer.

    Raises:
        IntegrationUnavailableError: With the location, without credentials.
    """
    problem = probe(uri)
    if problem is not None:
        raise IntegrationUnavailableError(
            f"The MLflow store {redact(uri)} cannot be reached: {problem}",
            tool=TOOL,
            operation=operation,
            workspace=workspace,
            hint="start the server, or correct mlflow_tracking_uri (MLOPS_MLFLOW_TRACKING_URI)",
        )


def experiment(
    client: Any, name: str, *, project: str, workspace_id: str, artifact_location: str | None, operation: str
) -> str:
    """Return the id of the project's experiment, made if need be; any number of processes may call this.

    Args:
        client: An ``MlflowClient`` of the store.
        name: The experiment's name.
        project: The project, for its tag.
        workspace_id: The workspace's UUID, for its tag.
        artifact_location: Where a new experiment keeps its artifacts; None leaves it to the server.
        operation: The calling method, for errors.

    Raises:
        IntegrationError: The experiment was deleted, or belongs to another project.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            tags = {PROJECT_TAG: project, WORKSPACE_TAG: workspace_id}
            own = f"{artifact_location}/{name}" if artifact_location else None
            return str(client.create_experiment(name, artifact_location=own, tags=tags))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise IntegrationError(
            f"The experiment {name!r} of the project is deleted on its MLflow server",
            tool=TOOL,
            operation=operation,
            workspace=project,
            hint="restore it there, or set mlflow_experiment_name to a new name",
        )
    owner = found.tags.get(PROJECT_TAG)
    if owner not in (None, project):
        raise IntegrationError(
            f"The experiment {name!r} belongs to the project {owner!r}",
            tool=TOOL,
            operation=operation,
            workspace=project,
            hint="set mlflow_experiment_name to a name of this project's own",
        )
    if owner is None:
        client.set_experiment_tag(found.experiment_id, PROJECT_TAG, project)
    return str(found.experiment_id)


def _probe_sqlite(path: Path) -> str | None:
    if not path.exists():
        return None if path.parent.is_dir() else f"the directory {path.parent} does not exist"
    try:
        with reading(path.absolute()) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None


def _probe_http(parts: SplitResult) -> str | None:
    import urllib.error
    import urllib.request

    host = parts.hostname or ""
    address = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    url = f"{parts.scheme}://{address}{port}{parts.path.rstrip('/')}/health"
    request = urllib.request.Request(url)  # noqa: S310 - http and https only, see probe
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        with error:
            # Something answers; a server behind a path or a log-in may not show this page.
            return f"it answers with status {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def _probe_socket(host: str, port: int) -> str | None:
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            return None
    except OSError as error:
        return str(error)


def _port(parts: SplitResult, scheme: str) -> int:
    return parts.port or _PORTS[scheme]
