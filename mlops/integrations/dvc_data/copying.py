"""``copy_from``: take one version over from another project, with objects of its own and on both records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops import jsonlines
from mlops.errors import IsolationError
from mlops.integrations.dvc_data.adding import record
from mlops.integrations.dvc_data.ledger import Entry, copied_event
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.pulling import pull, refuse_overwriting
from mlops.integrations.dvc_data.selection import Selected, Selection, Target
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import DataVersion
from mlops.workspace.room import require_room

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.objects import ObjectStore


def copy_from(
    vault: Vault,
    origin: Vault,
    ref: Target,
    operation: Operation,
    meter: Meter,
    *,
    path: str | Path | None,
    force: bool,
) -> DataVersion:
    """Copy a version of another project; see ``DVCData.copy_from``."""
    project = origin.workspace.project_name
    asked = origin.operation(operation.name)
    wanted = Selection(origin, origin.ledger(asked), asked).one(ref)
    if origin.places.workspace == vault.places.workspace:
        raise operation.error(
            IsolationError,
            f"{wanted.name}@{wanted.md5} is in {project!r} already: a copy is made from another project",
            hint="use pull(..., destination=...) to have a version in another place",
        )
    place = vault.places.absolute(path or _default_place(vault, origin, wanted))
    vault.refuse_own_files(place, operation)
    origin.refuse_own_files(place, operation)
    ledger = vault.ledger(operation)
    recorded = vault.places.describe(place)
    name = vault.places.dataset_at(place, ledger.sources()) or vault.places.dataset_name(recorded)
    entry = replace(wanted, name=name, source=recorded, added_at=datetime.now(UTC), origin=project)
    with operation.storing(vault.root):
        location = vault.ensure(operation)
        needed = _copy_objects(vault, origin, wanted, operation, meter)
        if not force:
            refuse_overwriting(vault, ledger, entry, place, operation)
        ledger = record(vault, entry, None, operation, pointer=False, needed=needed)
    with asked.storing(origin.root), origin.lock(asked):
        if (wanted.name, wanted.md5, vault.workspace.project_name) not in origin.ledger(asked).copies:
            event = copied_event(wanted, vault.workspace.project_name, datetime.now(UTC))
            jsonlines.append(origin.ledger_path, [event])
    pull(vault, [Selected(entry)], ledger, operation, meter, destination=None, force=force)
    return vault.version(ledger.heads()[name], ledger, location)


def _default_place(vault: Vault, origin: Vault, wanted: Entry) -> Path:
    return vault.workspace.outputs_path / origin.places.locate(wanted.source).name


def _copy_objects(
    vault: Vault, origin: Vault, wanted: Entry, operation: Operation, meter: Meter
) -> dict[str, int]:
    """Bring what the cache lacks into it, each object verified, and return the files' objects with sizes."""
    from mlops.integrations.dvc_data.objects import ObjectStore, refuse_missing

    asked = origin.operation(operation.name)
    source = ObjectStore(origin, origin.remote(asked), asked)
    meter.expect(wanted.size)
    files = source.files_of(wanted.md5)
    if files is None:
        source.download([wanted.md5], meter)
        files = source.files_of(wanted.md5)
    label = f"{wanted.name}@{wanted.md5}"
    hint = "restore it in its own project first: mlops data verify there says what is wrong"
    if files is None:
        raise refuse_missing([f"the file list of {label}"], asked, hint=hint)
    source.download(set(files.values()), meter)
    objects = {*files.values(), wanted.md5}
    require_room(
        vault.workspace,
        directory=vault.root.name,
        adding_bytes=lambda: sum(source.cache.size(o) or 0 for o in objects if vault.cache.size(o) is None),
        operation=operation.name,
    )
    needed: dict[str, int] = {}
    lost = []
    # The list of a directory comes last, so that a cache which has it has what it lists.
    for name, md5 in [*sorted(files.items()), ("", wanted.md5)]:
        if md5 in needed:
            continue
        size = vault.cache.size(md5)
        if size is not None:
            meter.advance(size)
        elif not _copy_one(vault, source, md5, meter):
            lost.append(f"{name} of {label}" if name else label)
            continue
        needed[md5] = vault.cache.size(md5) or 0
    if lost:
        raise refuse_missing(lost, asked, hint=hint)
    return needed


def _copy_one(vault: Vault, source: ObjectStore, md5: str, meter: Meter) -> bool:
    for _ in range(2):
        try:
            if vault.cache.copy_from(source.cache, md5, advance=meter.advance):
                return True
        except FileNotFoundError:
            return False
        # Damaged there; its remote may have it whole.
        source.set_aside(md5)
        if source.download([md5], meter):
            return False
    return False
