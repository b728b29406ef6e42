"""Metric batches written straight into a project's own SQLite file.

MLflow's ``log_batch`` takes some 0.2 ms of Python per point, and a training loop that logs often would spend
more time waiting for the interpreter's lock than training. The rows are the same as MLflow's, written in one
transaction of a few statements; they are only written where the schema is one that is known.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from mlops.integrations.mlflow_tracking.queries import KNOWN_SCHEMAS

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.metrics import Point

# As long as MLflow's own connections wait for another writer.
_BUSY_SECONDS: Final = 20.0
_COLUMNS: Final = 6
# SQLite binds at most 999 values in old builds.
_ROWS: Final = 999 // _COLUMNS


def write(path: Path, run_id: str, points: Sequence[Point]) -> bool:
    """Write metric values of one run, all or none.

    Args:
        path: The database.
        run_id: The run.
        points: The values; one that is stored already is left as it is, as MLflow does.

    Returns:
        False if nothing was written: the schema is not known, the run is not there or deleted, or SQLite
        refused. The caller then asks MLflow, whose error says why.
    """
    with contextlib.suppress(sqlite3.Error):
        uri = f"file:{quote(str(path))}?mode=rw"
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not _is_possible(connection, run_id):
                return False
            rows = [_row(point) for point in points]
            _insert(connection, run_id, rows)
            _update_latest(connection, run_id, rows)
            connection.execute("COMMIT")
            return True
    return False


def _is_possible(connection: sqlite3.Connection, run_id: str) -> bool:
    schema = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if schema is None or schema[0] not in KNOWN_SCHEMAS:
        return False
    run = connection.execute("SELECT lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    return run is not None and run[0] == "active"


def _row(point: Point) -> tuple[Any, ...]:
    """Return a point as MLflow stores it: no NaN, and the largest float for an infinity."""
    nan = math.isnan(point.value)
    value = 0.0 if nan else point.value
    if math.isinf(value):
        value = math.copysign(sys.float_info.max, value)
    return (point.key, value, point.timestamp, point.step, int(nan))


def _insert(connection: sqlite3.Connection, run_id: str, rows: Sequence[tuple[Any, ...]]) -> None:
    _execute(connection, "metrics", run_id, rows, "ON CONFLICT DO NOTHING")


def _update_latest(connection: sqlite3.Connection, run_id: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Keep the last value of each metric where MLflow's searches look for it."""
    latest: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        before = latest.get(row[0])
        if before is None or _age(row) > _age(before):
            latest[row[0]] = row
    _execute(
        connection,
        "latest_metrics",
        run_id,
        [latest[key] for key in sorted(latest)],
        "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp,"
        " step = excluded.step, is_nan = excluded.is_nan"
        " WHERE (excluded.step, excluded.timestamp, excluded.value)"
        " > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
    )


def _age(row: tuple[Any, ...]) -> tuple[Any, ...]:
    _, value, timestamp, step, _ = row
    return step, timestamp, value


def _execute(
    connection: sqlite3.Connection, table: str, run_id: str, rows: Sequence[tuple[Any, ...]], conflict: str
) -> None:
    # Many rows per statement: executemany would give up the interpreter's lock at every row, and wait for
    # the training thread each time.
    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS]
        marks = ", ".join([f"({', '.join('?' * _COLUMNS)})"] * len(chunk))
        connection.execute(
            f"INSERT INTO {table} (run_uuid, key, value, timestamp, step, is_nan)"  # noqa: S608
            f" VALUES {marks} {conflict}",
            [value for row in chunk for value in (run_id, *row)],
        )
