"""Everything known about a project as one JSON file, written and read piece by piece.

The file is one object. Its first members say what it is and what the project holds; then come the lists, one
item per line. Times are ISO 8601 with their zone. A number that JSON does not have is the text ``NaN``,
``Infinity`` or ``-Infinity``.

    {"format": "mlops-metadata", "schema": 1, "exported_at": ..., "project_name": ..., "workspace": {...},
     "stats": {...}, "pipelines": [...], "runs": [...], "artifacts": [...], "checks": [...],
     "model_metrics": [...]}
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from mlops.client import inventory, json_stream, model_metrics
from mlops.errors import ArchiveError, ConfigError
from mlops.files import writing_atomic
from mlops.pipelines import catalogue as pipelines
from mlops.pipelines.versions import VersionStore
from mlops.workspace.model import FIELDS

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession

FORMAT: Final = "mlops-metadata"
SCHEMA: Final = 1
_HEADER: Final = ("format", "schema", "exported_at", "project_name", "workspace", "stats")
_TIMES: Final = ("start_time", "end_time", "created_at")


def write(client: ProjectSession, path: Path) -> Path:
    """Write the file, whole or not at all; no more than a page of runs is held in memory.

    Args:
        client: The project.
        path: The file; its directories are created, and what is there is replaced.

    Returns:
        The file's absolute path.

    Raises:
        ConfigError: The path is a directory.
    """
    target = path.expanduser().absolute()
    if target.is_dir():
        raise ConfigError(
            f"{target} is a directory",
            operation="export_metadata",
            workspace=client.project_name,
            hint=f"name a file, such as {target / (client.project_name + '.json')}",
        )
    configuration = client.workspace.load_metadata(client.workspace_path, project_name=client.project_name)
    described = configuration.to_dict()
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "exported_at": datetime.now(UTC),
        "project_name": client.project_name,
        # Without its paths, which say nothing anywhere else.
        "workspace": {name: described[name] for name in FIELDS},
        "stats": inventory.statistics(client),
    }
    lists: dict[str, Iterable[Any]] = {
        "pipelines": _pipelines(client),
        "runs": client.tracking.each_run(),
        "artifacts": inventory.each_artifact(client),
        "checks": client.monitoring.history(),
        "model_metrics": model_metrics.recorded(client.workspace),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing_atomic(target) as stream:
        stream.write(b"{\n")
        for key, value in header.items():
            stream.write(_encode(key) + b": " + _encode(value) + b",\n")
        for key, items in lists.items():
            if key != next(iter(lists)):
                stream.write(b",\n")
            _write_list(stream, key, items)
        stream.write(b"\n}\n")
    return target


class MetadataExport:
    """A file written by ``export_metadata``, read back.

    Opening it reads the first members only; a list is read from the file while it is iterated.

    Args:
        path: The file.

    Attributes:
        path: The file, absolute.
        schema: The version of the file's layout.
        exported_at: When it was written, aware.
        project_name: The project it tells of.
        workspace: The project's configuration.
        stats: What the project held, as in ``get_stats``.

    Raises:
        ArchiveError: The file is missing, damaged, no such export, or written by a newer version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        header = self._header()
        try:
            self.schema: int = header["schema"]
            self.exported_at = datetime.fromisoformat(header["exported_at"])
            self.project_name = str(header["project_name"])
            self.workspace: dict[str, Any] = dict(header["workspace"])
            self.stats: dict[str, Any] = dict(header["stats"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._refused(f"lacks a proper {error}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, project_name={self.project_name!r})"

    def pipelines(self) -> Iterator[dict[str, Any]]:
        """Yield the pipelines, each with its ``name`` and its saved ``versions``, oldest first."""
        return self._list("pipelines")

    def runs(self) -> Iterator[dict[str, Any]]:
        """Yield the runs, newest first, as ``list_runs`` gives them."""
        return self._list("runs")

    def artifacts(self) -> Iterator[dict[str, Any]]:
        """Yield the artifacts as ``get_artifacts`` gives them, one type after the other."""
        return self._list("artifacts")

    def checks(self) -> Iterator[dict[str, Any]]:
        """Yield the monitoring checks, newest first."""
        return self._list("checks")

    def model_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield what ``log_model_metrics`` recorded, newest first."""
        return self._list("model_metrics")

    def _list(self, name: str) -> Iterator[dict[str, Any]]:
        with self._reading() as members:
            for key, value in members:
                if key == name:
                    if not isinstance(value, Iterator):
                        raise self._refused(f"has a {type(value).__name__} where the list of {name} belongs")
                    for item in value:
                        yield self._restored(name, item)
                    return
        raise self._refused(f"has no list of {name}")

    def _restored(self, name: str, item: Any) -> dict[str, Any]:
        try:
            times = {key: datetime.fromisoformat(item[key]) for key in _TIMES if item.get(key) is not None}
            numbers = {key: float(value) for key, value in item.get("metrics", {}).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise self._refused(f"has a damaged item among its {name}: {error}") from error
        return {**item, **times, **({"metrics": numbers} if "metrics" in item else {})}

    def _header(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self._reading() as members:
            for key, value in members:
                if key in _HEADER:
                    found[key] = value
                if key == "schema":
                    self._check_schema(value)
                if len(found) == len(_HEADER):
                    break
        if found.get("format") != FORMAT or "schema" not in found:
            raise self._refused("is no export of a project's metadata")
        return found

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Iterator[tuple[str, Any]]]:
        try:
            with self.path.open(encoding="utf-8", errors="surrogatepass") as stream:
                yield json_stream.members(stream)
        except FileNotFoundError as error:
            raise self._refused("does not exist") from error
        except (ValueError, OSError) as error:
            raise self._refused(f"cannot be read: {error}") from error

    def _check_schema(self, schema: object) -> None:
        if type(schema) is not int or schema < 1:
            raise self._refused(f"has no schema that can be understood: {schema!r}")
        if schema > SCHEMA:
            raise ArchiveError(
                f"{self.path} has schema {schema}; this version reads schemas up to {SCHEMA}",
                operation="MetadataExport",
                details={"schema": schema, "supported": SCHEMA},
                hint="upgrade with: pip install --upgrade mlops-workspaces",
            )

    def _refused(self, reason: str) -> ArchiveError:
        return ArchiveError(
            f"{self.path} {reason}",
            operation="MetadataExport",
            hint="name a file that export_metadata wrote, whole",
        )


def _pipelines(client: ProjectSession) -> Iterator[dict[str, Any]]:
    saved = VersionStore(client.workspace)
    for name in pipelines.names(client.workspace):
        yield {"name": name, "versions": [version.to_dict() for version in saved.list(name)]}


def _write_list(stream: BinaryIO, key: str, items: Iterable[Any]) -> None:
    stream.write(_encode(key) + b": [")
    separator = b"\n  "
    for item in items:
        stream.write(separator + _encode(item))
        separator = b",\n  "
    stream.write(b"\n]")


def _encode(value: Any) -> bytes:
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
    except ValueError:  # a number JSON does not have
        text = json.dumps(_finite(value), default=_plain, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
