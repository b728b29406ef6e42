"""The log of predictions in windows: so many rows of one model version, each of them in one window only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlops.integrations.bentoml_serving import prediction_log

# In a check's metadata: the time of the last request that it covers.
WATCHED_UNTIL: Final = "watched_until"


@dataclass(slots=True)
class Window:
    """Requests to one version of a model, one after the other.

    Args:
        version: The version.
        rows: One dictionary per predicted row, with its prediction.
        latencies: Milliseconds, one per request.
        until: When the last of the requests was made, as the log has it.
    """

    version: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    until: str = ""


class PredictionWindows:
    """What is in the log of a model and was not checked yet.

    Args:
        directory: The log directory of the model.
        size: Rows from which a window is full.
        checked: Version to the time of its last request that was checked, as the log has it.
        prediction_column: Returns the name of the prediction's column for a version.
    """

    def __init__(
        self,
        directory: Path,
        *,
        size: int,
        checked: Mapping[str, str],
        prediction_column: Callable[[str], str],
    ) -> None:
        self.last: datetime | None = None
        self._directory = directory
        self._size = size
        self._checked = dict(checked)
        self._prediction_column = prediction_column
        self._open: dict[str, Window] = {}
        self._read_until: datetime | None = None

    def full(self, until: datetime) -> Iterator[Window]:
        """Yield the windows that are full by now; what is left counts for the next call.

        Requests of the same moment are never divided between windows, so that a moment says where to go on.

        Args:
            until: Requests from this moment on are left for the next call, aware: a server may still be
                writing an earlier one otherwise.
        """
        end = until.isoformat(timespec="microseconds")
        at = ""
        for record in prediction_log.read(self._directory, since=self._read_until):
            if record["at"] >= end:
                break
            at, version = str(record["at"]), str(record["version"])
            if at <= self._checked.get(version, ""):
                continue
            window = self._open.get(version)
            if window is not None and len(window.rows) >= self._size and at > window.until:
                del self._open[version]
                yield window
            self._add(record, version, at)
        for version in [v for v, window in self._open.items() if len(window.rows) >= self._size]:
            yield self._open.pop(version)
        if at:
            self.last = datetime.fromisoformat(at)
        self._read_until = until

    def _add(self, record: Mapping[str, Any], version: str, at: str) -> None:
        window = self._open.setdefault(version, Window(version))
        column = self._prediction_column(version)
        window.rows.extend(prediction_log.to_rows([record], prediction_column=column))
        if (latency := record.get("latency_ms")) is not None:
            window.latencies.append(float(latency))
        window.until = at
