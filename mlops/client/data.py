"""Verbs for data: version it, store it, bring any version back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.client.restored import restored_version
from mlops.client.session import ProjectSession
from mlops.errors import DataNotFoundError
from mlops.integrations.mlflow_tracking.lineage import data_link

if TYPE_CHECKING:
    from mlops.integrations.dvc_data import DatasetStatus, DataVersion, PushResult
    from mlops.integrations.dvc_data.progress import Progress
    from mlops.integrations.dvc_data.selection import Targets


class DataVerbs(ProjectSession):
    """What handles data sets."""

    def dvc_add(self, path: Path | str, *, progress: Progress | None = None) -> DataVersion:
        """Version a file or directory anywhere on disk, and write its ``.dvc`` pointer beside it.

        The version becomes a dataset input and a tag of the active run, if there is one.

        Args:
            path: The file or directory.
            progress: Called as ``progress(done, total)`` with bytes.

        Raises:
            DataNotFoundError: There is no such path.
        """
        version = restored_version(self, path) or self.data.add(path, progress=progress)
        tracking = self._loaded_tracking
        if tracking is not None and tracking.active_run is not None:
            source = {"tool": "dvc", "md5": version.md5, "name": version.name, "bytes": version.size}
            tracking.log_dataset(version.name, digest=version.digest, source=source)
            link = data_link(version.md5, tracking.active_run.run_id, name=version.name, context="training")
            self._record([link], operation="dvc_add")
        return version

    def dvc_push(self, targets: Targets | None = None, *, progress: Progress | None = None) -> PushResult:
        """Copy data versions to this project's remote, and check that the remote holds them.

        Args:
            targets: Paths, dataset names or versions; every version ever added by default, so that a remote
                that lost something is healed.
            progress: Called as ``progress(done, total)`` with bytes; the total may grow.

        Raises:
            DataIntegrityError: Something is missing afterwards.
        """
        return self.data.push(targets, progress=progress)

    def dvc_pull(
        self,
        targets: Targets | None = None,
        *,
        version: str | DataVersion | None = None,
        run_id: str | None = None,
        destination: Path | str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> list[DataVersion]:
        """Bring data versions back from the remote.

        Args:
            targets: Paths, dataset names or versions; every dataset, or every one of the run, by default.
            version: An older version by its md5, or its first characters.
            run_id: The versions a run was trained on.
            destination: Where to write instead of the place the data came from.
            force: Overwrite local changes.
            progress: Called as ``progress(done, total)`` with bytes; the total may grow.

        Raises:
            DataNotFoundError: There is no such version.
            DataIntegrityError: The stored bytes are not what was recorded.
        """
        if run_id is None:
            return self.data.pull(
                targets, version=version, destination=destination, force=force, progress=progress
            )
        inputs = [item["source"] for item in self.tracking.datasets(run_id) if "md5" in item["source"]]
        if not inputs:
            raise DataNotFoundError(
                f"Run {run_id} has no data versions",
                tool="mlflow",
                operation="dvc_pull",
                workspace=self.project_name,
                hint="call dvc_add inside `with client.start_run():` to link data with a run",
            )
        from mlops.integrations.dvc_data import DataVersion

        versions = [
            DataVersion(i["name"], Path(i["name"]), i["md5"], int(i.get("bytes", 0)), 0, datetime.now(UTC))
            for i in inputs
        ]
        if targets is not None:
            asked = self.data.names(targets)
            versions = [version for version in versions if version.name in asked]
        if destination is None or len(versions) == 1:
            return self.data.pull(versions, destination=destination, force=force, progress=progress)
        pulled: list[DataVersion] = []
        for version in versions:
            place = Path(destination) / version.name
            pulled += self.data.pull(version, destination=place, force=force, progress=progress)
        return pulled

    def dvc_status(self) -> list[DatasetStatus]:
        """Return the state of every dataset; takes no lock and does not import DVC."""
        return self.data.status()
