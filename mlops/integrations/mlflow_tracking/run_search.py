"""Finding runs by words in their names, ids, tags and parameters, straight in a project's database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mlops.integrations.mlflow_tracking.queries import PARTS
from mlops.integrations.mlflow_tracking.run_record import moment
from mlops.integrations.mlflow_tracking.store import reading

# Instructions of SQLite's machine between two looks at the clock: well below a millisecond.
_STEPS: Final = 10_000
# What a run's name, id, parameters or tags of people have; the tools' own tags are long and say little.
_WORD: Final = r"""(
    r.name LIKE :{0} ESCAPE '\' OR r.run_uuid LIKE :{0}_start ESCAPE '\'
    OR EXISTS (SELECT 1 FROM params p WHERE p.run_uuid = r.run_uuid
        AND (p.key LIKE :{0} ESCAPE '\' OR p.value LIKE :{0} ESCAPE '\'))
    OR EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid
        AND t.key NOT LIKE 'mlflow.%' AND t.key NOT LIKE 'mlops.%'
        AND (t.key LIKE :{0} ESCAPE '\' OR t.value LIKE :{0} ESCAPE '\')))"""


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that has all words.

    Args:
        run_id: Its id.
        run_name: Its name.
        status: Its status.
        started_at: When it began, aware.
    """

    run_id: str
    run_name: str
    status: str
    started_at: datetime | None


def find_runs(database: Path, words: Sequence[str], *, limit: int, deadline: float) -> list[FoundRun]:
    """Return runs that have every word somewhere, newest first; ``A`` is ``a``.

    Args:
        database: The project's database, with tables of a known schema.
        words: What to look for; a run's id by how it begins.
        limit: At most so many.
        deadline: The moment of ``time.monotonic`` at which to give up.

    Raises:
        sqlite3.OperationalError: The time was up, or the database cannot be read.
    """
    values: dict[str, str | int] = {"limit": limit}
    for index, word in enumerate(words):
        escaped = word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        values |= {f"word{index}": f"%{escaped}%", f"word{index}_start": f"{escaped}%"}
    conditions = " AND ".join(_WORD.format(f"word{index}") for index in range(len(words)))
    with reading(database) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        rows = connection.execute(
            "SELECT r.run_uuid, r.name, r.status, r.start_time FROM runs r"  # noqa: S608 - of names of values
            " JOIN experiments e ON e.experiment_id = r.experiment_id"
            " WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'"
            f" AND r.run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key IN {PARTS})"
            f" AND {conditions} ORDER BY r.start_time DESC, r.run_uuid LIMIT :limit",
            values,
        ).fetchall()
    return [FoundRun(run_id, name or "", status, moment(started)) for run_id, name, status, started in rows]
