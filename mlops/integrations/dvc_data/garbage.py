"""``gc``: take versions off the list that nothing refers to, and remove the objects no listed version needs.

Whatever is about to lose objects is first recorded as retired, in one durable write. A process killed later
leaves objects that no listed version needs, and the next gc removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops import jsonlines
from mlops.errors import DataIntegrityError, IntegrationUnavailableError
from mlops.integrations.dvc_data.hashing import FULL_HASH
from mlops.integrations.dvc_data.index import read_index
from mlops.integrations.dvc_data.ledger import Entry, Ledger, dropped_event, retired_event
from mlops.integrations.dvc_data.listing import contents_of, listing_md5
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.pointer import pointer_path, read_pointer
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.remote import RemoteLocation
from mlops.integrations.dvc_data.selection import MIN_PREFIX
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import GarbageResult
from mlops.workspace import links
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.objects import ObjectStore

# A temporary file older than this was left by a killed process; no single transfer takes a day.
_LITTER_SECONDS: Final = 86_400.0
_DATA: Final = "data:"


def gc(
    vault: Vault, context: ToolContext, operation: Operation, *, remote: bool, dry_run: bool
) -> GarbageResult:
    """Remove what nothing refers to; see ``DVCData.gc``."""
    if not vault.root.is_dir():
        return GarbageResult(dry_run, (), 0, 0, 0, 0, 0)
    referred = _References(context, operation)
    location = vault.remote(operation)

    from mlops.integrations.dvc_data.objects import ObjectStore

    objects = ObjectStore(vault, location, operation)
    collector = _Collector(vault, objects, location, operation)
    if dry_run:
        garbage = collector.plan(vault.ledger(operation), referred, remote=remote)
        return collector.result(garbage, dry_run=True)
    with operation.storing(vault.root), vault.lock(operation):
        # Under the lock from the plan to the end: no version is recorded meanwhile that needs these objects.
        garbage = collector.plan(vault.ledger(operation), referred, remote=remote)
        collector.remove(garbage)
    return collector.result(garbage, dry_run=False)


class _References:
    """The data versions that links name."""

    def __init__(self, context: ToolContext, operation: Operation) -> None:
        collected = links.collect(context)
        if collected.errors:
            tool, reason = next(iter(sorted(collected.errors.items())))
            raise operation.error(
                IntegrationUnavailableError,
                f"There is no telling which versions are in use, because the links of {tool} cannot be read: "
                f"{reason}",
                hint="repair that first (mlops doctor helps); nothing was removed",
                details={"errors": dict(collected.errors)},
            )
        ends = {end for link in collected.links for end in (link.source, link.target)}
        named = {end.removeprefix(_DATA) for end in ends if end.startswith(_DATA)}
        self._full = {name for name in named if FULL_HASH.fullmatch(name)}
        # People shorten hashes when they name a version by hand.
        self._starts = tuple(name for name in named - self._full if len(name) >= MIN_PREFIX)

    def __contains__(self, md5: str) -> bool:
        return not self._full.isdisjoint((md5, md5.removesuffix(".dir"))) or md5.startswith(self._starts)


@dataclass(frozen=True, slots=True)
class _Garbage:
    """What goes: versions from the list, objects from the cache and the remote, with their bytes."""

    ledger: Ledger
    versions: list[Entry]
    cached: dict[str, int]
    litter: dict[Path, int]
    sent: dict[str, int]
    gone: set[str]


class _Collector:
    def __init__(
        self, vault: Vault, objects: ObjectStore, location: RemoteLocation, operation: Operation
    ) -> None:
        self._vault = vault
        self._objects = objects
        self._location = location
        self._operation = operation

    def plan(self, ledger: Ledger, referred: _References, *, remote: bool) -> _Garbage:
        """Find what goes; nothing is changed."""
        present = _present(self._vault, ledger)
        kept: list[Entry] = []
        versions: list[Entry] = []
        for entry in ledger.versions():
            stays = (entry.name, entry.md5) in present or entry.md5 in referred
            (kept if stays else versions).append(entry)
        live = self._live(kept)
        cached = {md5: size for md5, size in self._vault.cache.all() if md5 not in live}
        litter = dict(self._vault.cache.litter(age=_LITTER_SECONDS))
        retired = {entry.md5 for entry in versions} | {md5 for _, md5 in ledger.retired}
        sent = self._sent(retired - live, live) if remote else {}
        gone = (retired - live) & ledger.pushed.get(self._location.identity, set()) if remote else set()
        return _Garbage(ledger, versions, cached, litter, sent, gone)

    def remove(self, garbage: _Garbage) -> None:
        """Record what goes, then remove it."""
        now = datetime.now(UTC)
        events = [retired_event(garbage.versions, now)] if garbage.versions else []
        if garbage.sent or garbage.gone:
            events.append(dropped_event(self._location.identity, garbage.gone, now))
        jsonlines.append(self._vault.ledger_path, events)
        if garbage.sent:
            listings = {md5 for md5 in garbage.sent if md5.endswith(".dir")}
            # The cache keeps the lists until the end: after a kill they tell the next gc what is left.
            self._objects.download(listings, Meter())
            self._objects.remote.remove(sorted(listings))
            self._objects.remote.remove(sorted(garbage.sent.keys() - listings))
        for path in garbage.litter:
            path.unlink(missing_ok=True)
        for md5 in sorted(garbage.cached, key=lambda md5: md5.endswith(".dir")):
            self._vault.cache.remove(md5)
        if garbage.sent:
            for md5 in listings:
                self._vault.cache.remove(md5)

    def result(self, garbage: _Garbage, *, dry_run: bool) -> GarbageResult:
        """Return the result."""
        ledger = garbage.ledger
        remote = self._vault.remote(self._operation)
        return GarbageResult(
            dry_run=dry_run,
            versions=tuple(self._vault.version(entry, ledger, remote) for entry in garbage.versions),
            objects=len(garbage.cached) + len(garbage.litter),
            bytes=sum(garbage.cached.values()) + sum(garbage.litter.values()),
            remote_objects=len(garbage.sent),
            remote_bytes=sum(garbage.sent.values()),
            kept=len(ledger.versions()) - len(garbage.versions),
        )

    def _live(self, kept: Iterable[Entry]) -> set[str]:
        live: set[str] = set()
        for entry in kept:
            if entry.md5 in live:
                continue
            files = self._files(entry.md5)
            if files is None:
                raise self._operation.error(
                    DataIntegrityError,
                    f"The file list of {entry.name}@{entry.md5} is lost, so there is no telling which "
                    "objects it needs, and nothing was removed",
                    hint="if its source is still as it was, add it again, then try again",
                )
            live.update((entry.md5, *files.values()))
        return live

    def _files(self, md5: str) -> Mapping[str, str] | None:
        if not md5.endswith(".dir"):
            return {"": md5}
        path = self._vault.cache.path(md5)
        content = path.read_bytes() if path.is_file() else None
        if content is None or listing_md5(content) != md5:
            content = self._objects.remote.read(md5)
        return None if content is None or listing_md5(content) != md5 else contents_of(md5, content)

    def _sent(self, retired: set[str], live: set[str]) -> dict[str, int]:
        contents = self._objects.remote.contents()
        own = self._location.path is not None and self._location.required is None
        if own:
            return {md5: size for md5, size in contents.items() if md5 not in live}
        # Others may push to the same place: only what belonged to versions listed here once is removed, and
        # of that nothing that a directory of theirs has too.
        files = {md5 for version in retired for md5 in (self._files(version) or {}).values()}
        foreign = {md5 for md5 in contents if md5.endswith(".dir")} - live - retired
        theirs = {md5 for version in foreign for md5 in (self._files(version) or {}).values()}
        doomed = (retired | files) - live - theirs
        return {md5: size for md5, size in contents.items() if md5 in doomed}


def _present(vault: Vault, ledger: Ledger) -> set[tuple[str, str]]:
    """Return the versions in plain sight: current ones, what sources hold, what pointers beside them name."""
    found = set()
    for name, head in ledger.heads().items():
        found.add((name, head.md5))
        if (index := read_index(vault.slot(name))) is not None:
            found.add((name, index.md5))
        if (pointer := read_pointer(pointer_path(vault.places.locate(head.source)))) is not None:
            found.add((name, pointer.md5))
    return found
