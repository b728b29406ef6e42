"""One thing that the doctor noticed: what it is about, what to do, and how it is put right."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from mlops.errors import MLOpsError

# Puts one thing right and says what it did; None if there was nothing left to do.
Repair = Callable[[], str | None]
# What a tool's store that is damaged or out of reach raises; the last four are Python's own, raised where
# content is not of the form it should have.
TROUBLE: Final = (MLOpsError, OSError, sqlite3.Error, ValueError, LookupError, TypeError, AttributeError)
# Enough of a list to see what its members have in common.
SHOWN: Final = 10


def explained(error: Exception) -> str:
    """Return what an error says, and of one that nobody raised for people what kind it is."""
    return str(error) if isinstance(error, MLOpsError | OSError | sqlite3.Error) else repr(error)


def named(items: Sequence[object]) -> str:
    """Return the first of several things, and how many more there are."""
    return f"{items[0]} and {len(items) - 1} more" if len(items) > 1 else f"{items[0]}"


class Check(StrEnum):
    """What a finding is about; a value once published keeps its meaning.

    Isolation: ``shared-store`` (two projects use one database, experiment, directory, remote or Evidently
    project), ``shared-file`` (a file that can be written to is hard-linked into two projects),
    ``foreign-location`` (a database names a place outside of its workspace), ``link-out-of-base``,
    ``link-to-project``, ``name-collision``, ``name-mismatch``, ``shared-id``.

    Configuration: ``corrupt-workspace``, ``schema-version``, ``unknown-key``, ``wrong-setting``, ``secret``.

    Stores: ``store-unavailable``, ``damaged-database``, ``missing-model-files``, ``unfinished-model``,
    ``orphaned-artifacts``, ``damaged-data``, ``missing-data``, ``missing-remote-data``, ``damaged-bento``,
    ``missing-bento-model``, ``damaged-monitoring``, ``damaged-snapshot``, ``damaged-reference``,
    ``incomplete-history``, ``damaged-pipeline``, ``damaged-log``, ``damaged-link-log``.

    Crashes: ``crashed-run``, ``open-run``, ``crashed-job``, ``stale-claim``, ``interrupted-rename``,
    ``interrupted-restore``, ``leftover``.
    """

    SHARED = "shared-store"
    SHARED_FILE = "shared-file"
    LOCATION = "foreign-location"
    LINK = "link-out-of-base"
    LINK_TO_PROJECT = "link-to-project"
    COLLISION = "name-collision"
    NAME = "name-mismatch"
    SHARED_ID = "shared-id"
    CORRUPT = "corrupt-workspace"
    SCHEMA = "schema-version"
    UNKNOWN_KEY = "unknown-key"
    SETTING = "wrong-setting"
    SECRET = "secret"  # noqa: S105 - the name of a check
    STORE = "store-unavailable"
    DATABASE = "damaged-database"
    MODEL_FILES = "missing-model-files"
    UNFINISHED_MODEL = "unfinished-model"
    ARTIFACTS = "orphaned-artifacts"
    DATA = "damaged-data"
    MISSING_DATA = "missing-data"
    REMOTE = "missing-remote-data"
    BENTO = "damaged-bento"
    BENTO_MODEL = "missing-bento-model"
    MONITORING = "damaged-monitoring"
    SNAPSHOT = "damaged-snapshot"
    REFERENCE = "damaged-reference"
    HISTORY = "incomplete-history"
    PIPELINE = "damaged-pipeline"
    LOG = "damaged-log"
    LINKS = "damaged-link-log"
    CRASHED_RUN = "crashed-run"
    OPEN_RUN = "open-run"
    JOB = "crashed-job"
    CLAIM = "stale-claim"
    RENAME = "interrupted-rename"
    RESTORE = "interrupted-restore"
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor noticed.

    Args:
        project: The project, or "" for something of the whole base.
        check: What it is about.
        message: What is wrong, in one sentence.
        hint: The next step.
        problem: Whether it needs putting right; otherwise it is only worth knowing.
        fixed: Whether it was put right just now.
        details: The run, file or other projects concerned, as plain JSON values.
        repair: Puts it right, for what can be put right without a person's decision.
    """

    project: str
    check: Check
    message: str
    hint: str
    problem: bool = True
    fixed: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    repair: Repair | None = field(default=None, repr=False, compare=False)

    @property
    def fixable(self) -> bool:
        """Whether ``--fix`` puts it right, or has done so."""
        return self.repair is not None

    def put_right(self) -> Finding | None:
        """Repair it, if that is safe, and return what is to be said of it now.

        Returns:
            The finding: as it was, fixed, or with the reason why it could not be fixed; None if it has gone
            by itself meanwhile.
        """
        if self.repair is None:
            return self
        try:
            done = self.repair()
        except TROUBLE as error:
            problem = f"{self.message}; it could not be put right: {explained(error)}"
            return replace(self, message=problem, hint=getattr(error, "hint", None) or self.hint)
        if done is None:
            return None
        return replace(self, message=f"{self.message}; {done}", hint="nothing is left to do", fixed=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "project": self.project,
            "check": str(self.check),
            "message": self.message,
            "hint": self.hint,
            "problem": self.problem,
            "fixable": self.fixable,
            "fixed": self.fixed,
            "details": dict(self.details),
        }
