"""The DVC adapter: versions of data files and directories, for one project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops.files import Usage, measure
from mlops.integrations.dvc_data.operation import TOOL
from mlops.integrations.dvc_data.progress import Progress, metered
from mlops.integrations.dvc_data.selection import Selection, Target, Targets, as_list
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.dvc_data.versions import (
    DatasetStatus,
    DataVersion,
    GarbageResult,
    PushResult,
    VerifyResult,
)
from mlops.workspace.links import COPIED_TO
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import Link, ToolContext, ToolHealth

if TYPE_CHECKING:
    from mlops.integrations.dvc_data.differences import DataDiff


class DVCData:
    """Versions the project's data in a DVC repository of its own.

    The repository (the vault) is at ``workspace.dvc_path`` and needs no git. Every version ever added is
    listed in a ledger and can be restored by its hash. The remote is the setting ``dvc_remote_path``: inside
    the workspace by default; at an absolute path or URL, below a directory or prefix with the project's name.

    One adapter can be used from several threads. Its project's lock is held for records only, never while
    data is copied, so a long upload delays nobody.

    Args:
        context: The workspace and its settings.
    """

    tool: ClassVar[str] = TOOL

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self._vault = Vault(context)

    def add(self, path: str | Path, *, pointer: bool = True, progress: Progress | None = None) -> DataVersion:
        """Store the present content of a file or directory as a version.

        Only files touched since the last time are read; if none was, DVC is not even imported. The content is
        copied into the vault once, and the source stays a file of its own. Links to files are followed,
        wherever they lead, and stored by content. As with plain DVC, directories named ``.git``, ``.hg`` and
        ``.dvc``, and empty directories, are left out of a directory, and so are pointers this method wrote.

        Args:
            path: The file or directory, anywhere on this machine but in the vault.
            pointer: Write ``<path>.dvc`` beside it, which plain DVC reads and git can track. A pointer that
                is there is replaced if it is a plain one to this path; anything else is refused.
            progress: Called as ``progress(done, total)`` with bytes.

        Raises:
            DataNotFoundError: There is nothing at ``path``.
            DataIntegrityError: The data changed while it was read; no version was recorded.
            IntegrationError: Something in it cannot be versioned, or the pointer's place is taken.
            IsolationError: The path is in the project's own DVC storage, or has it inside.
            QuotaExceededError: The project has no room for it.
        """
        from mlops.integrations.dvc_data.adding import add

        operation = self._vault.operation("add")
        return metered(progress, lambda meter: add(self._vault, path, operation, meter, pointer=pointer))

    def push(
        self, targets: Targets | None = None, *, repair: bool = False, progress: Progress | None = None
    ) -> PushResult:
        """Bring versions to the project's remote, and check that it then really holds them.

        What the remote has lost is sent again if the cache still has it. A cached object that was written to
        since it was stored is re-read before it is sent, so that damage is found rather than spread.

        Args:
            targets: Paths, dataset names, versions, or md5s; a path or name means its current version. None
                for every version ever added.
            repair: Read every object on both sides again first, and replace damaged ones by whole ones.
            progress: Called as ``progress(done, total)`` with bytes; the total may grow.

        Raises:
            DataNotFoundError: A target is unknown.
            DataIntegrityError: Neither the cache nor the remote has an object; everything else was pushed.
            IntegrationUnavailableError: The remote cannot be reached.
            IntegrationNotInstalledError: DVC's plug-in for the remote's URL is missing.
            QuotaExceededError: The remote is in the workspace, which has no room for it.
        """
        from mlops.integrations.dvc_data.pushing import push

        operation = self._vault.operation("push")
        selection = Selection(self._vault, self._vault.ledger(operation), operation)
        chosen = selection.to_push(targets)
        return metered(progress, lambda meter: push(self._vault, chosen, operation, meter, repair=repair))

    def pull(
        self,
        targets: Targets | None = None,
        *,
        version: str | DataVersion | None = None,
        destination: str | Path | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> list[DataVersion]:
        """Restore versions, from the cache or else the remote, as ordinary files of their own.

        Content that some version holds may be replaced; content that none holds is not, unless forced. A
        directory ends up with exactly the version's files. A path with a ``.dvc`` pointer beside it that this
        project does not know yet is fetched by the pointer and becomes a dataset.

        Args:
            targets: Paths, dataset names, versions, or md5s; None for every dataset.
            version: The md5, or a unique start of it, or a version; None for the one added last. A full md5
                and a destination are enough to fetch data that the ledger has no record of.
            destination: Where to put it, for a single dataset; None for where it was added from.
            force: Replace and remove content that no version holds.
            progress: Called as ``progress(done, total)`` with bytes; the total may grow.

        Returns:
            The versions restored, in the order of the targets.

        Raises:
            DataNotFoundError: A target or version is unknown or ambiguous.
            DataIntegrityError: The version's data is neither in the cache nor in the remote.
            ConfirmationRequiredError: A file has content that no version holds.
            IsolationError: The place was recorded by another workspace, of which this is a copy.
            IntegrationUnavailableError: The remote is needed and cannot be reached.
            QuotaExceededError: The cache has no room for what is only in the remote.
        """
        from mlops.integrations.dvc_data.pulling import pull

        operation = self._vault.operation("pull")
        ledger = self._vault.ledger(operation)
        place = None if destination is None else self._vault.places.absolute(destination)
        selected = Selection(self._vault, ledger, operation).to_pull(targets, version, place)
        return metered(
            progress,
            lambda meter: pull(
                self._vault, selected, ledger, operation, meter, destination=place, force=force
            ),
        )

    def status(self) -> list[DatasetStatus]:
        """Return how each dataset's source compares with its versions, by names, sizes and times of files.

        No content is read, nothing is locked, DVC is not imported and the remote is not asked: whether a
        version is pushed is what the last push saw.
        """
        from mlops.integrations.dvc_data.checking import status

        return status(self._vault, self._vault.operation("status"))

    def datasets(self) -> list[DataVersion]:
        """Return the current version of every dataset, sorted by name."""
        operation = self._vault.operation("datasets")
        ledger, remote = self._vault.ledger(operation), self._vault.remote(operation)
        return [self._vault.version(entry, ledger, remote) for entry in ledger.heads().values()]

    def history(self, dataset: str | Path | None = None) -> list[DataVersion]:
        """Return versions in the order they were added; one added again later is there again.

        Args:
            dataset: A dataset's name or path; None for all datasets.

        Raises:
            DataNotFoundError: It is unknown.
        """
        operation = self._vault.operation("history")
        ledger, remote = self._vault.ledger(operation), self._vault.remote(operation)
        name = None
        if dataset is not None:
            name = Selection(self._vault, ledger, operation).required_dataset(dataset)
        chosen = [entry for entry in ledger.entries if name in (None, entry.name)]
        return [self._vault.version(entry, ledger, remote) for entry in chosen]

    def names(self, targets: Targets) -> set[str]:
        """Return the names of the datasets that targets mean.

        Raises:
            DataNotFoundError: One is unknown.
        """
        operation = self._vault.operation("names")
        selection = Selection(self._vault, self._vault.ledger(operation), operation)
        return {
            target.name if isinstance(target, DataVersion) else selection.required_dataset(target)
            for target in as_list(targets)
        }

    def find(self, version: str) -> DataVersion:
        """Return the version with that md5 or unique start of it; of equal ones the one added last.

        Raises:
            DataNotFoundError: There is none, or more than one hash starts like that.
        """
        operation = self._vault.operation("find")
        ledger, remote = self._vault.ledger(operation), self._vault.remote(operation)
        return self._vault.version(Selection(self._vault, ledger, operation).version(version), ledger, remote)

    def verify(self, *, progress: Progress | None = None) -> VerifyResult:
        """Re-read every object of every version, in the cache and in the remote, and change nothing.

        A remote behind a URL is read over the network. Before the first push it is not asked at all.
        ``push(repair=True)`` mends what is found, as far as a whole copy is left.

        Args:
            progress: Called as ``progress(done, total)`` with bytes; the total may grow.

        Raises:
            IntegrationUnavailableError: The remote cannot be reached.
        """
        from mlops.integrations.dvc_data.checking import verify

        operation = self._vault.operation("verify")
        return metered(progress, lambda meter: verify(self._vault, operation, meter))

    def diff(self, before: Target, after: Target) -> DataDiff:
        """Return which files differ between two versions, and how the tables among them do.

        Tables are CSV, TSV, Parquet and JSON lines files. They are read whole, both at a time. Rows are
        compared by the content of the columns both sides have, wherever in the file they are.

        Args:
            before: A path, dataset name, version, or md5; a path or name means its current version.
            after: The same.

        Raises:
            DataNotFoundError: One is unknown.
            DataIntegrityError: Neither the cache nor the remote has what is to be compared.
        """
        from mlops.integrations.dvc_data.diffing import diff

        operation = self._vault.operation("diff")
        ledger = self._vault.ledger(operation)
        selection = Selection(self._vault, ledger, operation)
        return diff(self._vault, ledger, selection.one(before), selection.one(after), operation)

    def gc(self, *, dry_run: bool = True, remote: bool = False) -> GarbageResult:
        """Take versions off the list that nothing refers to, and free what no listed version needs.

        Kept is every version that any link of the project names (of a run, model, pipeline, check or copy,
        also one that only the link log still knows), a dataset's current version, the version a source holds
        now, and the one that the ``.dvc`` pointer beside it names. Pointers elsewhere, such as in older git
        commits, are not known here: a version that only they name is removed.

        Without ``remote`` the remote keeps what it has, so ``pull(version=<md5>)`` still restores what was
        pushed. A remote outside the workspace may be pushed to by others: of it, only what this project's
        ledger listed once is removed, and nothing that a directory pushed by others contains.

        Args:
            dry_run: Only say what would be removed; nothing is written.
            remote: Remove from the remote too.

        Raises:
            IntegrationUnavailableError: A tool's links could not be read, or the remote cannot be reached.
            DataIntegrityError: A version that stays has lost its list of files.
        """
        from mlops.integrations.dvc_data.garbage import gc

        return gc(self._vault, self.context, self._vault.operation("gc"), remote=remote, dry_run=dry_run)

    def copy_from(
        self,
        source: DVCData,
        ref: Target,
        *,
        path: str | Path | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> DataVersion:
        """Take one version over from another project, as a dataset of this one.

        Every object is copied and its hash checked, so the projects share no file. Both ledgers record the
        copy. Calling again with the same arguments changes nothing.

        Args:
            source: The other project's data.
            ref: A path, dataset name, version, or md5 there; a path or name means its current version.
            path: Where the data belongs in this project, and is restored to; ``outputs/<file name>`` in the
                workspace by default.
            force: Replace content at that path that no version holds.
            progress: Called as ``progress(done, total)`` with bytes; the total may grow.

        Raises:
            DataNotFoundError: The other project has no such version.
            DataIntegrityError: The other project has lost some of its content.
            ConfirmationRequiredError: The path has content that no version holds.
            IsolationError: The other project is this one, or the path is in a project's own storage.
        """
        from mlops.integrations.dvc_data.copying import copy_from

        operation = self._vault.operation("copy_from")
        return metered(
            progress,
            lambda meter: copy_from(
                self._vault, source._vault, ref, operation, meter, path=path, force=force
            ),
        )

    def ensure(self) -> None:
        """Create the vault if it is missing; DVC is not needed for that."""
        operation = self._vault.operation("ensure")
        with operation.storing(self._vault.root):
            self._vault.ensure(operation)

    def health(self) -> ToolHealth:
        """Say whether data can be added and pushed, without importing DVC or contacting a remote."""
        from mlops.integrations.dvc_data.inspection import health

        return health(self._vault)

    def summary(self) -> dict[str, Any]:
        """Return counts of datasets, versions and unpushed versions, and the size of the current versions."""
        from mlops.integrations.dvc_data.inspection import summary

        return summary(self._vault)

    def usage(self) -> Usage:
        """Return what the vault costs on disk: cache, ledger, and a remote inside it."""
        return measure(self._vault.root)

    def links(self) -> Iterator[Link]:
        """Yield which versions came from other projects, and which went there.

        Which run read a version is recorded with the run.
        """
        ledger = self._vault.ledger(self._vault.operation("links"))
        for entry in [*ledger.versions(), *(entry for entry, _ in ledger.retired.values())]:
            if entry.origin is not None:
                facts = {"dataset": entry.name, "at": entry.added_at.isoformat()}
                yield Link(f"{entry.origin}/data:{entry.md5}", f"data:{entry.md5}", COPIED_TO, facts)
        for name, md5, project in ledger.copies:
            yield Link(f"data:{md5}", f"{project}/data:{md5}", COPIED_TO, {"dataset": name})

    def export(self, destination: Path, *, include_data: bool = True) -> None:
        """Copy the vault into an existing empty directory.

        ``.dvc/config.local`` is left out, because it is where credentials are kept.

        Args:
            destination: The directory.
            include_data: Whether to copy every version's objects too, from the cache and a remote inside.

        Raises:
            ArchiveError: The destination is not an existing empty directory.
        """
        from mlops.integrations.dvc_data.archive import export
        from mlops.integrations.dvc_data.renaming import forget_places

        operation = self._vault.operation("export")
        export(self._vault, Path(destination), operation, objects=include_data)
        forget_places(self._vault, Path(destination), operation)

    def restore(self, source: Path) -> None:
        """Replace the vault by an exported copy.

        Sources recorded by the absolute path of another workspace stay known, but ``pull`` then asks for a
        destination.

        Raises:
            ArchiveError: The directory is not an exported vault; nothing was changed.
        """
        from mlops.integrations.dvc_data.archive import restore

        restore(self._vault, Path(source), self._vault.operation("restore"))

    def adopt(self, former: ProjectWorkspace, *, moved: bool) -> None:
        """Take over the sources that a workspace recorded by their absolute paths before it was moved here.

        A remote outside the workspace stays where it is: push again to have everything under the new name.
        """
        from mlops.integrations.dvc_data.renaming import adopt

        if moved:
            adopt(self._vault, former, self._vault.operation("adopt"))

    def in_use(self) -> Iterator[str]:
        """Yield nothing: whoever stores data finds out that the workspace has moved."""
        return iter(())

    def close(self) -> None:
        """Do nothing: no file, connection or cache is kept between calls."""
