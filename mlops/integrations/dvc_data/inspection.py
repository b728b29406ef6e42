"""What a vault tells about itself without DVC: whether it can be used, and how much it holds."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mlops.errors import IntegrationNotInstalledError, MLOpsError
from mlops.integrations.dvc_data.operation import TOOL
from mlops.integrations.dvc_data.vault import Vault
from mlops.workspace.tools import ToolHealth, ToolState, installed_version


def health(vault: Vault) -> ToolHealth:
    """Return whether data can be added and pushed; see ``DVCData.health``."""
    operation = vault.operation("health")
    version = installed_version(TOOL)
    location = str(vault.root)

    def report(state: ToolState, error: str | None = None) -> ToolHealth:
        return ToolHealth(TOOL, state, location, version, error)

    if version is None or find_spec(TOOL) is None:
        return report(ToolState.NOT_INSTALLED, "the package 'dvc' is not installed")
    try:
        if vault.read_config(operation) is None:
            return report(ToolState.NOT_CREATED)
        remote = vault.remote(operation)
        location = remote.public
        remote.check(operation)
        vault.ledger(operation)
    except IntegrationNotInstalledError as error:
        return report(ToolState.NOT_INSTALLED, str(error))
    except MLOpsError as error:
        return report(ToolState.UNAVAILABLE, str(error))
    if remote.path is not None and remote.required is None and not remote.path.is_dir():
        problem = f"The remote directory {remote.path} is missing; push() creates it and fills it again"
        return report(ToolState.UNAVAILABLE, problem)
    return report(ToolState.READY)


def summary(vault: Vault) -> dict[str, Any]:
    """Return what the vault holds; see ``DVCData.summary``."""
    operation = vault.operation("summary")
    ledger, remote = vault.ledger(operation), vault.remote(operation)
    heads, versions = ledger.heads(), ledger.versions()
    pushed = ledger.pushed.get(remote.identity, set())
    last = max((entry.added_at for entry in ledger.entries), default=None)
    return {
        "datasets": len(heads),
        "versions": len(versions),
        "bytes": sum(entry.size for entry in heads.values()),
        "files": sum(entry.files for entry in heads.values()),
        "unpushed": sum(entry.md5 not in pushed for entry in versions),
        "last_added": None if last is None else last.isoformat(),
        "remote": remote.public,
    }
