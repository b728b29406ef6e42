"""What the ledger says of the workspace's own directory: brought up to date after a move, or left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlops import jsonlines
from mlops.files import write_atomic
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.vault import Vault

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace


def adopt(vault: Vault, former: ProjectWorkspace, operation: Operation) -> None:
    """Record sources that were added from the workspace's former directory as added from the present one.

    Args:
        vault: The project's vault.
        former: The workspace as it was.
        operation: The calling method.
    """
    before = str(former.root_path.parent.resolve() / former.root_path.name)
    if before == str(vault.places.workspace) or not vault.ledger_path.exists():
        return
    with vault.lock(operation):
        _replace_root(vault.ledger_path, before, {"root": str(vault.places.workspace)})


def forget_places(vault: Vault, copy: Path, operation: Operation) -> None:
    """Take the places of this machine out of a copied vault: wherever it goes, they are foreign.

    Args:
        vault: The project's vault.
        copy: What was exported.
        operation: The calling method.
    """
    ledger, config = copy / vault.ledger_path.name, copy / vault.config.relative_to(vault.root)
    if ledger.exists():
        _replace_root(ledger, str(vault.places.workspace), {"foreign": True})
        # Of a remote at an absolute path nothing is known elsewhere.
        kept = [line.value for line in jsonlines.read(ledger) if line.value and not _is_local(line.value)]
        write_atomic(ledger, b"".join(map(jsonlines.encode, kept)))
    remote = vault.remote(operation)
    if config.exists() and remote.required is not None:
        text = config.read_text(encoding="utf-8")
        write_atomic(config, text.replace(f'"{remote.public}"', '"../remote"'))


def _is_local(event: Mapping[str, object]) -> bool:
    return str(event.get("remote", "")).startswith("/")


def _replace_root(ledger: Path, root: str, instead: dict[str, object]) -> None:
    events = []
    changed = False
    for line in jsonlines.read(ledger):
        event = line.value or {}
        source = event.get("source")
        if isinstance(source, dict) and source.get("root") == root:
            kept = {key: value for key, value in source.items() if key != "root"}
            event = {**event, "source": kept | instead}
            changed = True
        events.append(event)
    if changed:
        write_atomic(ledger, b"".join(map(jsonlines.encode, events)))
