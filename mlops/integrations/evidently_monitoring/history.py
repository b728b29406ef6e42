"""The history of checks: one JSON line each, readable without Evidently, and as a data frame."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import jsonlines

if TYPE_CHECKING:
    import pandas as pd

HISTORY_FILE: Final = "history.jsonl"
_HEAD: Final = re.compile(
    rb'\{"snapshot_id":"([^"]+)","model":(?:null|"([^"]*)"),"checked_at":"([^"]+)","drift_detected":(true|false)'
)
# The values of a check that are a column of the frame under the same name.
_PLAIN: Final = (
    "model",
    "model_version",
    "name",
    "snapshot_id",
    "rows",
    "drift_detected",
    "drift_share",
    "drift_threshold",
    "n_drifted",
    "n_compared",
    "missing_share",
)


@dataclass(slots=True)
class Counts:
    """What a history holds, found without parsing it.

    Args:
        checks: Number of checks.
        drifted: Number of checks that found drift.
        last: The latest check's line, or None.
    """

    checks: int = 0
    drifted: int = 0
    last: bytes | None = None


def append(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add checks with one durable write; the caller holds the project's lock.

    Args:
        path: The file, created if need be.
        records: What ``MonitoringResult.to_dict`` returned.
    """
    jsonlines.append(path, [{**record, "schema_version": 1} for record in records])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the checks, oldest first; a line that cannot be understood is left out."""
    return [line.value for line in jsonlines.read(path) if line.value is not None]


def parse(line: bytes) -> dict[str, Any]:
    """Return one check."""
    record: dict[str, Any] = json.loads(line)
    return record


def count(path: Path) -> Counts:
    """Count the checks in a history."""
    counts = Counts()
    for line in _whole_lines(path):
        if head := _HEAD.match(line):
            counts.checks += 1
            counts.drifted += head[4] == b"true"
            counts.last = line
    return counts


def newest(path: Path, model: str | None) -> Iterator[dict[str, Any]]:
    """Yield the checks of a model, newest first, parsing only those that are asked for.

    Args:
        path: The file.
        model: The model's name; None for the checks of no model.
    """
    wanted = model.encode() if model is not None else None
    return (parse(line) for line, head in _backwards(path) if head[2] == wanted)


def backwards(path: Path, *, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Yield the checks of all models, newest first, parsing only those that are asked for.

    A line that cannot be understood is left out, as by ``read``.

    Args:
        path: The file.
        since: Leave out those made before, aware; None for none.
    """
    for line, head in _backwards(path):
        try:
            if since is not None and datetime.fromisoformat(head[3].decode()) < since:
                continue
            check = parse(line)
        except ValueError:
            continue
        yield check


def to_frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per check, in the order given, under the time it was made.

    Performance metrics are columns ``performance.<metric>``, measured quantities ``latency_ms.mean``,
    ``latency_ms.p95`` and so on; NaN where a check has none. ``alerts`` is the number of alerts it raised.

    Args:
        records: Checks as ``MonitoringResult.to_dict`` gave them.
    """
    import pandas as pd

    rows = []
    for record in records:
        row = {name: record[name] for name in _PLAIN}
        row |= {f"performance.{metric}": value for metric, value in record["performance"].items()}
        for label in ("latency_ms", "memory_mb", "tokens"):
            for part, value in (record.get(label) or {}).items():
                if part != "count":
                    row[f"{label}.{part}"] = value
        rows.append(row | {"alerts": len(record["alerts"])})
    times = [datetime.fromisoformat(record["checked_at"]) for record in records]
    index = pd.DatetimeIndex(pd.to_datetime(times, utc=True), name="checked_at")
    frame = pd.DataFrame(rows, index=index, columns=None if rows else [*_PLAIN, "alerts"])
    measured = [name for name in frame.columns if "." in name]
    frame[measured] = frame[measured].astype("float64")
    return frame[[*(name for name in frame.columns if name != "alerts"), "alerts"]]


def _backwards(path: Path) -> Iterator[tuple[bytes, re.Match[bytes]]]:
    """Yield the lines of checks, the last first, each with the values that stand at its beginning."""
    for line in reversed([*_whole_lines(path)]):
        if head := _HEAD.match(line):
            yield line, head


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    yield from content.split(b"\n")[:-1]
