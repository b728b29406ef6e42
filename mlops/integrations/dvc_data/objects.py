"""The objects of one project: its cache, and its remote once it is asked for.

``dvc.repo.Repo`` is not used. It locks, scans and keeps state for stages, which a vault does not have, and
takes its own record of a push for the remote's content. What it would write is written in the same form:
objects by their hash, a directory's listing by DVC's own class, pointers for plain DVC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mlops.errors import DataIntegrityError
from mlops.integrations.dvc_data.listing import listing_bytes, listing_md5, parse_listing
from mlops.integrations.dvc_data.loading import load_dvc
from mlops.integrations.dvc_data.object_directory import seal
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.remote import RemoteLocation
from mlops.integrations.dvc_data.vault import Vault


class Remote(Protocol):
    """Where versions are pushed."""

    def missing(self, md5s: Iterable[str]) -> set[str]:
        """Return the objects the remote does not hold, asking the remote itself."""

    def upload(self, md5s: Sequence[str], meter: Meter) -> dict[str, BaseException]:
        """Copy objects from the cache, but those lost or damaged there; return failures with their errors."""

    def download(self, md5s: Sequence[str], meter: Meter) -> None:
        """Copy objects into the cache; what is not there or damaged is left out."""

    def check(self, md5s: Sequence[str], meter: Meter) -> dict[str, bool]:
        """Read objects and say whether each is what its name says; those that do not exist are left out."""

    def read(self, md5: str) -> bytes | None:
        """Return an object's content, or None if it does not exist."""

    def contents(self) -> dict[str, int]:
        """Return every object with its bytes."""

    def remove(self, md5s: Iterable[str]) -> None:
        """Remove objects; they may be gone already."""

    def label(self, md5: str) -> str:
        """Return where an object is, for people."""

    def refuse(self, failed: Mapping[str, BaseException]) -> None:
        """Raise for transfers that failed, if any."""


class ObjectStore:
    """The cache of one vault, and its remote once it is asked for.

    Args:
        vault: The vault, already created.
        location: Its remote.
        operation: The calling method.
    """

    def __init__(self, vault: Vault, location: RemoteLocation, operation: Operation) -> None:
        load_dvc(operation)
        self.cache = vault.cache
        self._vault = vault
        self._location = location
        self._operation = operation
        self._remote: Remote | None = None

    @property
    def remote(self) -> Remote:
        """The remote, opened on first use.

        Raises:
            IntegrationUnavailableError: It cannot be reached.
            IntegrationNotInstalledError: DVC's plug-in for its URL is missing.
        """
        if self._remote is None:
            self._location.check(self._operation)
            if self._location.path is not None:
                from mlops.integrations.dvc_data.directory_remote import DirectoryRemote

                self._remote = DirectoryRemote(self._vault, self._location.path, self._operation)
            else:
                from mlops.integrations.dvc_data.url_remote import UrlRemote

                self._remote = UrlRemote(self._vault, self._location, self._operation)
        return self._remote

    def store_listing(self, hashes: Mapping[str, str], staging: Path) -> str:
        """Put a directory's listing into the cache and return its hash, which ends in ``.dir``."""
        listing = listing_bytes(hashes)
        staged = staging / "listing"
        with staged.open("xb") as stream:
            stream.write(listing)
            stream.flush()
            seal(stream.fileno())
        md5 = listing_md5(listing)
        self.cache.take(md5, str(staged))
        return md5

    def files_of(self, md5: str) -> dict[str, str] | None:
        """Return a version's files by relative path, with their hashes; None if the cache lacks the listing.

        A version that is a file has the one key ``""``. A damaged listing counts as absent.
        """
        if not md5.endswith(".dir"):
            return {"": md5}
        if not self.intact(md5):
            return None
        return parse_listing(self.cache.path(md5).read_bytes())

    def intact(self, md5: str) -> bool:
        """Re-read a cached object; one whose bytes are not what its name says is moved out of the way."""
        if self.cache.intact(md5):
            return True
        self.set_aside(md5)
        return False

    def set_aside(self, md5: str) -> None:
        """Move a damaged object out of the cache, where it would be trusted; there may be none."""
        self._vault.corrupt.mkdir(parents=True, exist_ok=True)
        try:
            self.cache.path(md5).replace(self._vault.corrupt / md5)
        except FileNotFoundError:
            return

    def download(self, md5s: Iterable[str], meter: Meter) -> set[str]:
        """Fetch the objects that the cache lacks; return those that the remote does not have whole."""
        wanted = sorted(md5 for md5 in set(md5s) if self.cache.size(md5) is None)
        if wanted:
            self.remote.download(wanted, meter)
        return {md5 for md5 in wanted if self.cache.size(md5) is None}


def refuse_missing(missing: Sequence[str], operation: Operation, *, hint: str) -> DataIntegrityError:
    """Return the error that names stored data which is gone.

    Args:
        missing: What is missing, readable, the first of which is named in the message.
        operation: The calling method.
        hint: The next step.
    """
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return operation.error(
        DataIntegrityError,
        f"Neither the cache nor the remote holds {missing[0]}{more}",
        hint=hint,
        details={"missing": list(missing)},
    )
