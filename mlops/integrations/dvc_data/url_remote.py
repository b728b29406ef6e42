"""A remote behind a URL (S3 and the like), through DVC's filesystem and object database for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

from mlops import names
from mlops.errors import IntegrationNotInstalledError, IntegrationUnavailableError, MLOpsError
from mlops.integrations.dvc_data.hashing import FULL_HASH, stream_md5
from mlops.integrations.dvc_data.operation import TOOL, Operation
from mlops.integrations.dvc_data.progress import CallbackError, Meter
from mlops.integrations.dvc_data.remote import RemoteLocation
from mlops.integrations.dvc_data.vault import Vault

# botocore waits 60 s for a connection by default and tries five times.
_S3_CONNECT_SECONDS: Final = 10
# Small objects are read by several threads, because each waits for the network most of the time.
_READERS: Final = 8
_BLOCK: Final = 1 << 20
SECRET_OPTIONS: Final = (
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


class UrlRemote:
    """The objects of one project behind a URL.

    DVC's count of pushed objects and its status are not used: they take a directory's listing for its files,
    and an object lost from the cache for a pushed one.

    Args:
        vault: The vault, already created.
        location: Where the remote is.
        operation: The calling method.
    """

    def __init__(self, vault: Vault, location: RemoteLocation, operation: Operation) -> None:
        from dvc.fs import localfs
        from dvc_data.hashfile.db import get_odb

        self._vault = vault
        self._location = location
        self._operation = operation
        self._local = localfs
        self._cache = get_odb(localfs, str(vault.cache.root), hash_name="md5")
        self._secrets: list[str] = []
        with self._reaching():
            self._remote = self._connect()

    def missing(self, md5s: Iterable[str]) -> set[str]:
        """Return the objects the remote does not hold, asking the remote itself."""
        wanted = set(md5s)
        if not wanted:
            return set()
        with self._reaching():
            self._remote.fs.fs.invalidate_cache()
            return wanted - set(self._remote.oids_exist(sorted(wanted)))

    def upload(self, md5s: Sequence[str], meter: Meter) -> dict[str, BaseException]:
        """Copy objects from the cache, but those lost or damaged there; return failures with their errors."""
        failed: dict[str, BaseException] = {}
        cache = self._vault.cache
        whole = [md5 for md5 in md5s if cache.sealed(md5) or cache.intact(md5)]
        if whole:
            with self._reaching():
                self._remote.add(
                    [str(cache.path(md5)) for md5 in whole],
                    self._local,
                    whole,
                    check_exists=False,
                    verify=False,
                    on_error=lambda md5, error: failed.update({md5: error}),
                    callback=transfer_callback(meter, expected=True),
                )
        meter.check()
        return failed

    def download(self, md5s: Sequence[str], meter: Meter) -> None:
        """Copy objects into the cache, re-hashing each; what is not there or damaged is left out."""
        failed: dict[str, BaseException] = {}
        with self._reaching(), contextlib.suppress(FileNotFoundError):
            self._cache.add(
                [self._remote.oid_to_path(md5) for md5 in md5s],
                self._remote.fs,
                list(md5s),
                check_exists=False,
                verify=True,
                on_error=lambda md5, error: failed.update({md5: error}),
                callback=transfer_callback(meter, expected=False),
            )
        meter.check()
        self.refuse({md5: error for md5, error in failed.items() if not isinstance(error, FileNotFoundError)})

    def check(self, md5s: Sequence[str], meter: Meter) -> dict[str, bool]:
        """Read objects and say whether each is what its name says; those that do not exist are left out."""
        if not md5s:
            return {}
        with self._reaching(), ThreadPoolExecutor(_READERS) as pool:
            self._remote.fs.fs.invalidate_cache()
            found = dict(zip(md5s, pool.map(lambda md5: self._intact(md5, meter), md5s), strict=True))
        return {md5: whole for md5, whole in found.items() if whole is not None}

    def _intact(self, md5: str, meter: Meter) -> bool | None:
        try:
            with self._remote.fs.open(self._remote.oid_to_path(md5), "rb") as stream:
                size = int(getattr(stream, "size", None) or 0)
                meter.expect(size)
                return stream_md5(stream, size=_BLOCK, advance=meter.advance) == md5.removesuffix(".dir")
        except FileNotFoundError:
            return None

    def read(self, md5: str) -> bytes | None:
        """Return an object's content, or None if it does not exist."""
        with self._reaching():
            try:
                with self._remote.fs.open(self._remote.oid_to_path(md5), "rb") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def contents(self) -> dict[str, int]:
        """Return every object with its bytes."""
        with self._reaching():
            self._remote.fs.fs.invalidate_cache()
            found = self._remote.fs.fs.find(self._remote.path, detail=True)
            sizes = {self._remote.path_to_oid(path): int(facts["size"]) for path, facts in found.items()}
        return {md5: size for md5, size in sizes.items() if FULL_HASH.fullmatch(md5)}

    def remove(self, md5s: Iterable[str]) -> None:
        """Remove objects; they may be gone already."""
        paths = [self._remote.oid_to_path(md5) for md5 in md5s]
        if paths:
            with self._reaching(), contextlib.suppress(FileNotFoundError):
                self._remote.fs.remove(paths)

    def label(self, md5: str) -> str:
        """Return where an object is."""
        return f"{self._location.public}/files/md5/{md5[:2]}/{md5[2:]}"

    def refuse(self, failed: Mapping[str, BaseException]) -> None:
        """Raise for transfers that failed, if any.

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
        except (MLOpsError, CallbackError):
            raise
        except Exception as error:
            failure = self._failure(error)
            if self._redacted(str(error)) != str(error):
                raise failure from None
            raise failure from error

    def _connect(self) -> Any:
        from dvc.config import Config
        from dvc.fs import get_cloud_fs
        from dvc_data.hashfile.db import get_odb

        class VaultConfig(Config):  # type: ignore[misc,valid-type,unused-ignore]
            # The user's and the machine's own DVC settings would lead to remotes of other projects.
            LEVELS = ("repo", "local")

        config = VaultConfig(str(self._vault.dvc_dir), config=self._vault.overrides(self._location))
        options = config["remote"][names.DVC_REMOTE]
        self._secrets = [str(options[name]) for name in SECRET_OPTIONS if options.get(name)]
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


def transfer_callback(meter: Meter, *, expected: bool) -> Any:
    """Return what DVC's transfers report to: one callback for all files, with a branch for each.

    Args:
        meter: Counts the bytes.
        expected: Whether the meter knows the total already.
    """
    from fsspec.callbacks import Callback

    class OneFile(Callback):  # type: ignore[misc,unused-ignore]
        def set_size(self, size: int | None) -> None:
            if not expected:
                meter.expect(size or 0)

        def relative_update(self, inc: int = 1) -> None:
            meter.advance(inc)

    class AllFiles(Callback):  # type: ignore[misc,unused-ignore]
        # What it counts itself is files.
        def branched(self, path_1: str, path_2: str, **_: Any) -> Any:
            return OneFile()

    return AllFiles()
