"""``push``: bring versions to the project's remote, and believe only what the remote then shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops import jsonlines
from mlops.integrations.dvc_data.ledger import Entry, pushed_event
from mlops.integrations.dvc_data.listing import describe_missing
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import PushResult
from mlops.workspace.room import require_room

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


def push(
    vault: Vault, entries: Sequence[Entry], operation: Operation, meter: Meter, *, repair: bool
) -> PushResult:
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
    plan = _plan(objects, entries, meter)
    remote = objects.remote
    drops = vault.ledger(operation).drops
    lost = _repair(objects, plan.objects(), meter) if repair else set()
    wanted = remote.missing(plan.objects())
    size = sum(vault.cache.size(md5) or 0 for md5 in wanted)
    if location.path is not None and location.required is None:
        # It is inside the workspace, and its identity is its path there.
        directory = location.identity.partition("/")[0]
        require_room(vault.workspace, directory=directory, adding_bytes=size, operation=operation.name)
    meter.expect(size)
    files = sorted(md5 for md5 in wanted if not md5.endswith(".dir"))
    failed = remote.upload(files, meter)
    absent = remote.missing(files) | lost
    listings = sorted(
        md5
        for md5 in wanted.difference(files)
        if (children := plan.files[md5]) is not None and absent.isdisjoint(children.values())
    )
    failed |= remote.upload(listings, meter)
    absent |= remote.missing(wanted.difference(files))
    for md5 in absent - failed.keys():
        # One that is damaged is moved out of the way, so that adding the data again stores it anew.
        objects.intact(md5)
    with vault.lock(operation):
        ledger = vault.ledger(operation)
        cleaned = ledger.drops != drops and not remote.missing(plan.objects()) <= absent
        complete = plan.complete(absent)
        if not cleaned and (news := complete - ledger.pushed.get(location.identity, set())):
            event = pushed_event(location.identity, news, datetime.now(UTC))
            jsonlines.append(vault.ledger_path, [event])
            ledger.apply(event)
    # What a gc took off the list meanwhile is nobody's loss.
    entries = [entry for entry in entries if (entry.name, entry.md5) not in ledger.retired]
    if cleaned:
        # A gc of the remote came in between; what it took away is sent again.
        return push(vault, entries, operation, meter, repair=repair)
    remote.refuse(failed)
    if problems := describe_missing(entries, plan.files, absent):
        raise refuse_missing(
            problems,
            operation,
            hint="if the source is still as it was, add it again to store the content anew, then push",
        )
    sent = wanted - absent
    size = sum(vault.cache.size(md5) or 0 for md5 in sent)
    versions = tuple(vault.version(entry, ledger, location) for entry in entries if entry.md5 in complete)
    return PushResult(len(sent), size, versions)


def _repair(objects: ObjectStore, md5s: set[str], meter: Meter) -> set[str]:
    """Read every object on both sides and make way for whole ones; return what is damaged for good.

    A damaged object of the remote is removed only if the cache has it whole, to be sent then.
    """
    cached = {md5: objects.cache.size(md5) for md5 in sorted(md5s)}
    meter.expect(sum(size or 0 for size in cached.values()))
    damaged = [md5 for md5 in cached if objects.cache.intact(md5, advance=meter.advance) is False]
    for md5 in damaged:
        objects.set_aside(md5)
    state = objects.remote.check(sorted(md5s), meter)
    objects.download((md5 for md5 in damaged if state.get(md5)), meter)
    bad = {md5 for md5, whole in state.items() if not whole}
    replaced = {md5 for md5 in bad if objects.cache.size(md5) is not None}
    objects.remote.remove(replaced)
    return bad - replaced


def _plan(objects: ObjectStore, entries: Sequence[Entry], meter: Meter) -> _Plan:
    plan = _Plan({entry.md5: objects.files_of(entry.md5) for entry in entries})
    if unknown := [md5 for md5, files in plan.files.items() if files is None]:
        # A listing may be left in the remote only; what it lists is checked there all the same.
        objects.download(unknown, meter)
        plan.files.update({md5: objects.files_of(md5) for md5 in unknown})
    return plan
