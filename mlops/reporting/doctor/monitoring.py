"""What is wrong with a project's monitoring: its Evidently files, references and the history of checks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from mlops import jsonlines
from mlops.errors import DataIntegrityError
from mlops.files import hash_file, write_atomic
from mlops.integrations.evidently_monitoring import history, project
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.pointer import POINTER_FILE
from mlops.integrations.evidently_monitoring.reference import (
    DATA_FILE,
    HISTORY_FILE,
    SCHEMA_FILE,
    ReferenceStore,
)
from mlops.integrations.evidently_monitoring.schema import SCHEMA_VERSION
from mlops.reporting.doctor.finding import SHOWN, Check, Finding, Repair, named
from mlops.reporting.doctor.subject import Subject
from mlops.reporting.wording import counted

# Where damaged files are put: Evidently looks at directories that are named by a UUID only.
_ASIDE: Final = "damaged"
# What a Parquet file begins and ends with.
_PARQUET: Final = b"PAR1"
_UUID_VERSION: Final = 14
# A check stores its snapshot first and its line of the history right after.
_BETWEEN_SECONDS: Final = 60.0


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the monitoring directory."""
    path = project.project_path(subject.workspace)
    if path.is_dir():
        yield from _project_files(subject, path)
        yield from _snapshots(subject, path / project.SNAPSHOTS)
    yield from _references(subject)


def _project_files(subject: Subject, path: Path) -> Iterator[Finding]:
    """Yield the files of the Evidently project that cannot be read; what they hold can be written again."""
    workspace = subject.workspace

    def restore_project() -> str:
        project.ensure(workspace, lock_timeout=subject.timeout, operation="doctor")
        return "it was written again"

    def restore_dashboard() -> str:
        content = project.dashboard(project.project_id(workspace))
        write_atomic(path / project.DASHBOARD_FILE, json.dumps(content, indent=2))
        return "the dashboard is as it is made now"

    for name, restore in (
        (project.PROJECT_FILE, restore_project),
        (project.DASHBOARD_FILE, restore_dashboard),
    ):
        file = path / name
        problem = "it is missing" if not file.exists() else _unreadable(file, deep=True)
        if problem is not None:

            def repair(file: Path = file, restore: Repair = restore) -> str:
                with workspace.lock(TOOL, timeout=subject.timeout, operation="doctor"):
                    _set_aside(file, workspace.monitoring_path)
                return f"{restore()}"

            yield subject.finding(
                Check.MONITORING,
                f"{file} cannot be used by Evidently: {problem}",
                "mlops doctor --fix writes it anew, and keeps the damaged one in monitoring/damaged",
                repair=repair,
                path=str(file),
            )


def _snapshots(subject: Subject, directory: Path) -> Iterator[Finding]:
    """Yield snapshots that cannot be read, and where they and the history differ."""
    workspace = subject.workspace
    found = sorted(path for path in directory.glob("*.json") if not path.name.endswith(".links.json"))
    if damaged := {path: why for path in found if (why := _unreadable(path, deep=subject.deep)) is not None}:

        def set_aside() -> str:
            with workspace.lock(TOOL, timeout=subject.timeout, operation="doctor"):
                for path in damaged:
                    _set_aside(path, workspace.monitoring_path)
            return "what is damaged is in monitoring/damaged now, and the pages open again"

        told = [f"{path} ({why})" for path, why in damaged.items()]
        yield subject.finding(
            Check.SNAPSHOT,
            f"Evidently's pages do not open, because a snapshot cannot be read: {named(told)}",
            "set damaged ones aside with: mlops doctor --fix; the numbers of the checks stay in the history",
            repair=set_aside,
            paths=[str(path) for path in list(damaged)[:SHOWN]],
        )
    recorded = [
        record["snapshot_id"] for record in _records(workspace.monitoring_path / history.HISTORY_FILE)
    ]
    there = {path.stem for path in found}
    # Retention removes the oldest: what is older than all that is left is missing on purpose. Version 7 of
    # UUIDs sorts by time.
    oldest = min((name for name in there if name[_UUID_VERSION : _UUID_VERSION + 1] == "7"), default="")
    gone = [name for name in recorded if name not in there and (name > oldest or not there)]
    known = set(recorded)
    extra = [path.stem for path in found if path.stem not in known and path not in damaged and _is_old(path)]
    for names, message, hint in (
        (
            gone,
            f"The history has {counted(len(gone), 'check')} without a snapshot, but older ones have",
            "their numbers are kept; Evidently's pages do not show them",
        ),
        (
            extra,
            f"The history does not have {counted(len(extra), 'snapshot')} that Evidently's pages show",
            "a check that was cut off leaves one, and so does plain Evidently; remove those nobody needs",
        ),
    ):
        if names:
            yield subject.finding(
                Check.HISTORY, message, hint, problem=False, snapshots=names[:SHOWN], directory=str(directory)
            )


def _references(subject: Subject) -> Iterator[Finding]:
    """Yield references that are gone or damaged, and a damaged list of those that are current."""
    references = ReferenceStore(subject.workspace, lock_timeout=subject.timeout)
    current: set[str] = set()
    try:
        current = {digest for _, digest in references.pointers()}
    except DataIntegrityError as error:
        yield _pointer(subject, references, error)
    for digest in sorted(current.union(digest for _, _, digest in references.assignments())):
        directory = references.directory / digest
        if (problem := _reference_problem(directory, deep=subject.deep)) is None:
            continue
        check, reason = problem
        yield subject.finding(
            check,
            f"The reference data {digest[:12]} cannot be used: {reason}",
            "restore it from an export, or set the same reference data again",
            problem=digest in current or check is Check.REFERENCE,
            path=str(directory),
        )


def _reference_problem(directory: Path, *, deep: bool) -> tuple[Check, str] | None:
    schema, data = directory / SCHEMA_FILE, directory / DATA_FILE
    try:
        values: dict[str, Any] = json.loads(schema.read_bytes())
        version, expected = values["schema_version"], values["data_sha256"]
        if version > SCHEMA_VERSION:
            return (
                Check.SCHEMA,
                f"{schema} has schema version {version}, and this mlops reads {SCHEMA_VERSION}",
            )
        with data.open("rb") as stream:
            first = stream.read(len(_PARQUET))
            stream.seek(-len(_PARQUET), os.SEEK_END)
            whole = first == stream.read() == _PARQUET
        if not whole or (deep and hash_file(data) != expected):
            return Check.REFERENCE, f"{data} is not what was stored"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Check.REFERENCE, f"{directory} is incomplete ({error})"
    return None


def _pointer(subject: Subject, references: ReferenceStore, error: DataIntegrityError) -> Finding:
    file, workspace = references.directory / POINTER_FILE, subject.workspace

    def rebuild() -> str:
        with workspace.lock(TOOL, timeout=subject.timeout, operation="doctor"):
            # Every entry is in the history before it becomes current.
            lines = [line.value for line in jsonlines.read(references.directory / HISTORY_FILE) if line.value]
            current = {
                line.get("model") or "": {key: line.get(key) for key in ("hash", "set_at", "version")}
                for line in lines
            }
            _set_aside(file, workspace.monitoring_path)
            content = {"schema_version": SCHEMA_VERSION, "current": current}
            write_atomic(file, json.dumps(content, indent=1))
        entries = counted(len(current), "reference")
        return f"it was made again from the history of references, with {entries}"

    return subject.finding(
        Check.REFERENCE,
        str(error),
        "make it again from the history of references with: mlops doctor --fix",
        repair=rebuild,
        path=str(file),
    )


def _unreadable(path: Path, *, deep: bool) -> str | None:
    """Return why a JSON file cannot be read, or None; what is torn does not end as it should."""
    try:
        if deep:
            whole = isinstance(json.loads(path.read_bytes()), dict)
        else:
            with path.open("rb") as stream:
                first = stream.read(1)
                stream.seek(-1 if first else 0, os.SEEK_END)
                whole = first == b"{" and stream.read(1) == b"}"
    except FileNotFoundError:
        return None  # removed by retention meanwhile
    except (OSError, ValueError) as error:
        return str(error)
    return None if whole else "it is cut off"


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _BETWEEN_SECONDS
    except FileNotFoundError:
        return False


def _records(path: Path) -> Iterator[dict[str, Any]]:
    return (line.value for line in jsonlines.read(path) if line.value and "snapshot_id" in line.value)


def _set_aside(path: Path, monitoring: Path) -> None:
    """Move a damaged file to where nothing reads it, beside those of that name that are there."""
    if path.exists():
        target = monitoring / _ASIDE / path.relative_to(monitoring)
        target.parent.mkdir(parents=True, exist_ok=True)
        names = (target.with_name(f"{target.name}.{number}" if number else target.name) for number in count())
        path.rename(next(name for name in names if not name.exists()))
