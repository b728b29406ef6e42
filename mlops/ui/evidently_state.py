"""Evidently's view of many workspaces at once: every file read in place, at the moment it is asked for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlops.integrations.evidently_monitoring import project
from mlops.ui.evidently_shelf import Volume, volumes
from mlops.ui.projects import Projects

_log: Final = logging.getLogger(__name__)


def state_class() -> Any:
    """Return the class of the state, which needs Evidently's base class."""
    import json
    from datetime import UTC
    from uuid import UUID

    from evidently._pydantic_compat import parse_obj_as
    from evidently.core.serialization import SnapshotModel
    from evidently.sdk.models import DashboardModel
    from evidently.ui.service.base import Project
    from evidently.ui.service.errors import ProjectNotFound, SnapshotNotFound
    from evidently.ui.service.storage.local.base import LocalState
    from evidently.ui.service.type_aliases import ZERO_UUID

    class Shelf(dict[Any, Any]):
        """One project's snapshots."""

        def __missing__(self, key: Any) -> Any:
            raise SnapshotNotFound

    class Snapshots(dict[Any, dict[Any, Any]]):
        """Project to its snapshots, brought up to date whenever a project is looked up."""

        def __init__(self, state: Any) -> None:
            super().__init__()
            self._state = state

        def __missing__(self, key: Any) -> dict[Any, Any]:
            raise ProjectNotFound

        def __getitem__(self, key: Any) -> dict[Any, Any]:
            self._state.synchronise(key)
            return super().__getitem__(key)

    class ShelfState(LocalState):  # type: ignore[misc]
        """The projects of a base; what the pages know of a project is read when they ask for it.

        Args:
            projects: The projects to show.
            scratch: An empty directory for what Evidently wants to have a place for.
        """

        def __init__(self, projects: Projects, scratch: Path) -> None:
            super().__init__(str(scratch), None)
            self._shown = projects
            self._volumes: dict[Any, Volume] = {}
            self._unreadable: dict[Path, tuple[int, ...]] = {}
            self.snapshots = Snapshots(self)

        def refresh(self) -> None:
            """Find the projects that exist now."""
            self._volumes = {UUID(volume.id): volume for volume in volumes(self._shown)}
            self.projects = {
                key: Project(id=key, name=volume.name, description=volume.description, version="2").bind(
                    self.project_manager, ZERO_UUID
                )
                for key, volume in self._volumes.items()
            }
            for gone in self.snapshots.keys() - self._volumes.keys():
                del self.snapshots[gone]

        def synchronise(self, key: Any) -> None:
            """Read the snapshots of a project that are new, and forget those that are gone."""
            volume = self._volumes.get(key)
            if volume is None:
                return
            known = self.snapshots.setdefault(key, Shelf())
            present = {} if volume.path is None else dict(_snapshot_files(volume.path))
            for gone in known.keys() - present.keys():
                del known[gone]
            for snapshot_id in sorted(present.keys() - known.keys(), key=str):
                model = self._parsed(present[snapshot_id])
                if model is not None:
                    known[snapshot_id] = model
                    for callback in self.callbacks:
                        callback(key, snapshot_id, model)

        def reload_snapshots(self, project_id: Any, force: bool = False, skip_errors: bool = True) -> None:
            """Read all snapshots of a project again."""
            self.snapshots.pop(project_id, None)
            self._unreadable.clear()
            self.synchronise(project_id)

        def reload(self, force: bool = False) -> None:
            """Find the projects that exist now."""
            self.refresh()

        def read_dashboard(self, project_id: Any) -> Any:
            """Return a project's dashboard; the ready one if it has none that can be read."""
            volume = self._volumes.get(UUID(str(project_id)))
            if volume is None:
                raise ProjectNotFound
            if volume.path is not None:
                try:
                    text = (volume.path / project.DASHBOARD_FILE).read_bytes()
                    return parse_obj_as(DashboardModel, json.loads(text))
                except FileNotFoundError:
                    pass
                except (OSError, ValueError) as error:
                    _log.warning("%s cannot be read: %s", volume.path / project.DASHBOARD_FILE, error)
            return parse_obj_as(DashboardModel, project.dashboard(volume.id))

        @contextlib.contextmanager
        def opened(self, blob_id: str) -> Iterator[Any]:
            """Open a snapshot by ``<project>/snapshots/<snapshot>.json``."""
            path = self.path_of(blob_id)
            if path is None:
                raise ProjectNotFound
            with path.open("rb") as stream:
                yield stream

        def path_of(self, blob_id: str) -> Path | None:
            """Return where a snapshot lies, or None if there is none of that id."""
            owner, _, rest = blob_id.partition("/")
            volume = self._volumes.get(UUID(owner))
            path = None if volume is None or volume.path is None else volume.path / rest
            return path if path is not None and path.is_file() else None

        def _parsed(self, path: Path) -> Any:
            """Return a snapshot without its widgets; None, and a line in the log, if it cannot be read."""
            try:
                status = path.stat()
                signature = (status.st_mtime_ns, status.st_size, status.st_ino)
                if self._unreadable.get(path) == signature:
                    return None
                values = json.loads(path.read_bytes())
                values["widgets"], values["tests_widgets"] = [], []
                for result in values["metric_results"].values():
                    result["widget"], result["tests"] = [], []
                model = parse_obj_as(SnapshotModel, values)
                _check_points(model)
            except FileNotFoundError:
                return None
            except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                self._unreadable[path] = signature
                _log.warning("%s is left out, it cannot be read: %s", path, error)
                return None
            if model.timestamp.tzinfo is None:
                # One of these among aware times, and the dashboard could not put them in order.
                model.timestamp = model.timestamp.replace(tzinfo=UTC)
            return model

    def _snapshot_files(directory: Path) -> Iterator[tuple[Any, Path]]:
        try:
            entries = list((directory / project.SNAPSHOTS).iterdir())
        except OSError:
            return
        for path in entries:
            if path.suffix == ".json":
                with contextlib.suppress(ValueError):
                    yield UUID(path.stem), path

    def _check_points(model: Any) -> None:
        # What Evidently asserts when it takes a snapshot's values for the dashboard.
        for result in model.metric_results.values():
            if result.metric_value_location is None:
                raise ValueError("a metric does not say which one it is")

    return ShelfState
