"""A workspace's configuration as it may leave the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mlops.workspace.model import ProjectWorkspace

_SECRET: Final = ("password", "passwd", "token", "secret", "key", "sig", "credential")


def portable(workspace: ProjectWorkspace) -> tuple[ProjectWorkspace, list[str]]:
    """Return the configuration without credentials and paths of this machine, and what that left out.

    Args:
        workspace: The project. References to the environment stay as they are.
    """
    changes: dict[str, Any] = {}
    left_out: list[str] = []
    for name in ("mlflow_tracking_uri", "dvc_remote_path"):
        value = getattr(workspace, name)
        if value is None:
            continue
        if _is_local(value):
            changes[name] = None
            left_out.append(f"{name}: it is a path of this machine")
        elif (clean := _without_secrets(value)) != value:
            changes[name] = clean
            left_out.append(f"{name}: its credentials")
    if changes.get("mlflow_tracking_uri", "") is None:
        changes["mlflow_experiment_id"] = None
    return replace(workspace, **changes), left_out


def _is_local(value: str) -> bool:
    scheme, separator, rest = value.partition("://")
    if separator:
        return scheme.partition("+")[0] in ("sqlite", "file") and rest.startswith("/")
    return value.startswith(("/", "~"))


def _without_secrets(uri: str) -> str:
    parts = urlsplit(uri)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    # A reference to the environment is no secret.
    kept = user if not colon or (password.startswith("${") and password.endswith("}")) else name
    query = [
        (key, value)
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
        if not any(word in key.lower() for word in _SECRET)
    ]
    changed = len(query) != len(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(
        parts._replace(netloc=f"{kept}{at}{host}", query=urlencode(query) if changed else parts.query)
    )
