"""``push``: bring versions to the project's remote, and believe only what the remote then shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops.integrations.dvc_data.ledger import Entry, append, pushed_event
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import PushResult

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.objects import ObjectStore


@dataclass(slots=True)
class _Plan:
    """The objects each version needs; None for a version whose listing is nowhere."""

    files: dict[str, dict[str, str] | None]

    def objects(self) -> set[str]:
        return {md5 for version, files in self.files.items() for md5 in (version, *(files or {}).values())}

    def complete(self, missing: set[str]) -> set[str]:
        return {
            version
            for version, files in self.files.items()
            if files is not None and version not in missing and missing.isdisjoint(files.values())
        }

    def describe(self, entries: Sequence[Entry], missing: set[str]) -> list[str]:
        lost = []
        for entry in entries:
            files = self.files[entry.md5]
            label = f"{entry.name}@{entry.md5}"
            names = [name for name, md5 in sorted((files or {}).items()) if md5 in missing]
            lost += [f"{name} of {label}" if name else label for name in names]
            if not names and (files is None or entry.md5 in missing):
                lost.append(f"the file list of {label}")
        return lost


def push(vault: Vault, entries: Sequence[Entry], operation: Operation) -> PushResult:
    """Push versions; see ``DVCData.push``.

    Files go before the listing of their directory, so a remote that has a listing has what it lists, whenever
    a push is cut off. The remote is asked before and after; DVC's own count and status are not used, because
    they take a listing for its files and a lost object for a pushed one.
    """
    if not entries:
        return PushResult(0, 0, ())
    with operation.storing(vault.root):
        location = vault.ensure(operation)

    from mlops.integrations.dvc_data.objects import ObjectStore, refuse_missing

    objects = ObjectStore(vault, location, operation)
    plan = _plan(objects, entries)
    remote = objects.remote
    wanted = remote.missing(plan.objects())
    files = sorted(md5 for md5 in wanted if not md5.endswith(".dir"))
    failed = remote.upload(files)
    absent = remote.missing(files)
    listings = sorted(
        md5
        for md5 in wanted.difference(files)
        if (children := plan.files[md5]) is not None and absent.isdisjoint(children.values())
    )
    failed |= remote.upload(listings)
    absent |= remote.missing(wanted.difference(files))
    for md5 in absent - failed.keys():
        # One that is damaged is moved out of the way, so that adding the data again stores it anew.
        objects.intact(md5)
    sent = wanted - absent
    size = sum(vault.cache.size(md5) or 0 for md5 in sent)
    complete = plan.complete(absent)
    with vault.lock(operation):
        ledger = vault.ledger(operation)
        if news := complete - ledger.pushed.get(location.identity, set()):
            event = pushed_event(location.identity, news, datetime.now(UTC))
            append(vault.ledger_path, [event])
            ledger.pushed.setdefault(location.identity, set()).update(news)
    remote.refuse(failed)
    if lost := plan.describe(entries, absent):
        raise refuse_missing(
            lost,
            operation,
            hint="if the source is still as it was, add it again to store the content anew, then push",
        )
    versions = tuple(vault.version(entry, ledger, location) for entry in entries if entry.md5 in complete)
    return PushResult(len(sent), size, versions)


def _plan(objects: ObjectStore, entries: Sequence[Entry]) -> _Plan:
    plan = _Plan({entry.md5: objects.files_of(entry.md5) for entry in entries})
    if unknown := [md5 for md5, files in plan.files.items() if files is None]:
        # A listing may be left in the remote only; what it lists is checked there all the same.
        objects.download(unknown)
        plan.files.update({md5: objects.files_of(md5) for md5 in unknown})
    return plan
