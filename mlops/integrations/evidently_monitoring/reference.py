"""Reference data on disk: one directory per content hash, and which one is current for each model.

reference/<hash>/data.parquet    the comparable columns
reference/<hash>/schema.json     the frozen schema
reference/current.json           model -> hash; the key "" is the project's default
reference/history.jsonl          every reference that was made current, with the model version it was set for
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import jsonlines
from mlops.errors import ReferenceDataError
from mlops.files import hash_file, measure, sync_directory, write_atomic
from mlops.integrations.evidently_monitoring import embeddings, pointer
from mlops.integrations.evidently_monitoring.conform import joined, to_labels, to_numbers
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.schema import (
    SCHEMA_VERSION,
    ColumnKind,
    ColumnSchema,
    ReferenceData,
    TaskSpec,
)
from mlops.workspace.model import now
from mlops.workspace.room import require_room

if TYPE_CHECKING:
    import pandas as pd

    from mlops.workspace.model import ProjectWorkspace

DATA_FILE: Final = "data.parquet"
SCHEMA_FILE: Final = "schema.json"
HISTORY_FILE: Final = "history.jsonl"
_MODEL_HINT: Final = "set one with set_reference_data(data, target_column=..., prediction_column=...)"


class ReferenceStore:
    """The reference data of one project.

    Args:
        workspace: The project's workspace.
        lock_timeout: Seconds to wait for another writer.
    """

    def __init__(self, workspace: ProjectWorkspace, *, lock_timeout: float) -> None:
        self._workspace = workspace
        self._lock_timeout = lock_timeout

    @property
    def directory(self) -> Path:
        """Where the references are stored."""
        return pointer.directory_of(self._workspace)

    def save(
        self,
        frame: pd.DataFrame,
        columns: dict[str, ColumnSchema],
        spec: TaskSpec,
        *,
        model: str | None,
        version: str | None,
        operation: str,
    ) -> ReferenceData:
        """Store the data and make it current for ``model``; the same data again changes nothing.

        Args:
            frame: The checked reference frame.
            columns: Its frozen schema.
            spec: Its task.
            model: The model, or None for the project's default.
            version: The version of the model it belongs to, or None.
            operation: The calling method, for errors.

        Returns:
            The reference that is now current.
        """
        stored = stored_columns(frame, columns, spec.group_column)
        digest = content_hash(stored, columns, spec)
        target = self.directory / digest
        schema: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "hash": digest,
            "rows": len(frame),
            "created_at": now().isoformat(),
            "columns": [column.to_dict() for column in columns.values()],
            "spec": spec.to_dict(),
        }
        staging = self._workspace.state_path / "staging" / f"reference-{uuid.uuid4().hex}"
        if not (target / SCHEMA_FILE).is_file():
            staging.mkdir(parents=True)
            stored.to_parquet(staging / DATA_FILE, index=False, compression="zstd")
            schema["data_sha256"] = hash_file(staging / DATA_FILE)
            write_atomic(staging / SCHEMA_FILE, json.dumps(schema, indent=1))
        try:
            require_room(
                self._workspace,
                directory=self._workspace.monitoring_path.name,
                adding_bytes=lambda: measure(staging).bytes,
                operation=operation,
            )
            with self._workspace.lock(TOOL, timeout=self._lock_timeout, operation=operation):
                self.directory.mkdir(parents=True, exist_ok=True)
                if staging.is_dir() and not (target / SCHEMA_FILE).is_file():
                    staging.rename(target)
                    sync_directory(self.directory)
                current = pointer.read(self._workspace, operation=operation)
                entry = current.get(model or "", {})
                if entry.get("hash") != digest or entry.get("version") != version:
                    entry = {"hash": digest, "set_at": now().isoformat(), "version": version}
                    current[model or ""] = entry
                    jsonlines.append(self.directory / HISTORY_FILE, [{"model": model, **entry}])
                    text = json.dumps({"schema_version": SCHEMA_VERSION, "current": current}, indent=1)
                    write_atomic(self.directory / pointer.POINTER_FILE, text)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return self._load(model, entry, operation)

    def current(self, model: str | None, version: str | None = None, *, operation: str) -> ReferenceData:
        """Return the reference of ``model``: the version's, else its latest, else the project's default.

        Raises:
            ReferenceDataError: None has been set.
            DataIntegrityError: A stored file is missing or unreadable.
        """
        found = pointer.read(self._workspace, operation=operation)
        if version is not None and found.get(model or "", {}).get("version") != version:
            for entry in reversed(self._entries(model)):
                if entry.get("version") == version:
                    return self._load(model, entry, operation)
        key = model if model is not None and model in found else ""
        if key not in found:
            known = ", ".join(repr(name) for name in found) or "none"
            raise ReferenceDataError(
                f"No reference data has been set for {f'model {model!r}' if model else 'this project'}",
                tool=TOOL,
                operation=operation,
                workspace=self._workspace.project_name,
                details={"models": sorted(found)},
                hint=f"{_MODEL_HINT}; models with a reference: {known}",
            )
        return self._load(key or None, found[key], operation)

    def past(self, model: str | None, *, operation: str) -> list[ReferenceData]:
        """Return every reference that was made current for ``model`` itself, newest first.

        Raises:
            DataIntegrityError: A stored file is missing or unreadable.
        """
        return [self._load(model, entry, operation) for entry in reversed(self._entries(model))]

    def load_frame(self, reference: ReferenceData, *, operation: str) -> pd.DataFrame:
        """Read a reference's data, after checking that it is what was stored.

        Raises:
            DataIntegrityError: The file is missing or was changed.
        """
        import pandas as pd

        path = reference.path / DATA_FILE
        try:
            expected = json.loads((reference.path / SCHEMA_FILE).read_bytes())["data_sha256"]
            actual = hash_file(path)
        except (OSError, ValueError, KeyError) as error:
            raise pointer.corrupt(path, str(error), self._workspace, operation) from error
        if actual != expected:
            raise pointer.corrupt(path, "its content is not what was stored", self._workspace, operation)
        return pd.read_parquet(path)

    def hashes(self) -> list[str]:
        """Return the hashes of every reference stored, current or not."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(p.parent.name for p in self.directory.glob(f"*/{SCHEMA_FILE}"))
        return []

    def pointers(self) -> Iterator[tuple[str | None, str]]:
        """Yield each model with its current reference's hash; None is the project's default."""
        for model, entry in pointer.read(self._workspace, operation="summary").items():
            yield model or None, entry["hash"]

    def assignments(self) -> Iterator[tuple[str | None, str | None, str]]:
        """Yield the model, its version and the hash of every reference ever made current, oldest first."""
        for line in jsonlines.read(self.directory / HISTORY_FILE):
            if line.value is not None:
                yield line.value.get("model"), line.value.get("version"), str(line.value["hash"])

    def _entries(self, model: str | None) -> list[dict[str, Any]]:
        lines = (line.value for line in jsonlines.read(self.directory / HISTORY_FILE))
        return [value for value in lines if value is not None and value.get("model") == model]

    def _load(self, model: str | None, entry: Mapping[str, Any], operation: str) -> ReferenceData:
        digest = str(entry["hash"])
        path = self.directory / digest / SCHEMA_FILE
        try:
            values = json.loads(path.read_bytes())
            return ReferenceData(
                hash=digest,
                model=model,
                model_version=entry.get("version"),
                set_at=datetime.fromisoformat(entry["set_at"]),
                rows=int(values["rows"]),
                columns={c["name"]: ColumnSchema.from_dict(c) for c in values["columns"]},
                spec=TaskSpec.from_dict(values["spec"]),
                path=path.parent,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise pointer.corrupt(path, str(error), self._workspace, operation) from error


def stored_columns(
    frame: pd.DataFrame, columns: dict[str, ColumnSchema], group: str | None = None
) -> pd.DataFrame:
    """Return what is written to disk: the comparable columns in one type per kind.

    Args:
        frame: The reference data.
        columns: Its schema.
        group: The column that is stored although it is not compared, because performance needs it.
    """
    import pandas as pd

    out: dict[str, pd.Series] = {}
    for name, schema in columns.items():
        if schema.kind is ColumnKind.NUMERICAL:
            out[name] = to_numbers(frame[name])[0]
        elif schema.kind is ColumnKind.EMBEDDING:
            matrix = (
                joined(frame[list(schema.parts)])
                if schema.parts
                else embeddings.to_matrix(frame[name], schema.dimension)[0]
            )
            # The first number says it: a vector is missing as a whole or not at all.
            vectors = [None if math.isnan(vector[0]) else vector for vector in matrix]
            out[name] = pd.Series(vectors, index=frame.index, dtype=object)
        elif schema.kind is not ColumnKind.IGNORED or name == group:
            out[name] = to_labels(frame[name])
    return pd.DataFrame(out, index=frame.index)


def content_hash(stored: pd.DataFrame, columns: dict[str, ColumnSchema], spec: TaskSpec) -> str:
    """Return the SHA-256 of the values and the schema.

    The Parquet file's own bytes would not do: they name the version of the library that wrote them.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    digest = hashlib.sha256()
    schema = {"columns": [c.to_dict() for c in columns.values()], "spec": spec.to_dict(), "rows": len(stored)}
    digest.update(json.dumps(schema, sort_keys=True).encode())
    for name in stored:
        values = stored[name]
        if values.dtype.kind == "f":
            # Adding zero turns -0.0 into 0.0; every NaN is written the same way.
            numbers = np.where(np.isnan(values), np.nan, values.to_numpy() + 0.0)
            digest.update(numbers.astype("<f8").tobytes())
            continue
        if name in columns and columns[name].kind is ColumnKind.EMBEDDING:
            absent: np.ndarray = np.full(columns[name].dimension, np.nan, dtype="<f4")
            for vector in values:
                digest.update((absent if vector is None else vector.astype("<f4")).tobytes())
            continue
        text = pa.array(values.to_numpy(dtype=object), type=pa.large_string(), from_pandas=True)
        digest.update(pc.fill_null(pc.binary_length(text), -1).to_numpy(zero_copy_only=False).tobytes())
        digest.update("".join(value for value in text.to_pylist() if value is not None).encode())
    return digest.hexdigest()
