"""Evidently snapshots on disk: written whole or not at all, and turned back into a report."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import DataIntegrityError, DataNotFoundError
from mlops.files import sync_directory, write_atomic
from mlops.integrations.evidently_monitoring import runtime
from mlops.integrations.evidently_monitoring.frames import TOOL

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

_ABANDONED_SECONDS: Final = 3600.0


def new_id(milliseconds: int) -> str:
    """Return a UUID of version 7: snapshots sort by time, as Evidently's own do.

    Args:
        milliseconds: The time since 1970.
    """
    value = (milliseconds & (1 << 48) - 1) << 80 | uuid.uuid4().int & (1 << 80) - 1
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(3 << 62) | 2 << 62))


def lean(snapshot: Any) -> None:
    """Drop the second copy of the widgets that Evidently keeps with every metric.

    The report page and the dashboard read the first copy; without the second the file is half as large.
    """
    for result in snapshot._metrics.values():
        result.widget = []


def merge(snapshots: list[Any]) -> Any:
    """Return one snapshot with the metrics and widgets of all; the first one's identity stays.

    Of widgets that show the same, the first stays: each of precision, recall and F1 brings the same confusion
    matrix.
    """
    from evidently.legacy.utils import NumpyEncoder

    first, *others = snapshots
    widgets = first._widgets
    for other in others:
        first._metrics.update(other._metrics)
        first._top_level_metrics.extend(other._top_level_metrics)
        widgets.extend(other._widgets)
        first._tests_widgets.extend(other._tests_widgets)
    shown: set[str] = set()
    first._widgets = []
    for widget in widgets:
        shows = widget.dict(include={"type", "title", "size", "params"})
        content = json.dumps(shows, cls=NumpyEncoder)
        if content not in shown:
            first._widgets.append(widget)
        shown.add(content)
    return first


def write(text: str, snapshot_id: str, directory: Path, workspace: ProjectWorkspace) -> Path:
    """Put a snapshot into Evidently's directory.

    The temporary file lies outside of it: Evidently's user interface misses a rename inside a directory it
    watches, and it fails for every project on a half-written file.

    Args:
        text: The snapshot's JSON.
        snapshot_id: Its id.
        directory: The project's ``snapshots`` directory.
        workspace: The project's workspace.

    Returns:
        The file.
    """
    staging = workspace.state_path / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    _sweep(staging)
    temporary = staging / f"snapshot-{snapshot_id}.json"
    target = directory / f"{snapshot_id}.json"
    try:
        with temporary.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(directory)
    return target


def _sweep(staging: Path) -> None:
    """Remove what killed writers left; writing one takes no second, so an old one has no writer."""
    for path in staging.glob("snapshot-*.json"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def save_html(path: Path | None, destination: Path, *, snapshot_id: str, workspace: str) -> Path:
    """Render a stored snapshot as Evidently's own HTML report.

    Args:
        path: The snapshot's file.
        destination: The HTML file to write.
        snapshot_id: The snapshot, for the error.
        workspace: The project, for the error.

    Raises:
        DataNotFoundError: The snapshot does not exist.
        DataIntegrityError: It cannot be read.
    """
    operation = "save_html"
    if path is None or not path.is_file():
        raise DataNotFoundError(
            f"There is no snapshot {snapshot_id}" + (f" at {path}" if path else ""),
            tool=TOOL,
            operation=operation,
            workspace=workspace,
            hint="monitoring.history() lists the checks; of old ones the snapshot may have been removed, as "
            "`retention` in workspace.yaml says",
        )
    evidently = runtime.load(operation=operation, workspace=workspace)
    text = path.read_text(encoding="utf-8")
    with runtime.running():
        try:
            snapshot = evidently.Snapshot.loads(text)
        except ValueError as error:
            raise DataIntegrityError(
                f"The snapshot {path} cannot be read: {error}",
                tool=TOOL,
                operation=operation,
                workspace=workspace,
                hint="restore the file from a backup, or remove it",
            ) from error
        html = snapshot.get_html_str(as_iframe=False)
    target = destination.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, html)
    return target
