"""What a project's DVC vault holds, by its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from pathlib import Path
from typing import Final

from mlops.errors import IntegrationUnavailableError
from mlops.integrations.dvc_data.vault import Vault
from mlops.reporting.facts import DataFacts
from mlops.reporting.reading import days
from mlops.workspace.tools import ToolContext, ToolState

_OPERATION: Final = "collect"


def read(vault: Vault, *, first: date) -> DataFacts:
    """Return what the vault holds.

    Args:
        vault: The project's vault.
        first: The earliest day that is counted by day.

    Raises:
        MLOpsError: The ledger, or the remote's setting, cannot be understood.
    """
    operation = vault.operation(_OPERATION)
    ledger, remote = vault.ledger(operation), vault.remote(operation)
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


def state(vault: Vault) -> ToolState:
    """Say whether the vault is there and its remote can be used; nothing is contacted.

    Args:
        vault: The project's vault.

    Raises:
        MLOpsError: The remote cannot be used, or its setting or the vault's configuration is wrong.
    """
    operation = vault.operation(_OPERATION)
    if vault.read_config(operation) is None:
        return ToolState.NOT_CREATED
    remote = vault.remote(operation)
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
    vault = Vault(context)
    return vault.remote(vault.operation(_OPERATION)).required
