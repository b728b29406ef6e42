"""What is wrong in a ``workspace.yaml``: unreadable, misplaced, of another version, or with bad settings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Final

from mlops import names
from mlops.errors import (
    ConfigError,
    IsolationError,
    MLOpsError,
    ScheduleError,
    WorkspaceCorruptError,
    WorkspaceNotFoundError,
)
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.evidently_monitoring.retention import Retention
from mlops.reporting.doctor.finding import Check, Finding
from mlops.reporting.doctor.subject import Subject
from mlops.scheduling.schedule import Schedule
from mlops.workspace import configuration, metadata, quota, renaming
from mlops.workspace.base import project_directories
from mlops.workspace.model import METADATA_FILE, ProjectWorkspace
from mlops.workspace.schema import monitoring_section

_OF_A_SCHEDULE: Final = frozenset(each.name for each in fields(Schedule)) - {"project", "persistent"}
# One of these is in every project that has stored anything.
_STORES: Final = ("mlflow/mlflow.db", "dvc/ledger.jsonl", "monitoring/history.jsonl", "models/models")
# At the beginning of a line, or of a file in JSON's form.
_VERSION: Final = re.compile(rb"^[{\s]*[\"']?schema_version[\"']?\s*:\s*(\d+)", re.MULTILINE)


def of_file(workspace: ProjectWorkspace) -> Iterator[Finding]:
    """Yield what is wrong with a file by itself, whether or not it can be read."""
    name, path = workspace.project_name, workspace.metadata_file
    try:
        found = ProjectWorkspace.load_metadata(workspace.root_path)
    except WorkspaceNotFoundError:
        return  # deleted meanwhile
    except WorkspaceCorruptError as error:
        newer = (_stated_version(path) or 0) > metadata.SCHEMA_VERSION
        yield Finding(
            name,
            Check.SCHEMA if newer else Check.CORRUPT,
            str(error),
            error.hint or f"repair {path}",
            details={"path": str(path)},
        )
        return
    if _stated_version(path) is None:
        yield Finding(
            name,
            Check.SCHEMA,
            f"{path} is a file of the earlier system, without a schema_version; it is understood as it is",
            "the next change of the project's settings writes it anew",
            problem=False,
            details={"path": str(path)},
        )
    # One that is being renamed has its former name in there until that is finished.
    if found.project_name != workspace.root_path.name and not renaming.pending(workspace.root_path):
        yield Finding(
            name,
            Check.NAME,
            f"{path} is named {found.project_name}, and its directory {workspace.root_path.name}",
            f"set project_name to {workspace.root_path.name} there, or rename the directory back",
            details={"path": str(path), "project_name": found.project_name},
        )
    keys = sorted(map(str, found.extra))
    # The other sections refuse what they do not know, which is a wrong setting then.
    for entry in found.schedules:
        keys += sorted(f"schedules.{entry.get('name')}.{key}" for key in entry.keys() - _OF_A_SCHEDULE)
    if keys:
        yield Finding(
            name,
            Check.UNKNOWN_KEY,
            f"{path} has keys this version does not know, and ignores: {', '.join(keys)}",
            "correct or remove them; what they hold may belong under metadata",
            details={"path": str(path), "keys": keys},
        )


def of_base(workspaces: Sequence[ProjectWorkspace]) -> Iterator[Finding]:
    """Yield names that collide on a server, and ids that two workspaces have.

    Args:
        workspaces: Every workspace of the base.
    """
    by_slug: dict[str, list[ProjectWorkspace]] = defaultdict(list)
    by_id: dict[str, list[ProjectWorkspace]] = defaultdict(list)
    for workspace in workspaces:
        by_slug[names.slug(workspace.root_path.name)].append(workspace)
        if not workspace.error:
            by_id[workspace.id].append(workspace)
    for same in by_slug.values():
        for each, others in _with_others(same):
            yield Finding(
                each.project_name,
                Check.COLLISION,
                f"{each.project_name} has the same name as {', '.join(others)}, but for '-' and '_': on a"
                " server the two would be one, and they share their locks",
                f"rename one with: mlops rename {each.project_name} NEW-NAME",
                details={"projects": others},
            )
    for identity, same in by_id.items():
        for each, others in _with_others(same):
            yield Finding(
                each.project_name,
                Check.SHARED_ID,
                f"{each.metadata_file} has the id {identity}, and so has {', '.join(others)}",
                "one is a copy of the other: give the copy an id of its own (python -c 'import uuid;"
                " print(uuid.uuid4())'), and take its evidently_project_id out",
                details={"id": identity, "projects": others},
            )


def without_file(base: Path) -> Iterator[Finding]:
    """Yield directories that hold what the tools store, and no ``workspace.yaml``: no command sees them.

    Args:
        base: The base path.
    """
    known = {path.name for path in project_directories(base)}
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        held = [name for name in _STORES if (path / name).exists()]
        if held and path.name not in known and not path.name.startswith("."):
            yield Finding(
                path.name,
                Check.CORRUPT,
                f"{path} holds {' and '.join(held)}, and has no {METADATA_FILE}: it is no project any more",
                f"restore {METADATA_FILE} from version control or a backup, or move the directory away",
                details={"path": str(path), "holds": held},
            )


def of_settings(subject: Subject) -> Iterator[Finding]:
    """Yield sections and settings that make no sense to whoever reads them."""
    workspace = subject.workspace
    wiring = {key: getattr(workspace, key) for key in configuration.WIRING}
    vault = Vault(subject.context)
    readers: list[Callable[[], Any]] = [
        lambda: configuration.check(wiring, project=subject.project, operation="doctor"),
        lambda: monitoring_section(workspace.monitoring, project=subject.project, operation="doctor"),
        lambda: Retention.of(workspace, operation="doctor"),
        lambda: quota.limits_of(workspace, operation="doctor"),
        lambda: vault.remote(vault.operation("doctor")),
        *(partial(Schedule.from_stored, each, project=subject.project) for each in workspace.schedules),
    ]
    for read in readers:
        try:
            read()
        except (ConfigError, IsolationError, ScheduleError) as error:
            yield wrong(workspace, error)


def wrong(workspace: ProjectWorkspace, error: MLOpsError) -> Finding:
    """Return the finding for a setting that is refused.

    Args:
        workspace: The project.
        error: How it was refused.
    """
    return Finding(
        workspace.project_name,
        Check.SHARED if isinstance(error, IsolationError) else Check.SETTING,
        str(error),
        error.hint or f"correct {workspace.metadata_file}",
        details={"path": str(workspace.metadata_file)},
    )


def _with_others(same: Sequence[ProjectWorkspace]) -> Iterator[tuple[ProjectWorkspace, list[str]]]:
    for each in same:
        if others := [other.project_name for other in same if other is not each]:
            yield each, others


def _stated_version(path: Path) -> int | None:
    """Return what a file says its schema version is, whether or not it can be understood; None if nothing."""
    try:
        found = _VERSION.search(path.read_bytes())
    except OSError:
        return None
    return int(found[1]) if found else None
