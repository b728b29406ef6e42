"""What is wrong with a project's data: stored objects that are damaged, gone, or gone from the remote."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlops.errors import (
    ConfigError,
    DataIntegrityError,
    IntegrationNotInstalledError,
    IntegrationUnavailableError,
    IsolationError,
    MLOpsError,
)
from mlops.integrations.dvc_data import DVCData
from mlops.integrations.dvc_data.directory_remote import DirectoryRemote
from mlops.integrations.dvc_data.ledger import Entry, Ledger
from mlops.integrations.dvc_data.listing import contents_of, describe_missing, listing_md5
from mlops.integrations.dvc_data.objects import ObjectStore, Remote
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.remote import RemoteLocation
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.mlflow_tracking import server
from mlops.reporting.doctor.finding import SHOWN, Check, Finding, named
from mlops.reporting.doctor.subject import Subject

Files = Mapping[str, Mapping[str, str] | None]


@dataclass(frozen=True, slots=True)
class _State:
    """What is not as it should be; each for people.

    Args:
        damaged: Objects that are not what their names say.
        missing: Content that neither the cache nor the remote has.
        gaps: Content that was pushed, and that only the cache has.
        unreachable: Why the remote could not be asked, or None.
    """

    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    unreachable: MLOpsError | None = None


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the vault and its remote.

    By default names and sizes are compared; a deep look reads every object again, in the remote too. A remote
    behind a URL is asked either way, if anything was pushed to it or the cache lacks something.

    Raises:
        IntegrationUnavailableError: The vault is damaged, or the remote cannot be reached.
        IntegrationNotInstalledError: DVC's plug-in for the remote is missing.
    """
    vault = Vault(subject.context)
    operation = vault.operation("doctor")
    if vault.read_config(operation) is None and not vault.ledger_path.exists():
        return
    try:
        ledger = vault.ledger(operation)
    except DataIntegrityError as error:
        yield subject.finding(Check.LOG, str(error), str(error.hint), **error.details)
        return
    try:
        location = vault.remote(operation)
    except (ConfigError, IsolationError):
        return  # a finding of its own, among those of the settings
    sent = ledger.pushed.get(location.identity, set())
    pushed = sorted({entry.md5 for entry in ledger.versions() if entry.md5 in sent})
    state = _state(subject, vault, ledger, location, operation)

    def push() -> str | None:
        DVCData(subject.context).push(pushed, repair=bool(state.damaged))
        left = _state(subject, vault, ledger, location, operation)
        if left.damaged or left.gaps:
            raise operation.error(
                DataIntegrityError,
                f"{(left.damaged or left.gaps)[0]} is as before",
                hint="add the data again if its source is still as it was",
            )
        return "the remote has it again" if state.gaps else "whole copies took their place"

    if state.damaged:
        yield subject.finding(
            Check.DATA,
            f"{_are(state.damaged)} not what was stored",
            "if there is a whole copy in the cache or the remote, mlops doctor --fix puts it in place;"
            " otherwise add the data again",
            repair=push if pushed else None,
            damaged=list(state.damaged[:SHOWN]),
        )
    if state.missing:
        yield subject.finding(
            Check.MISSING_DATA,
            f"{_are(state.missing)} neither in the cache nor in the remote {location.public}",
            "if its source is still as it was, add it again; otherwise restore the project from an export",
            missing=list(state.missing[:SHOWN]),
        )
    if state.gaps:
        yield subject.finding(
            Check.REMOTE,
            f"{_are(state.gaps)} no longer in the remote {location.public}, to which it was pushed",
            "send it again with: mlops doctor --fix, or mlops data push",
            # With damage about, that repair does this one's work too.
            repair=push,
            gaps=list(state.gaps[:SHOWN]),
        )
    if state.unreachable is not None:
        raise state.unreachable


def _state(
    subject: Subject, vault: Vault, ledger: Ledger, location: RemoteLocation, operation: Operation
) -> _State:
    entries = ledger.versions()
    pushed = ledger.pushed.get(location.identity, set())
    cached = _Cached(vault, entries)
    damaged = (*cached.wrong_sizes, *(str(vault.cache.path(md5)) for md5 in sorted(cached.damaged)))
    # Before the first push there may be no remote at all.
    asking = bool(pushed & cached.files.keys() or cached.damaged or cached.lacking)
    try:
        with _reaching(subject, location) if asking else contextlib.nullcontext():
            if asking:
                _require_answer(location, operation)
            if subject.deep:
                found = DVCData(subject.context).verify(progress=subject.progress)
                return _State(found.damaged, found.missing, found.gaps)
            if not asking:
                return _State(damaged)
            missing, gaps = _compare(vault, cached, entries, pushed, location, operation)
    except (IntegrationUnavailableError, IntegrationNotInstalledError) as error:
        return _State(damaged, unreachable=error)
    return _State(damaged, missing, gaps)


def _reaching(subject: Subject, location: RemoteLocation) -> contextlib.AbstractContextManager[None]:
    if location.path is not None:
        return contextlib.nullcontext()
    return subject.reaching(f"{location.scheme}://{urlsplit(location.public).hostname}")


def _require_answer(location: RemoteLocation, operation: Operation) -> None:
    # To DVC, what a web server that is down does not answer for does not exist.
    if location.scheme in ("http", "https") and (problem := server.probe(location.url)):
        raise operation.error(
            IntegrationUnavailableError,
            f"The remote {location.public} cannot be reached: {problem}",
            hint="check the address and that its server runs",
        )


def _compare(
    vault: Vault,
    cached: _Cached,
    entries: list[Entry],
    pushed: set[str],
    location: RemoteLocation,
    operation: Operation,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what neither side has, and what was pushed and only the cache has."""
    files: dict[str, Mapping[str, str] | None] = dict(cached.files)
    remote = _open(vault, location, operation)
    readable = set()
    for md5 in [md5 for md5, listed in files.items() if listed is None]:
        if (content := remote.read(md5)) is not None:
            readable.add(md5)
        files[md5] = contents_of(md5, content)
    everything = _objects(files, files)
    lacking = {md5 for md5 in everything if vault.cache.size(md5) is None} | cached.damaged
    absent = remote.missing(_objects(files, pushed) | lacking) - readable
    # A remote that is a directory compares sizes, and those of the cache are wrong here.
    gaps = absent - lacking - _objects(files, cached.suspect)
    return (
        tuple(sorted(describe_missing(entries, files, absent & lacking))),
        tuple(sorted(describe_missing([each for each in entries if each.md5 in pushed], files, gaps))),
    )


def _objects(files: Files, versions: Collection[str]) -> set[str]:
    """Return the objects of versions: their own, and those of their files."""
    return {md5 for each in files if each in versions for md5 in (each, *(files[each] or {}).values())}


class _Cached:
    """What the cache has of versions.

    Args:
        vault: The vault.
        entries: The versions.

    Attributes:
        files: By version, its files with their hashes; None where the listing is lacking or damaged.
        damaged: Listings whose content is not what their name says.
        lacking: Whether it lacks anything.
        suspect: Versions whose bytes together are not as many as were stored.
        wrong_sizes: The same for people.
    """

    def __init__(self, vault: Vault, entries: list[Entry]) -> None:
        self.files: dict[str, dict[str, str] | None] = {}
        self.damaged: set[str] = set()
        self.suspect: set[str] = set()
        self.lacking = False
        self.wrong_sizes: list[str] = []
        for entry in entries:
            if entry.md5 not in self.files:
                self.files[entry.md5] = self._listed(vault, entry.md5)
                self._compare(vault, entry)

    def _listed(self, vault: Vault, md5: str) -> dict[str, str] | None:
        if not md5.endswith(".dir"):
            return {"": md5}
        try:
            content = vault.cache.path(md5).read_bytes()
        except FileNotFoundError:
            return None
        if listing_md5(content) != md5:
            self.damaged.add(md5)
            return None
        return contents_of(md5, content)

    def _compare(self, vault: Vault, entry: Entry) -> None:
        sizes = [vault.cache.size(md5) for md5 in (self.files[entry.md5] or {}).values()]
        present = [size for size in sizes if size is not None]
        listed = self.files[entry.md5] is not None and vault.cache.size(entry.md5) is not None
        if not listed or len(present) < len(sizes):
            self.lacking = True
        elif sum(present) != entry.size:
            self.suspect.add(entry.md5)
            self.wrong_sizes.append(
                f"{entry.name}@{entry.md5} with {sum(present)} bytes in the cache instead of {entry.size}"
            )


def _open(vault: Vault, location: RemoteLocation, operation: Operation) -> Remote:
    # Without DVC, whose import takes a second, where its file systems are not needed.
    if location.path is None:
        return ObjectStore(vault, location, operation).remote
    location.check(operation)
    return DirectoryRemote(vault, location.path, operation)


def _are(items: tuple[str, ...]) -> str:
    return f"{named(items)} {'are' if len(items) > 1 else 'is'}"
