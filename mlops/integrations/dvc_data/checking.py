"""``status`` and ``verify``: how sources compare with versions, and whether the stored bytes are whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlops.errors import IntegrationError
from mlops.integrations.dvc_data import snapshot
from mlops.integrations.dvc_data.index import read_index
from mlops.integrations.dvc_data.listing import contents_of, describe_missing
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import DatasetStatus, DataState, VerifyResult

_MAX_CHANGES = 20


def status(vault: Vault, operation: Operation) -> list[DatasetStatus]:
    """Return the state of every dataset; see ``DVCData.status``."""
    ledger = vault.ledger(operation)
    remote = vault.remote(operation)
    pointers = vault.pointers(ledger)
    versions: dict[str, set[str]] = {}
    for entry in ledger.entries:
        versions.setdefault(entry.name, set()).add(entry.md5)
    result = []
    for name, head in ledger.heads().items():
        path = vault.places.locate(head.source)
        state, on_disk, changes = _compare(vault, name, path, versions[name], pointers, operation)
        pushed = ledger.pushed.get(remote.identity, set())
        result.append(
            DatasetStatus(
                name=name,
                path=path,
                state=state,
                version=vault.version(head, ledger, remote),
                on_disk=on_disk,
                pushed=head.md5 in pushed,
                versions=len(versions[name]),
                unpushed=len(versions[name] - pushed),
                changes=tuple(changes[:_MAX_CHANGES]),
            )
        )
    return result


def _compare(
    vault: Vault,
    name: str,
    path: Path,
    versions: set[str],
    pointers: frozenset[Path],
    operation: Operation,
) -> tuple[DataState, str | None, list[str]]:
    """Return a source's state, the version it holds, and what changed since it held one."""
    index = read_index(vault.slot(name))
    try:
        seen = snapshot.take(path, operation, pointers=pointers)
    except IntegrationError:
        # A link or a pipe that appeared in the source: add will refuse it by name, and it is a change.
        return DataState.MODIFIED, None, []
    if seen is None:
        return DataState.MISSING, None, []
    if index is None or index.md5 not in versions:
        return DataState.MODIFIED, None, []
    if changes := seen.changes(index.snapshot, exact=False):
        return DataState.MODIFIED, None, changes
    return DataState.CLEAN, index.md5, []


def verify(vault: Vault, operation: Operation, meter: Meter) -> VerifyResult:
    """Read every stored object again, on both sides; see ``DVCData.verify``."""
    ledger = vault.ledger(operation)
    entries = ledger.versions()
    if not entries:
        return VerifyResult(0, (), (), ())
    from mlops.integrations.dvc_data.objects import ObjectStore

    location = vault.remote(operation)
    objects = ObjectStore(vault, location, operation)
    pushed = ledger.pushed.get(location.identity, set())
    versions = {entry.md5 for entry in entries}
    cached = _check_cache(vault, versions, meter)
    lacking = {md5 for md5 in versions if not cached.get(md5)}
    # Before the first push there may be no remote at all, and that is no damage.
    asked = bool(pushed or lacking)
    sent = objects.remote.check(sorted(versions), meter) if asked else {}
    plan: dict[str, dict[str, str] | None] = {}
    for md5 in versions:
        content = vault.cache.path(md5).read_bytes() if md5.endswith(".dir") and cached.get(md5) else None
        if md5.endswith(".dir") and content is None and sent.get(md5):
            content = objects.remote.read(md5)
        plan[md5] = contents_of(md5, content)
    files = {md5 for listed in plan.values() for md5 in (listed or {}).values()} - versions
    cached |= _check_cache(vault, files, meter)
    asked = asked or any(not cached.get(md5) for md5 in files)
    if asked:
        sent |= objects.remote.check(sorted(files), meter)
    everything = versions | files
    missing = {md5 for md5 in everything if not cached.get(md5) and not sent.get(md5)}
    gaps = {md5 for md5 in everything if cached.get(md5) and not sent.get(md5)}
    damaged = [str(vault.cache.path(md5)) for md5, whole in cached.items() if not whole]
    damaged += [objects.remote.label(md5) for md5, whole in sent.items() if not whole]
    return VerifyResult(
        len(cached) + len(sent),
        tuple(sorted(damaged)),
        tuple(sorted(describe_missing(entries, plan, missing))),
        tuple(sorted(describe_missing([e for e in entries if e.md5 in pushed], plan, gaps))),
    )


def _check_cache(vault: Vault, md5s: Iterable[str], meter: Meter) -> dict[str, bool]:
    """Read cached objects and say whether each is whole; those that do not exist are left out."""
    sizes = {md5: vault.cache.size(md5) for md5 in md5s}
    meter.expect(sum(size or 0 for size in sizes.values()))
    found = {md5: vault.cache.intact(md5, advance=meter.advance) for md5 in sorted(sizes)}
    return {md5: whole for md5, whole in found.items() if whole is not None}
