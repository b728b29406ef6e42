"""The bridge to DVC: its object databases for the project's cache and remote.

``dvc.repo.Repo`` is not used. It locks, scans and keeps state for stages, which a vault does not have; the
object databases below it hold the same files, serve several threads at once, and load in a fifth of the time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mlops import names
from mlops.errors import (
    DataIntegrityError,
    IntegrationNotInstalledError,
    IntegrationUnavailableError,
    MLOpsError,
)
from mlops.integrations.dvc_data.hashing import file_md5
from mlops.integrations.dvc_data.loading import load_dvc
from mlops.integrations.dvc_data.operation import TOOL, Operation
from mlops.integrations.dvc_data.remote import RemoteLocation
from mlops.integrations.dvc_data.vault import Vault

# botocore waits 60 s for a connection by default and tries five times.
_S3_CONNECT_SECONDS: Final = 10
_SECRET_OPTIONS: Final = (
    "password",
    "passphrase",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "sse_customer_key",
    "connection_string",
    "sas_token",
    "account_key",
    "client_secret",
    "oss_key_id",
    "oss_key_secret",
    "token",
)


class ObjectStore:
    """The cache of one vault, and its remote once it is asked for.

    Args:
        vault: The vault, already created.
        location: Its remote.
        operation: The calling method.
    """

    def __init__(self, vault: Vault, location: RemoteLocation, operation: Operation) -> None:
        load_dvc(operation)
        from dvc.fs import localfs
        from dvc_data.hashfile.db import get_odb

        self._vault = vault
        self._location = location
        self._operation = operation
        self._local = localfs
        self._cache = get_odb(localfs, str(vault.cache), hash_name="md5")
        self._remote: Any = None
        self._secrets: list[str] = []

    def store(self, staged: Mapping[str, Path]) -> None:
        """Put staged files into the cache, each whole or not at all; those already there are skipped.

        Args:
            staged: Hash to file; on the cache's disk the file is linked into place, not copied.
        """
        for md5, path in staged.items():
            cached = self._vault.object_path(md5)
            if cached.is_file() and cached.stat().st_size != path.stat().st_size:
                self.set_aside(md5)
        if staged:
            self._cache.add([str(path) for path in staged.values()], self._local, list(staged), hardlink=True)

    def store_tree(self, hashes: Mapping[str, str], staging: Path) -> str:
        """Put a directory's listing into the cache and return its hash, which ends in ``.dir``."""
        listing = _listing(hashes)
        staged = staging / "listing"
        staged.write_bytes(listing)
        md5 = _listing_md5(listing)
        self.store({md5: staged})
        return md5

    def in_cache(self, md5: str) -> bool:
        """Say whether the cache has an object."""
        return self._vault.object_path(md5).is_file()

    def files_of(self, md5: str) -> dict[str, str] | None:
        """Return a version's files by relative path, with their hashes; None if the cache lacks the listing.

        A version that is a file has the one key ``""``. A damaged listing counts as absent.
        """
        if not md5.endswith(".dir"):
            return {"": md5}
        if not self.intact(md5):
            return None
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.tree import Tree

        tree = Tree.load(self._cache, HashInfo("md5", md5), hash_name="md5")
        return {"/".join(key): str(info.value) for key, _, info in tree}

    def intact(self, md5: str) -> bool:
        """Re-read a cached object; one whose bytes are not what its name says is moved out of the way."""
        path = self._vault.object_path(md5)
        try:
            actual = file_md5(path)
        except FileNotFoundError:
            return False
        if actual == md5.removesuffix(".dir"):
            return True
        self.set_aside(md5)
        return False

    def set_aside(self, md5: str) -> None:
        """Move a damaged object out of the cache, where it would be trusted."""
        self._vault.corrupt.mkdir(parents=True, exist_ok=True)
        self._vault.object_path(md5).replace(self._vault.corrupt / md5)

    def missing_remotely(self, md5s: Iterable[str]) -> set[str]:
        """Return the objects that the remote does not hold, asking the remote itself and no record of pushes.

        In a remote that is a directory, an object whose size differs from the cache's counts as missing.
        """
        wanted = set(md5s)
        if not wanted:
            return set()
        remote = self._open()
        if self._location.path is not None:
            return {md5 for md5 in wanted if not self._same_size(md5)}
        with self._reaching():
            remote.fs.fs.invalidate_cache()
            return wanted - set(remote.oids_exist(sorted(wanted)))

    def upload(self, md5s: Sequence[str]) -> dict[str, BaseException]:
        """Copy cached objects to the remote, replacing what is there under the same name.

        Returns:
            The objects that failed, each with its error.
        """
        remote = self._open()
        failed: dict[str, BaseException] = {}
        if self._location.path is not None:
            for md5 in md5s:
                path = Path(remote.oid_to_path(md5))
                # On a copy-on-write disk DVC leaves a file that is already there as it is. Only a truncated one
                # is removed: another process may be putting the same object there right now.
                if path.exists() and not self._same_size(md5):
                    path.unlink(missing_ok=True)
        if md5s:
            with self._reaching():
                remote.add(
                    [str(self._vault.object_path(md5)) for md5 in md5s],
                    self._local,
                    list(md5s),
                    check_exists=False,
                    verify=False,
                    on_error=lambda md5, error: failed.update({md5: error}),
                )
        return failed

    def download(self, md5s: Iterable[str]) -> dict[str, BaseException]:
        """Copy objects from the remote into the cache, re-hashing each; a damaged one is not kept.

        Returns:
            The objects that failed, each with its error.
        """
        wanted = sorted(md5 for md5 in set(md5s) if not self.in_cache(md5))
        if not wanted:
            return {}
        remote = self._open()
        failed: dict[str, BaseException] = {}
        with self._reaching(), contextlib.suppress(FileNotFoundError):
            self._cache.add(
                [remote.oid_to_path(md5) for md5 in wanted],
                remote.fs,
                wanted,
                check_exists=False,
                verify=True,
                on_error=lambda md5, error: failed.update({md5: error}),
            )
        for md5 in wanted:
            if not self.in_cache(md5):
                failed.setdefault(md5, FileNotFoundError(f"the remote has no whole object {md5}"))
        for problem in failed.values():
            if not isinstance(problem, FileNotFoundError):
                with self._reaching():
                    raise problem
        return failed

    def refuse_failed(self, failed: Mapping[str, BaseException]) -> None:
        """Raise for uploads that failed, if any.

        Raises:
            IntegrationUnavailableError: One did.
        """
        if failed:
            with self._reaching():
                raise failed[min(failed)]

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn whatever goes wrong with the remote into an error that says so, without secrets."""
        try:
            yield
        except MLOpsError:
            raise
        except Exception as error:
            failure = self._failure(error)
            if self._redacted(str(error)) != str(error):
                raise failure from None
            raise failure from error

    def _same_size(self, md5: str) -> bool:
        try:
            size = Path(self._remote.oid_to_path(md5)).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return size == self._vault.object_path(md5).stat().st_size
        except FileNotFoundError:
            return True

    def _open(self) -> Any:
        if self._remote is None:
            self._location.check(self._operation)
            with self._reaching():
                self._remote = self._connect()
        return self._remote

    def _connect(self) -> Any:
        from dvc.config import Config
        from dvc.fs import get_cloud_fs
        from dvc_data.hashfile.db import get_odb

        class VaultConfig(Config):  # type: ignore[misc,valid-type,unused-ignore]
            # The user's and the machine's own DVC settings would lead to remotes of other projects.
            LEVELS = ("repo", "local")

        config = VaultConfig(str(self._vault.dvc_dir), config=self._vault.overrides(self._location))
        options = config["remote"][names.DVC_REMOTE]
        self._secrets = [str(options[name]) for name in _SECRET_OPTIONS if options.get(name)]
        if self._location.scheme == "s3":
            options.setdefault("connect_timeout", _S3_CONNECT_SECONDS)
        filesystem_class, arguments, path = get_cloud_fs(config, name=names.DVC_REMOTE)
        filesystem = filesystem_class(**arguments)
        arguments.pop("verify", None)
        return get_odb(filesystem, filesystem.join(path, "files", "md5"), hash_name="md5", **arguments)

    def _failure(self, error: BaseException) -> MLOpsError:
        if isinstance(error, ImportError):
            return self._operation.error(
                IntegrationNotInstalledError,
                f"The remote {self._location.public} needs a package that is not installed: {error}",
                hint=f'install it with: pip install "mlops-workspaces[{self._location.scheme or TOOL}]"',
                details={"extra": self._location.scheme},
            )
        text = self._redacted(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        return self._operation.error(
            IntegrationUnavailableError,
            f"The remote {self._location.public} cannot be used: {text}",
            hint="check that it is reachable and that the credentials allow reading and writing; "
            f"further DVC options belong in {self._vault.dvc_dir / 'config.local'}",
        )

    def _redacted(self, text: str) -> str:
        text = text.replace(self._location.url, self._location.public)
        environment = (
            value for name, value in os.environ.items() if name.startswith("AWS_") and "KEY" in name
        )
        password = urlsplit(self._location.url).password if self._location.scheme else None
        for secret in (*self._secrets, *environment, password or ""):
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text


def tree_md5(hashes: Mapping[str, str]) -> str:
    """Return the hash of a directory with these files; DVC must be loaded."""
    return _listing_md5(_listing(hashes))


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


def _listing(hashes: Mapping[str, str]) -> bytes:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for name, md5 in hashes.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5))
    return bytes(tree.as_bytes())


def _listing_md5(listing: bytes) -> str:
    # Not Tree.digest: it leaves a copy of every listing in fsspec's process-wide memory filesystem.
    return f"{hashlib.md5(listing, usedforsecurity=False).hexdigest()}.dir"
