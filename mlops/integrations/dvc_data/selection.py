"""Which versions a caller means by paths, dataset names, hashes, or versions it was given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mlops.errors import DataNotFoundError, IntegrationError
from mlops.integrations.dvc_data.hashing import FULL_HASH
from mlops.integrations.dvc_data.ledger import Entry, Ledger
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.places import Source
from mlops.integrations.dvc_data.pointer import pointer_path, read_pointer
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import DataVersion

Target = str | Path | DataVersion
Targets = Target | Iterable[Target]
MIN_PREFIX: Final = 4
_HASH: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},32}}(?:\.dir)?")


@dataclass(frozen=True, slots=True)
class Selected:
    """One version to restore.

    Args:
        entry: The version.
        recorded: Whether the ledger has it; else its size and number of files are found out by restoring.
        adopt: Whether to record it afterwards, because the project's own pointer named it.
    """

    entry: Entry
    recorded: bool = True
    adopt: bool = False


class Selection:
    """Looks versions up in one state of the ledger.

    Args:
        vault: The vault.
        ledger: Its ledger.
        operation: The calling method.
    """

    def __init__(self, vault: Vault, ledger: Ledger, operation: Operation) -> None:
        self._vault = vault
        self._ledger = ledger
        self._operation = operation
        self._heads = ledger.heads()

    def dataset(self, target: str | Path) -> str | None:
        """Return the name of the dataset that a name or path means, or None."""
        if isinstance(target, str) and target in self._heads:
            return target
        return self._vault.places.dataset_at(self._vault.places.absolute(target), self._ledger.sources())

    def required_dataset(self, target: str | Path) -> str:
        """Return the name of the dataset that a name or path means.

        Raises:
            DataNotFoundError: There is none.
        """
        name = self.dataset(target)
        if name is None:
            raise self._unknown(str(target))
        return name

    def version(self, version: str | DataVersion, dataset: str | None = None) -> Entry:
        """Return the version with that hash or unique start of it, of one dataset or any.

        Raises:
            DataNotFoundError: There is none, or more than one.
        """
        prefix = version.md5 if isinstance(version, DataVersion) else version
        if dataset is None and isinstance(version, DataVersion) and version.name in self._heads:
            dataset = version.name
        entries = [e for e in self._ledger.matching(prefix) if dataset is None or e.name == dataset]
        hashes = sorted({entry.md5 for entry in entries})
        if len(hashes) == 1:
            return entries[-1]
        whose = f" of {dataset!r}" if dataset is not None else ""
        if hashes:
            raise self._operation.error(
                DataNotFoundError,
                f"{prefix!r} fits {len(hashes)} versions{whose}: {', '.join(hashes[:5])}",
                hint="give more digits of the one you mean",
                details={"candidates": hashes},
            )
        raise self._operation.error(
            DataNotFoundError,
            f"There is no version {prefix!r}{whose} in this project",
            hint="list the versions with history(), or give the full md5 and a destination to fetch it "
            "from the remote",
        )

    def to_push(self, targets: Targets | None) -> list[Entry]:
        """Return the versions to push: all ever added, or the current one of each dataset named."""
        if targets is None:
            return self._ledger.versions()
        chosen = {(entry.name, entry.md5): entry for entry in map(self.one, as_list(targets))}
        return list(chosen.values())

    def to_pull(
        self, targets: Targets | None, version: str | DataVersion | None, destination: Path | None
    ) -> list[Selected]:
        """Return the versions to restore; see ``DVCData.pull``.

        Raises:
            DataNotFoundError: A target or the version is unknown.
            IntegrationError: The arguments do not go together.
        """
        wanted = None if targets is None else as_list(targets)
        if version is not None and wanted is not None and len(wanted) != 1:
            raise self._operation.error(
                IntegrationError,
                f"One version was named for {len(wanted)} targets",
                hint="pull one target at a time when you name a version",
            )
        if version is not None:
            chosen = [self._by_version(wanted[0] if wanted else None, version, destination)]
        elif wanted is None:
            chosen = [Selected(entry) for entry in self._heads.values()]
        else:
            chosen = [self._by_target(target, destination) for target in wanted]
        if destination is not None and len(chosen) != 1:
            raise self._operation.error(
                IntegrationError,
                f"One destination was named for {len(chosen)} datasets",
                hint="pull one dataset at a time when you name a destination",
            )
        return chosen

    def _by_version(
        self, target: Target | None, version: str | DataVersion, destination: Path | None
    ) -> Selected:
        dataset = None
        if isinstance(target, DataVersion):
            dataset = target.name
        elif target is not None:
            dataset = self.required_dataset(target)
        md5 = version.md5 if isinstance(version, DataVersion) else version
        matching = [e for e in self._ledger.matching(md5) if dataset is None or e.name == dataset]
        if not matching and (retired := self._retired(md5, dataset)) is not None:
            return Selected(retired, recorded=False)
        if not matching and destination is not None and FULL_HASH.fullmatch(md5):
            return Selected(_unrecorded(md5, destination), recorded=False)
        owners = sorted({entry.name for entry in matching})
        if destination is None and not isinstance(version, DataVersion) and len(owners) > 1:
            raise self._operation.error(
                DataNotFoundError,
                f"The version {md5!r} belongs to {len(owners)} datasets: {', '.join(owners[:5])}",
                hint="name the dataset, or a destination",
                details={"datasets": owners},
            )
        return Selected(self.version(version, dataset))

    def _by_target(self, target: Target, destination: Path | None) -> Selected:
        if isinstance(target, DataVersion):
            known = [e for e in self._ledger.versions(target.name) if e.md5 == target.md5]
            if known:
                return Selected(known[-1])
            return self._by_version(None, target, destination)
        name = self.dataset(target)
        if name is not None:
            return Selected(self._heads[name])
        source = self._vault.places.absolute(target)
        pointer = read_pointer(pointer_path(source)) if source.name else None
        if pointer is not None and pointer.path == source.name:
            recorded = self._vault.places.describe(source)
            dataset = self._vault.places.dataset_name(recorded)
            entry = Entry(dataset, recorded, pointer.md5, 0, 0, datetime.now(UTC))
            return Selected(entry, recorded=False, adopt=True)
        if isinstance(target, str) and _HASH.fullmatch(target):
            return self._by_version(None, target, destination)
        raise self._unknown(str(target))

    def _retired(self, md5: str, dataset: str | None) -> Entry | None:
        """Return a version that gc took off the list; a remote may still hold it."""
        found = [
            entry
            for entry, _ in self._ledger.retired.values()
            if entry.md5.startswith(md5) and dataset in (None, entry.name) and len(md5) >= MIN_PREFIX
        ]
        return found[-1] if len({entry.md5 for entry in found}) == 1 else None

    def one(self, target: Target) -> Entry:
        """Return the version that a target means; a path or a dataset's name means its current one.

        Raises:
            DataNotFoundError: It is unknown.
        """
        if isinstance(target, DataVersion):
            return self.version(target)
        name = self.dataset(target)
        if name is not None:
            return self._heads[name]
        if isinstance(target, str) and _HASH.fullmatch(target):
            return self.version(target)
        raise self._unknown(str(target))

    def _unknown(self, target: str) -> DataNotFoundError:
        known = ", ".join(list(self._heads)[:5]) or "none"
        return self._operation.error(
            DataNotFoundError,
            f"{target!r} is not a dataset of this project; it has: {known}",
            hint="add it first, or name one of datasets() by its name or path",
        )


def as_list(targets: Targets) -> list[Target]:
    """Return one target or several as a list."""
    return [targets] if isinstance(targets, str | Path | DataVersion) else list(targets)


def _unrecorded(md5: str, destination: Path) -> Entry:
    source = Source("absolute", destination.as_posix(), foreign=True)
    return Entry(destination.name, source, md5, 0, 0, datetime.now(UTC))
