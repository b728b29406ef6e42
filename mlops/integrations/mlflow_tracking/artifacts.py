"""The files that runs stored, without the models, which are counted on their own, and without our records."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.integrations.mlflow_tracking.provenance import RECORDS

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking


def files(tracking: MLflowTracking, *, run_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield every file of the runs: ``name`` (in the run), ``run_id``, ``uri``, ``bytes``, ``created_at``.

    The workspace's own store is walked on disk, which needs no MLflow; a server is asked run by run, and the
    time there is the run's start.

    Args:
        tracking: The project's adapter.
        run_id: Only this run's, which the project has; None for all.
    """
    if tracking.embedded:
        yield from _on_disk(tracking.artifact_root, run_id)
        return
    client = tracking.client(operation="get_artifacts")
    runs = tracking.list_runs(limit=None) if run_id is None else [tracking.get_run(run_id)]
    for run in runs:
        for item in _on_server(client, run["run_id"], None):
            if item.path.startswith(f"{RECORDS}/"):
                continue
            yield {
                "name": item.path,
                "run_id": run["run_id"],
                "uri": f"runs:/{run['run_id']}/{item.path}",
                "bytes": item.file_size or 0,
                "created_at": run["start_time"],
            }


def _on_disk(root: Path, run_id: str | None) -> Iterator[dict[str, Any]]:
    # MLflow's layout: <root>/<experiment>/<run>/artifacts; models lie in <root>/<experiment>/models.
    wanted = "*" if run_id is None else glob.escape(run_id)
    for directory in sorted(root.glob(f"*/{wanted}/artifacts")):
        owner = directory.parent.name
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.relative_to(directory).parts[0] != RECORDS:
                stat = path.stat()
                name = path.relative_to(directory).as_posix()
                yield {
                    "name": name,
                    "run_id": owner,
                    "uri": f"runs:/{owner}/{name}",
                    "bytes": stat.st_size,
                    "created_at": datetime.fromtimestamp(stat.st_mtime, UTC),
                }


def _on_server(client: Any, run_id: str, path: str | None) -> Iterator[Any]:
    for item in client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from _on_server(client, run_id, item.path)
        else:
            yield item
