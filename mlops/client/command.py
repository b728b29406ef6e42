"""A command run as part of a project: what ``mlops run`` does."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.client import children
from mlops.integrations.mlflow_tracking import groups, provenance
from mlops.integrations.mlflow_tracking.invocation import Invocation, masked
from mlops.plugins import variables

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession
    from mlops.integrations.dvc_data import DataVersion


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command did.

    Args:
        exit_code: 0 to 255; 128 and the signal's number if one ended it.
        group: The tag ``mlops.run_group`` of its runs.
        runs: How many runs it recorded in the project, by status.
        corrected: The runs whose status was set afterwards, with that status.
        running: Whether processes it started go on, with runs open; these are left alone.
    """

    exit_code: int
    group: str
    runs: Mapping[str, int] = field(default_factory=dict)
    corrected: Mapping[str, str] = field(default_factory=dict)
    running: bool = False


def run_command(
    client: ProjectSession, command: Sequence[str], *, data: Sequence[Path | str] = ()
) -> CommandResult:
    """Run a command in the project's environment, wait for it, and finish the runs it left open.

    Call it in the main thread: signals are passed on to the command.

    Args:
        client: The project.
        command: The program and its arguments.
        data: Files and directories it reads: they are versioned before it starts, every run it records is
            tagged with the versions, and they become dataset inputs of its runs when it has ended.

    Raises:
        ConfigError: The command is not there or cannot be run.
        DataNotFoundError: There is no such data.
    """
    versions = [client.data.add(path) for path in data]
    invocation = Invocation(masked(command), Path.cwd())
    return run_invocation(client, command, invocation, versions=versions)


def run_invocation(
    client: ProjectSession,
    command: Sequence[str],
    invocation: Invocation,
    *,
    versions: Sequence[DataVersion] = (),
    variables_of_run: Mapping[str, str] | None = None,
) -> CommandResult:
    """Run a command in the project's environment as ``run_command`` does, and record it as another one.

    Args:
        client: The project.
        command: The program and its arguments.
        invocation: What its runs say they were started by.
        versions: The data versions it reads.
        variables_of_run: What its environment has besides the project's.

    Raises:
        ConfigError: The command is not there or cannot be run.
    """
    client.tracking.ensure()
    group = uuid.uuid4().hex
    environment = {**client.environment(), **(variables_of_run or {})}
    environment[variables.RUN_GROUP] = group
    environment[variables.COMMAND] = invocation.to_text()
    if versions:
        environment[variables.DATA] = json.dumps({version.name: version.md5 for version in versions})
    ended = children.supervise(command, environment)
    return _finish(client, group, ended, versions)


def _finish(
    client: ProjectSession, group: str, ended: children.Ended, versions: Sequence[DataVersion]
) -> CommandResult:
    tracking = client.tracking
    found = groups.members(tracking, group)
    left = any(member.status == groups.RUNNING for member in found)
    running = left and ended.group is not None and not children.is_over(ended.group)
    changed: dict[str, str] = {}
    if not running:
        changed = groups.finish(tracking, found, stopped=ended.stopped, signalled_at=ended.signalled_at)
    if found and not client.tracking.embedded:
        provenance.attach_to_group(client.tracking, [member.run_id for member in found])
    if versions and found:
        groups.record_inputs(tracking, found, [_input(version) for version in versions])
    statuses = Counter(changed.get(member.run_id, member.status) for member in found)
    return CommandResult(ended.exit_code, group, dict(statuses), changed, running)


def _input(version: DataVersion) -> dict[str, object]:
    source = {"tool": "dvc", "md5": version.md5, "name": version.name, "bytes": version.size}
    return {"name": version.name, "digest": version.digest, "source": source}
