"""What a project's servers were asked and answered, read from the files that each of them writes alone."""

from __future__ import annotations

import heapq
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ConfigError

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

FOLDER: Final = "predictions"
SUFFIX: Final = ".jsonl"
PREDICTION_COLUMN: Final = "prediction"
# Enough for the last record of nearly every file.
_TAIL_BYTES: Final = 64 * 1024


def log_directory(workspace: ProjectWorkspace, model: str) -> Path:
    """Return where the predictions of a model are kept, whichever server made them.

    Args:
        workspace: The project's workspace.
        model: The model's name without the project's prefix.
    """
    return workspace.monitoring_path / FOLDER / model


def read(
    directory: Path,
    *,
    version: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield recorded requests by time, while servers may be writing.

    A line that is not whole, because its server was killed or is writing it, is passed over.

    Args:
        directory: The log directory of a model; a missing one holds nothing.
        version: Only this version of the model.
        since: Only requests from this moment on, aware.
        limit: Only the newest so many.

    Yields:
        ``at``, ``model``, ``version``, ``request_id``, ``latency_ms``, ``rows`` and ``predictions``;
        ``rows_in_request`` too where rows were cut off because the request was large.

    Raises:
        ConfigError: ``since`` has no time zone, or ``limit`` is negative.
    """
    if since is not None and since.tzinfo is None:
        raise ConfigError(
            f"since={since.isoformat()} has no time zone",
            operation="predictions",
            hint="use an aware time, such as datetime.now(UTC) - timedelta(days=1)",
        )
    if limit is not None and limit < 0:
        raise ConfigError(f"limit={limit} is negative", operation="predictions", hint="use 0 or more")
    return _read(directory, version, since.astimezone(UTC) if since else None, limit)


def to_rows(
    records: Iterable[Mapping[str, Any]], *, prediction_column: str = PREDICTION_COLUMN
) -> Iterator[dict[str, Any]]:
    """Yield one flat row per predicted row: its columns, and the prediction.

    Rows without column names get the columns ``0``, ``1`` and so on, single values the column ``value``. A
    prediction of several named values gives a column each, such as ``prediction.score``.

    Args:
        records: What ``read`` yields.
        prediction_column: The name of the prediction's column.

    Raises:
        ConfigError: A row has a column of that name already.
    """
    for record in records:
        rows, predictions = record["rows"], record["predictions"]
        # One answer to all rows together is no prediction for any of them.
        if not isinstance(predictions, list) or len(predictions) != len(rows):
            continue
        for row, prediction in zip(rows, predictions, strict=True):
            columns = _columns(row)
            if prediction_column in columns:
                raise ConfigError(
                    f"The rows of {record['model']} have a column {prediction_column!r} themselves",
                    operation="to_rows",
                    hint="pass another prediction_column",
                )
            if isinstance(prediction, dict):
                columns |= {f"{prediction_column}.{key}": value for key, value in prediction.items()}
            else:
                columns[prediction_column] = prediction
            yield columns


def _columns(row: Any) -> dict[str, Any]:
    if isinstance(row, dict):
        return dict(row)
    if isinstance(row, list):
        return {str(at): value for at, value in enumerate(row)}
    return {"value": row}


def _read(
    directory: Path, version: str | None, since: datetime | None, limit: int | None
) -> Iterator[dict[str, Any]]:
    groups = _groups(directory, since)
    if limit is None:
        for group in groups:
            yield from _merged(group, version, since)
        return
    newest: list[list[dict[str, Any]]] = []
    missing = limit
    for group in reversed(groups):
        if missing <= 0:
            break
        found = deque(_merged(group, version, since), maxlen=missing)
        missing -= len(found)
        newest.append([*found])
    for records in reversed(newest):
        yield from records


def _groups(directory: Path, since: datetime | None) -> list[list[Path]]:
    """Return the files by time, those together that were written at the same time."""
    spans = []
    for path in directory.glob(f"*{SUFFIX}"):
        try:
            # A name begins with the time of the first record.
            begun = datetime.fromisoformat(path.name.partition("-")[0]).timestamp()
            ended = _last_time(path)
        except (ValueError, FileNotFoundError):
            # Not one of ours, or removed meanwhile to make room.
            continue
        if since is None or ended >= since.timestamp():
            spans.append((begun, ended, path))
    groups: list[list[Path]] = []
    end = -math.inf
    for begun, ended, path in sorted(spans):
        if begun <= end:
            groups[-1].append(path)
        else:
            groups.append([path])
        end = max(end, ended)
    return groups


def _last_time(path: Path) -> float:
    with path.open("rb") as stream:
        modified = os.fstat(stream.fileno()).st_mtime
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = stream.read().split(b"\n")
    try:
        return datetime.fromisoformat(json.loads(lines[-2])["at"]).timestamp()
    except (ValueError, IndexError, KeyError, TypeError):
        # A record larger than what was read. A second of tolerance: written after it was made.
        return modified + 1.0


def _merged(paths: list[Path], version: str | None, since: datetime | None) -> Iterator[dict[str, Any]]:
    streams = [_records(path, version, since) for path in paths]
    return heapq.merge(*streams, key=lambda record: str(record["at"]))


def _records(path: Path, version: str | None, since: datetime | None) -> Iterator[dict[str, Any]]:
    earliest = since.isoformat() if since else ""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if not isinstance(record, dict) or not {"at", "version", "rows", "predictions"} <= record.keys():
                continue
            if record["at"] >= earliest and version in (None, record["version"]):
                yield record
