"""The environment variables by which a process belongs to a project, and the URI of a workspace's store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

PROJECT: Final = "MLOPS_PROJECT"
WORKSPACE: Final = "MLOPS_WORKSPACE"
BASE_PATH: Final = "MLOPS_BASE_PATH"
# The tracking URI the project's runs belong to, without credentials. Code may point MLflow elsewhere, and
# what it does there is not the project's.
STORE: Final = "MLOPS_TRACKING_STORE"
# Marks the runs of one `mlops run`.
RUN_GROUP: Final = "MLOPS_RUN_GROUP"
# The data versions named for this process, as JSON: dataset name to hash.
DATA: Final = "MLOPS_DATA"
EVIDENTLY: Final = "MLOPS_EVIDENTLY_WORKSPACE"
# The command of `mlops run`, without secrets, and where it was started; see Invocation.to_text.
COMMAND: Final = "MLOPS_COMMAND"
# The run that this process does again.
REPRODUCES: Final = "MLOPS_REPRODUCES"
# The data that was restored for it, as JSON: path to dataset and hash.
RESTORED: Final = "MLOPS_RESTORED"

SCHEME: Final = "mlops"
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Membership:
    """The project that the environment says this process belongs to.

    Args:
        project: The project's name.
        workspace: Its directory.
        store: The tracking URI of its runs, without credentials.
        group: The id of the ``mlops run`` that started the process, or None.
        data: The named data versions as JSON text, or None.
    """

    project: str
    workspace: Path
    store: str
    group: str | None
    data: str | None


def membership(environ: Mapping[str, str] | None = None) -> Membership | None:
    """Return what the environment says, or None unless it names project, workspace and store.

    Args:
        environ: The environment, ``os.environ`` by default.
    """
    values = os.environ if environ is None else environ
    project, workspace, store = values.get(PROJECT), values.get(WORKSPACE), values.get(STORE)
    if not (project and workspace and store):
        return None
    return Membership(project, Path(workspace), store, values.get(RUN_GROUP), values.get(DATA))


def workspace_uri(root: Path) -> str:
    """Return the tracking and registry URI of the workspace in a directory."""
    return f"{SCHEME}://{quote(str(root.absolute()))}"


def workspace_in(uri: str) -> Path | None:
    """Return the directory a ``mlops:///<path>`` URI names, or None if it is not of that form."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.scheme != SCHEME or parts.netloc or parts.query or parts.fragment or not path.startswith("/"):
        return None
    return Path(path)


def without_credentials(uri: str) -> str:
    """Return a URI without user name and password."""
    return _CREDENTIALS.sub("", uri)
