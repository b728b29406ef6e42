"""The account of a reproduction: what was restored, what ran, and which numbers came out the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Floating-point sums in another order differ by about this much; anything more is another result.
DEFAULT_TOLERANCE: Final = 1e-9
SYSTEM_PREFIX: Final = "system/"
# What depends on the machine rather than on the result is shown and not judged.
_DURATIONS: Final = ("_seconds", "_time")
_REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:==\s*|@\s*)(?P<version>\S+)")


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of the run and of the run that did it again.

    Args:
        name: The metric.
        recorded: Its last value then; None if only the new run has it.
        reproduced: Its last value now; None if the new run has none.
        match: Whether they agree within the tolerance; None for a duration or a new metric, which is not
            judged.
    """

    name: str
    recorded: float | None
    reproduced: float | None
    match: bool | None


@dataclass(frozen=True, slots=True)
class EnvironmentDifference:
    """How the packages here differ from those the run had.

    Args:
        added: Version here, by name.
        removed: Version then, by name.
        changed: Version then and here, by name.
        python: Version of Python then and here if they differ, else None.
    """

    added: Mapping[str, str]
    removed: Mapping[str, str]
    changed: Mapping[str, tuple[str, str]]
    python: tuple[str, str] | None

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.python)


@dataclass(frozen=True, slots=True)
class RestoredData:
    """A data version that was put in place.

    Args:
        name: The dataset.
        md5: Its hash.
        path: Where it is now.
    """

    name: str
    md5: str
    path: Path


@dataclass(frozen=True, slots=True)
class RunCode:
    """The code of a run.

    Args:
        commit: Its commit, or None if it was in no repository.
        dirty: Whether the code differed from the commit.
        repository: The repository it was checked out from, or None.
        worktree: The separate worktree that has it, or None if it was not checked out.
        patched: Whether the differences were applied there.
        instructions: What to type to go on by hand, a command per line; ``#`` begins a remark.
    """

    commit: str | None
    dirty: bool
    repository: Path | None
    worktree: Path | None
    patched: bool
    instructions: str


@dataclass(frozen=True, slots=True)
class Rerun:
    """What doing the run again did.

    Args:
        run_id: The new run that corresponds to it, or None if the command recorded none in the project.
        exit_code: The command's; 128 and the signal's number if one ended it.
        output: The file with what it printed.
        tail: The last lines of it, if the command failed.
    """

    run_id: str | None
    exit_code: int
    output: Path
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What ``reproduce`` did.

    Args:
        project: The project.
        run_id: The run.
        directory: Where everything is.
        data: The data versions that were restored.
        params_file: The run's parameters, as JSON.
        environment_file: The packages it ran with, as a requirements file; None if none were recorded.
        code: Its code.
        command: What it was started with, or None.
        rerun: What running it again did, or None if it was not run.
        metrics: The final metrics then and now, sorted by name; empty if it was not run.
        environment: How the packages here differ; None if none were recorded.
        notes: What could not be restored, and what else to know.
    """

    project: str
    run_id: str
    directory: Path
    data: tuple[RestoredData, ...]
    params_file: Path
    environment_file: Path | None
    code: RunCode
    command: str | None
    rerun: Rerun | None
    metrics: tuple[MetricComparison, ...]
    environment: EnvironmentDifference | None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the command, if it was run, succeeded and gave every metric within the tolerance."""
        if self.rerun is None:
            return True
        return (
            self.rerun.exit_code == 0
            and self.rerun.run_id is not None
            and all(metric.match is not False for metric in self.metrics)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; numbers that JSON does not have are text."""
        rerun, environment = self.rerun, self.environment
        return {
            "ok": self.ok,
            "project": self.project,
            "run_id": self.run_id,
            "directory": str(self.directory),
            "data": [{"name": d.name, "md5": d.md5, "path": str(d.path)} for d in self.data],
            "params_file": str(self.params_file),
            "environment_file": _text(self.environment_file),
            "code": {
                "commit": self.code.commit,
                "dirty": self.code.dirty,
                "repository": _text(self.code.repository),
                "worktree": _text(self.code.worktree),
                "patched": self.code.patched,
                "instructions": self.code.instructions,
            },
            "command": self.command,
            "rerun": None
            if rerun is None
            else {
                "run_id": rerun.run_id,
                "exit_code": rerun.exit_code,
                "output": str(rerun.output),
                "tail": list(rerun.tail),
            },
            "metrics": [
                {
                    "name": metric.name,
                    "recorded": _number(metric.recorded),
                    "reproduced": _number(metric.reproduced),
                    "match": metric.match,
                }
                for metric in self.metrics
            ],
            "environment": None
            if environment is None
            else {
                "added": dict(environment.added),
                "removed": dict(environment.removed),
                "changed": {name: list(versions) for name, versions in environment.changed.items()},
                "python": None if environment.python is None else list(environment.python),
            },
            "notes": list(self.notes),
        }


def compare_metrics(
    recorded: Mapping[str, float], reproduced: Mapping[str, float], *, tolerance: float
) -> tuple[MetricComparison, ...]:
    """Compare the final metrics of two runs.

    Metrics of the machine, ``system/...``, are left out. Durations, names that end in ``_seconds`` or
    ``_time``, are shown and not judged, and neither are metrics that only the new run has.

    Args:
        recorded: The run's.
        reproduced: The new run's.
        tolerance: How much two numbers may differ, relative to the larger one, or absolutely for numbers
            around zero. NaN equals NaN.
    """
    found = []
    for name in sorted({*recorded, *reproduced}):
        if name.startswith(SYSTEM_PREFIX):
            continue
        then, now = recorded.get(name), reproduced.get(name)
        match: bool | None = None
        if then is not None and not name.endswith(_DURATIONS):
            match = now is not None and _equal(then, now, tolerance)
        found.append(MetricComparison(name, then, now, match))
    return tuple(found)


def compare_environments(then: str, now: str, *, python: tuple[str | None, str]) -> EnvironmentDifference:
    """Compare two lists of packages.

    Args:
        then: A requirements file.
        now: Another one.
        python: The versions of Python then, if it is known, and now.
    """
    old, new = _packages(then), _packages(now)
    before, after = python
    return EnvironmentDifference(
        added={name: new[name] for name in sorted(new.keys() - old.keys())},
        removed={name: old[name] for name in sorted(old.keys() - new.keys())},
        changed={
            name: (old[name], new[name]) for name in sorted(old.keys() & new.keys()) if old[name] != new[name]
        },
        python=None if before is None or before == after else (before, after),
    )


def _packages(text: str) -> dict[str, str]:
    matches = (_REQUIREMENT.match(line.removeprefix("# ")) for line in text.splitlines())
    return {match["name"]: match["version"] for match in matches if match is not None}


def _equal(one: float, other: float, tolerance: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)


def _number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
