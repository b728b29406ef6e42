"""What makes plain DVC, in a repository of the user's own, find a project's remote by name: ``project``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mlops import names
from mlops.files import write_atomic
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.remote import locate_remote
from mlops.plugins import variables
from mlops.workspace.tools import ToolContext, create

_DIRECTORY: Final = "plain-dvc"
_SECTION: Final = f"['remote \"{names.DVC_REMOTE}\"']"
# Options that are neither secrets nor paths. Credentials come from the environment or the user's own
# configuration; they are not written a second time.
_COPIED: Final = frozenset(
    {
        "account_name",
        "acl",
        "auth",
        "connect_timeout",
        "endpointurl",
        "listobjects",
        "method",
        "port",
        "profile",
        "projectname",
        "read_timeout",
        "region",
        "sse",
        "use_ssl",
        "user",
    }
)
_OPTION: Final = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(.+?)\s*")


def dvc_variables(context: ToolContext, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of plain DVC, after writing the settings they lead to; DVC is not imported.

    DVC reads a system-wide, a user-wide and a repository's own file, where a later one wins. The project's
    takes the place of the user-wide one, and the user's that of the system-wide one. So the project's remote
    is known by name everywhere, and is the default where a repository has none of its own.

    Args:
        context: The project and the settings in force for it.
        inherited: The environment the process inherits.

    Raises:
        ConfigError: The setting ``dvc_remote_path`` is wrong.
        WorkspaceNotFoundError: The workspace was deleted.
    """
    workspace = context.workspace
    create("dvc", context).ensure()
    operation = Operation("environment", workspace.project_name)
    remote = locate_remote(workspace, context.settings.dvc_remote_path, operation)
    metadata = workspace.dvc_path / ".dvc"
    directory = metadata / "tmp" / _DIRECTORY
    inside = remote.path is not None and remote.required is None
    # Relative to the file, so that a copy of the workspace never leads to the original.
    url = os.path.relpath(remote.public, directory) if inside else remote.public
    text = "\n".join(
        [
            "[core]",
            f"    remote = {names.DVC_REMOTE}",
            "    analytics = false",
            "    check_update = false",
            _SECTION,
            f'    url = "{url}"',
            "    verify = true",
            *(f"    {name} = {value}" for name, value in _options(metadata / "config.local").items()),
            "",
        ]
    )
    path = directory / "config"
    directory.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
    return {
        "DVC_GLOBAL_CONFIG_DIR": str(directory),
        "DVC_SYSTEM_CONFIG_DIR": str(_users_settings(inherited)),
        "DVC_SITE_CACHE_DIR": str(metadata / "tmp" / "site"),
    }


def _options(path: Path) -> dict[str, str]:
    """Return the options of the project's remote in a file where users keep their own, as written there."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, str] = {}
    inside = False
    for line in lines:
        if line.lstrip().startswith("["):
            inside = line.strip().replace('"', "").replace("'", "") == f"[remote {names.DVC_REMOTE}]"
        elif inside and (match := _OPTION.fullmatch(line)) and match[1].lower() in _COPIED:
            found[match[1].lower()] = variables.without_credentials(match[2])
    return found


def _users_settings(inherited: Mapping[str, str]) -> Path:
    from platformdirs import user_config_path

    if inherited.get(variables.PROJECT) and inherited.get("DVC_SYSTEM_CONFIG_DIR"):
        # Inside another project's environment the user-wide place is that project's.
        return Path(inherited["DVC_SYSTEM_CONFIG_DIR"])
    return Path(inherited.get("DVC_GLOBAL_CONFIG_DIR") or user_config_path("dvc", "iterative"))
