"""A remote that is a directory of this machine, or mounted there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlops.errors import IntegrationUnavailableError
from mlops.integrations.dvc_data.object_directory import ObjectDirectory
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.progress import Meter
from mlops.integrations.dvc_data.vault import Vault


class DirectoryRemote:
    """The objects of one project in a directory.

    Args:
        vault: The vault, already created.
        path: The remote's directory.
        operation: The calling method.
    """

    def __init__(self, vault: Vault, path: Path, operation: Operation) -> None:
        self._cache = vault.cache
        self._path = path
        self._objects = ObjectDirectory(path / "files" / "md5")
        self._operation = operation

    def missing(self, md5s: Iterable[str]) -> set[str]:
        """Return the objects the remote does not hold, or holds with another size than the cache."""
        absent = set()
        for md5 in md5s:
            size, cached = self._objects.size(md5), self._cache.size(md5)
            if size is None or cached not in (None, size):
                absent.add(md5)
        return absent

    def upload(self, md5s: Sequence[str], meter: Meter) -> dict[str, BaseException]:
        """Copy objects from the cache, but those lost or damaged there; return failures with their errors."""
        failed: dict[str, BaseException] = {}
        for md5 in md5s:
            try:
                self._objects.copy_from(self._cache, md5, trusting=True, advance=meter.advance)
            except OSError as error:
                if self._cache.size(md5) is not None:
                    failed[md5] = error
        return failed

    def download(self, md5s: Sequence[str], meter: Meter) -> None:
        """Copy objects into the cache, hashing each; what is not there or damaged is left out."""
        meter.expect(sum(self._objects.size(md5) or 0 for md5 in md5s))
        for md5 in md5s:
            try:
                self._cache.copy_from(self._objects, md5, advance=meter.advance)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.refuse({md5: error})

    def check(self, md5s: Sequence[str], meter: Meter) -> dict[str, bool]:
        """Read objects and say whether each is what its name says; those that do not exist are left out."""
        meter.expect(sum(self._objects.size(md5) or 0 for md5 in md5s))
        try:
            found = {md5: self._objects.intact(md5, advance=meter.advance) for md5 in md5s}
        except OSError as error:
            self.refuse({"": error})
            raise
        return {md5: whole for md5, whole in found.items() if whole is not None}

    def read(self, md5: str) -> bytes | None:
        """Return an object's content, or None if it does not exist."""
        try:
            return self._objects.path(md5).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def contents(self) -> dict[str, int]:
        """Return every object with its bytes."""
        return dict(self._objects.all())

    def remove(self, md5s: Iterable[str]) -> None:
        """Remove objects; they may be gone already."""
        try:
            for md5 in md5s:
                self._objects.remove(md5)
        except OSError as error:
            self.refuse({"": error})

    def label(self, md5: str) -> str:
        """Return where an object is."""
        return str(self._objects.path(md5))

    def refuse(self, failed: Mapping[str, BaseException]) -> None:
        """Raise for transfers that failed, if any.

        Raises:
            IntegrationUnavailableError: One did.
        """
        if failed:
            error = failed[min(failed)]
            raise self._operation.error(
                IntegrationUnavailableError,
                f"The remote {self._path} cannot be used: {error}",
                hint="check that its disk is mounted, writable and not full",
            ) from error
