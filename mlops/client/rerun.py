"""A recorded command run again, and the new run that corresponds to the old one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.client.command import run_invocation
from mlops.client.restored import to_variable
from mlops.integrations.mlflow_tracking import groups, processes
from mlops.integrations.mlflow_tracking.invocation import Invocation, split
from mlops.integrations.mlflow_tracking.run_record import PARENT_TAG
from mlops.integrations.mlflow_tracking.runs import NAME_TAG
from mlops.lineage.recipe import Recipe
from mlops.lineage.reproduction import Rerun
from mlops.plugins import variables

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession
    from mlops.integrations.dvc_data import DataVersion
    from mlops.integrations.mlflow_tracking import MLflowTracking

# Enough of a traceback to see what is wrong.
TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 64_000
# Starts a program in another directory with its output in a file; the shell becomes the program.
_SHELL: Final = 'cd "$1" || exit 126; output=$2; shift 2; exec "$@" >"$output" 2>&1 </dev/null'
_PROCESS_TAGS: Final = (processes.HOST_TAG, processes.PID_TAG, processes.STARTED_TAG)


def run_again(
    client: ProjectSession,
    recipe: Recipe,
    command: str,
    *,
    code: Path,
    output: Path,
    versions: Sequence[tuple[Path, DataVersion]],
    imports: Sequence[Path],
) -> Rerun:
    """Run a recorded command so that its runs land in the project, tagged with the run they do again.

    Args:
        client: The project.
        recipe: What the run recorded.
        command: The command, as a shell takes it.
        code: The worktree.
        output: The file that gets what it prints.
        versions: The data versions that were restored, with their places.
        imports: What is to be imported before everything that is installed.
    """
    directory = code / recipe.directory
    if not directory.resolve().is_relative_to(code.resolve()):
        directory = code
    # One that held outputs only is not in git.
    directory.mkdir(parents=True, exist_ok=True)
    arguments = split(command)
    shell = ["/bin/sh", "-c", _SHELL, "mlops", str(directory), str(output), *arguments]
    result = run_invocation(
        client,
        shell,
        Invocation(tuple(arguments), directory),
        versions=[version for _, version in versions],
        variables_of_run={
            variables.REPRODUCES: recipe.run_id,
            variables.RESTORED: to_variable(versions),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            **({"PYTHONPATH": _import_path(imports)} if imports else {}),
        },
    )
    members = [client.tracking.get_run(m.run_id) for m in groups.members(client.tracking, result.group)]
    run_id = corresponding(recipe.run, siblings(client.tracking, recipe.run), members)
    tail = _tail(output) if result.exit_code else ()
    return Rerun(run_id, result.exit_code, output, tail)


def siblings(tracking: MLflowTracking, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs that were recorded together with a run, itself included, the oldest first.

    Args:
        tracking: The project's adapter.
        run: The run, as ``get_run`` returns it.
    """
    group = run["tags"].get(groups.GROUP_TAG)
    if group is not None:
        return [tracking.get_run(member.run_id) for member in groups.members(tracking, group)]
    process = [run["tags"].get(tag) for tag in _PROCESS_TAGS]
    if None in process:
        return [dict(run)]
    same = [r for r in tracking.list_runs(limit=None) if [r["tags"].get(t) for t in _PROCESS_TAGS] == process]
    return sorted(same, key=lambda each: (each["start_time"], each["run_id"]))


def corresponding(
    run: Mapping[str, Any], together: Sequence[Mapping[str, Any]], candidates: Sequence[Mapping[str, Any]]
) -> str | None:
    """Return the new run that does a run again, or None if there is no new one.

    Of several it is one at the same level of nesting, with the same parameters and the same name, as far as
    there is one; of equal ones the one that comes at the same place.

    Args:
        run: The run.
        together: The runs that were recorded with it, itself included, the oldest first.
        candidates: The new runs, the oldest first.
    """
    traits: tuple[Callable[[Mapping[str, Any]], Any], ...] = (
        lambda each: PARENT_TAG in each["tags"],
        lambda each: each["params"],
        lambda each: each["tags"].get(NAME_TAG),
    )
    old, new = list(together), list(candidates)
    for trait in traits:
        if alike := [each for each in new if trait(each) == trait(run)]:
            old, new = [each for each in old if trait(each) == trait(run)], alike
    if not new:
        return None
    place = [each["run_id"] for each in old].index(run["run_id"])
    return str(new[min(place, len(new) - 1)]["run_id"])


def _import_path(imports: Sequence[Path]) -> str:
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join([*map(str, imports), *inherited])


def _tail(output: Path) -> tuple[str, ...]:
    if not output.is_file():
        return ()
    with output.open("rb") as stream:
        stream.seek(max(0, output.stat().st_size - _TAIL_BYTES))
        return tuple(stream.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:])
