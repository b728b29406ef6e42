"""Writes down what a model was asked and what it answered, without ever being in the way of an answer.

A request puts a record into a bounded queue; one thread encodes and writes. Each server process has files of
its own, of one JSON object per line, so that nobody waits for a lock. What cannot be written is dropped and
counted, never waited for.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pydantic_core

DIRECTORY_VARIABLE: Final = "MLOPS_PREDICTION_LOG"
RATE_VARIABLE: Final = "MLOPS_PREDICTION_LOG_RATE"
SUFFIX: Final = ".jsonl"
FILE_BYTES: Final = 64 * 1024**2
TOTAL_BYTES: Final = 1024**3
# Enough for thousands of ordinary rows; of a larger request the first rows are kept.
RECORD_BYTES: Final = 1024**2
QUEUE_RECORDS: Final = 10_000
QUEUE_BYTES: Final = 32 * 1024**2
FLUSH_SECONDS: Final = 0.5
WARNING_SECONDS: Final = 60.0
CLOSE_SECONDS: Final = 5.0
# Of a value in a record that is too large.
KEPT_CHARACTERS: Final = 1000
KEPT_ITEMS: Final = 100

_logger = logging.getLogger("bentoml.mlops.predictions")


class PredictionLog:
    """The prediction log of one server process.

    Args:
        directory: Where the files go; made if only its parent exists.
        facts: What every record begins with, such as the model's tag.
        rate: The share of requests that is recorded, 0 to 1.
        file_bytes: Size at which a new file is begun.
        total_bytes: Size of the directory beyond which the oldest files are removed that nobody writes.
        record_bytes: Size of one record, beyond which it is cut.
    """

    def __init__(
        self,
        directory: Path,
        *,
        facts: Mapping[str, Any],
        rate: float = 1.0,
        file_bytes: int = FILE_BYTES,
        total_bytes: int = TOTAL_BYTES,
        record_bytes: int = RECORD_BYTES,
    ) -> None:
        self.directory = directory
        self.rate = rate
        self.dropped = 0
        self._facts = dict(facts)
        self._file_bytes = file_bytes
        self._total_bytes = total_bytes
        self._record_bytes = record_bytes
        self._queue: collections.deque[tuple[dict[str, Any], int]] = collections.deque()
        self._queued_bytes = 0
        self._waiting = threading.Event()
        self._closing = False
        self._descriptor = -1
        self._size = 0
        self._warned = (0, float("-inf"))
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._thread.start()

    @classmethod
    def from_environment(cls, facts: Mapping[str, Any]) -> PredictionLog | None:
        """Return the log that the environment asks for, or None."""
        directory = os.environ.get(DIRECTORY_VARIABLE)
        if not directory:
            return None
        return cls(Path(directory), facts=facts, rate=float(os.environ.get(RATE_VARIABLE, "1")))

    def wanted(self) -> bool:
        """Say whether the next request is among those to record."""
        return self.rate >= 1 or random.random() < self.rate  # noqa: S311 - a sample, no secret

    def record(
        self, rows: list[Any], predictions: Any, *, request_id: str, latency_ms: float, size: int
    ) -> None:
        """Take down one request; returns at once, and never raises for a reason of the log's own.

        Args:
            rows: The rows, as plain values; they must not change afterwards.
            predictions: The answer, as plain values.
            request_id: What the answer's header says.
            latency_ms: What the prediction took, in milliseconds.
            size: Bytes of the request, near enough.
        """
        record = {
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            **self._facts,
            "request_id": request_id,
            "latency_ms": round(latency_ms, 3),
            "rows": rows,
            "predictions": predictions,
        }
        if size > self._record_bytes:
            record, size = self._cut(record, size)
        if len(self._queue) >= QUEUE_RECORDS or self._queued_bytes + size > QUEUE_BYTES or self._closing:
            self.dropped += 1
            return
        # Approximate between threads, and exact again whenever the queue is empty.
        self._queued_bytes += size
        self._queue.append((record, size))
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self) -> None:
        """Write what is queued, and end."""
        self._closing = True
        self._waiting.set()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while not self._closing:
            self._waiting.wait()
            if not self._closing:
                # A moment for more to come, so that many records are one write.
                time.sleep(FLUSH_SECONDS)
            self._waiting.clear()
            self._flush()
        self._flush()
        self._warn(last=True)
        self._release()

    def _flush(self) -> None:
        records = []
        with contextlib.suppress(IndexError):
            while True:
                records.append(self._queue.popleft()[0])
        self._queued_bytes = 0
        lines: list[tuple[str, bytes]] = []
        for record in records:
            try:
                lines.append((record["at"], self._encode(record)))
            except (ValueError, TypeError, RecursionError):
                self.dropped += 1
        if lines:
            try:
                self._write(lines)
            except OSError as error:
                self.dropped += len(lines)
                _logger.debug("%s cannot be written: %s", self.directory, error)
                self._release()
        self._warn()

    def _encode(self, record: dict[str, Any]) -> bytes:
        line = _json(record)
        if len(line) > self._record_bytes:
            record, _ = self._cut(record, len(line))
            line = _json(record)
        if len(line) > self._record_bytes:
            line = _json(record | {"rows": [], "predictions": []})
        return line + b"\n"

    def _cut(self, record: dict[str, Any], size: int) -> tuple[dict[str, Any], int]:
        """Return a record with as many of its rows as may stay, their values shortened, and its size."""
        rows, predictions = record["rows"], record["predictions"]
        kept = max(1, len(rows) * self._record_bytes // (2 * size))
        paired = isinstance(predictions, list) and len(predictions) == len(rows)
        cut = record | {
            "rows": _shorten(rows[:kept]),
            "predictions": _shorten(predictions[:kept] if paired else predictions),
            "rows_in_request": record.get("rows_in_request", len(rows)),
        }
        return cut, min(size, self._record_bytes)

    def _write(self, lines: list[tuple[str, bytes]]) -> None:
        while lines:
            if self._descriptor < 0 or self._size >= self._file_bytes:
                self._release()
                self._remove_old()
                self._open(lines[0][0])
            count, room = 0, self._file_bytes - self._size
            while count < len(lines) and room > 0:
                room -= len(lines[count][1])
                count += 1
            data = b"".join(line for _, line in lines[:count])
            _append(self._descriptor, data, at=self._size)
            self._size += len(data)
            del lines[:count]

    def _open(self, first: str) -> None:
        with contextlib.suppress(FileExistsError):
            # Not its parents: a workspace that was deleted meanwhile does not come back.
            self.directory.mkdir()
        # The time of its first record: a reader knows from the name what a file cannot hold.
        stamp = first.replace("-", "").replace(":", "").replace("+0000", "Z")
        path = self.directory / f"{stamp}-{os.getpid()}-{uuid.uuid4().hex[:6]}{SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        # Says that this file is being written, as long as the process lives.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._descriptor, self._size = descriptor, 0

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _remove_old(self) -> None:
        """Make room for one more file."""
        found = []
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            with contextlib.suppress(FileNotFoundError):
                found.append((path, path.stat().st_size))
        excess = sum(size for _, size in found) + self._file_bytes - self._total_bytes
        for path, size in found:
            if excess <= 0:
                return
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    excess -= size
                finally:
                    os.close(descriptor)

    def _warn(self, *, last: bool = False) -> None:
        reported, at = self._warned
        if self.dropped > reported and (last or time.monotonic() - at >= WARNING_SECONDS):
            self._warned = (self.dropped, time.monotonic())
            _logger.warning(
                "%d predictions were not written to %s: it is full, missing or too slow",
                self.dropped,
                self.directory,
            )


def _append(descriptor: int, data: bytes, *, at: int) -> None:
    """Write all of it or, on a disk that is full, nothing: half a line would spoil the next one."""
    written = 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, at)
        raise


def _json(record: dict[str, Any]) -> bytes:
    # NaN and infinity become null; bytes are written as base64, as they came.
    return pydantic_core.to_json(record, inf_nan_mode="null", bytes_mode="base64")


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= KEPT_CHARACTERS else value[:KEPT_CHARACTERS] + "…"
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:KEPT_CHARACTERS])
    if isinstance(value, (list, tuple)):
        return [_shorten(item) for item in value[:KEPT_ITEMS]]
    if isinstance(value, dict):
        return {key: _shorten(item) for key, item in list(value.items())[:KEPT_ITEMS]}
    return value
