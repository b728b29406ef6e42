"""What a project's DVC vault holds, by its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from pathlib import Path
from typing import Final

from mlops.errors import IntegrationUnavailableError
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.remote import RemoteLocation, locate_remote
from mlops.integrations.dvc_data.vault import Vault
from mlops.reporting.facts import DataFacts
from mlops.reporting.reading import days
from mlops.workspace.tools import ToolContext, ToolState

_OPERATION: Final = "collect"


def remote_of(context: ToolContext) -> RemoteLocation:
    """Return where the project's remote is; nothing is contacted.

    Args:
        context: The project.

    Raises:
        MLOpsError: Its setting is wrong.
    """
    workspace = context.workspace
    operation = Operation(_OPERATION, workspace.project_name)
    return locate_remote(workspace, context.settings.dvc_remote_path, operation)


def read(vault: Vault, remote: RemoteLocation, *, first: date) -> DataFacts:
    """Return what the vault holds.

    Args:
        vault: The project's vault.
        remote: Its remote.
        first: The earliest day that is counted by day.

    Raises:
        MLOpsError: The ledger cannot be understood.
    """
    ledger = vault.ledger(vault.operation(_OPERATION))
    heads, versions = ledger.heads(), ledger.versions()
    pushed = ledger.pushed.get(remote.identity, set())

    def added() -> Iterator[tuple[date, str]]:
        for entry in versions:
            if (day := entry.added_at.astimezone(UTC).date()) >= first:
                yield day, "versions"

    return DataFacts(
        datasets=len(heads),
        versions=len(versions),
        size_bytes=sum(entry.size for entry in heads.values()),
        unpushed=sum(entry.md5 not in pushed for entry in versions),
        last_added=max((entry.added_at for entry in ledger.entries), default=None),
        remote=remote.public,
        by_day=days.counted(added()),
    )


def state(vault: Vault, remote: RemoteLocation) -> ToolState:
    """Say whether the vault is there and its remote can be used; nothing is contacted.

    Args:
        vault: The project's vault.
        remote: Its remote.

    Raises:
        MLOpsError: The remote cannot be used, or the vault's configuration is wrong.
    """
    operation = vault.operation(_OPERATION)
    if vault.read_config(operation) is None:
        return ToolState.NOT_CREATED
    remote.check(operation)
    if remote.path is not None and remote.required is None and not remote.path.is_dir():
        raise operation.error(
            IntegrationUnavailableError,
            f"The remote directory {remote.path} is missing; push() creates it and fills it again",
            hint="call push()",
        )
    return ToolState.READY


def mounted(context: ToolContext) -> Path | None:
    """Return the directory outside the workspace that must exist for the remote to be usable, if any."""
    return remote_of(context).required
