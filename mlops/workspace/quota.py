"""How much a project may store: the section ``quota`` of its workspace.yaml, compared with what it holds.

    quota:
      soft: 8GB                   # beyond it a warning is logged, and reports say so
      hard: 10GB                  # nothing is stored that would go beyond it
      tools:
        dvc: {soft: 4GB, hard: 5GB}

``10GB`` is decimal and ``500 MiB`` binary; a number is bytes. A tool is named by its own name or by that of
its directory (``bentoml`` is ``models``, ``evidently`` is ``monitoring``). ``workspace/room.py`` refuses what
would go beyond a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from mlops.workspace.model import ProjectWorkspace

TOTAL: Final = "total"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may be stored, in bytes; None where there is no limit.

    Args:
        soft: What is reported and logged when it is exceeded.
        hard: What nothing is stored beyond.
    """

    soft: int | None = None
    hard: int | None = None

    def __bool__(self) -> bool:
        return self.soft is not None or self.hard is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one project.

    Args:
        total: On all that the workspace holds.
        by_directory: On single directories of it, such as ``dvc``.
    """

    total: Limit = Limit()
    by_directory: Mapping[str, Limit] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.total) or bool(self.by_directory)


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """One limit with what is used of it.

    Args:
        scope: ``total``, or a directory of the workspace such as ``dvc``.
        used_bytes: What is used.
        soft_bytes: The soft limit, or None.
        hard_bytes: The hard limit, or None.
        state: ``ok``, ``soft`` (over the soft limit) or ``hard`` (over the hard one).
    """

    scope: str
    used_bytes: int
    soft_bytes: int | None
    hard_bytes: int | None
    state: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def limits_of(workspace: ProjectWorkspace, *, operation: str = "limits_of") -> Limits:
    """Return the limits that a workspace's configuration sets.

    Args:
        workspace: The workspace.
        operation: The calling method, for the error.

    Raises:
        ConfigError: The section ``quota`` is wrong; the message names each key.
    """
    if not workspace.quota:
        return Limits()
    from mlops.workspace.schema import quota_section

    section = quota_section(workspace.quota, project=workspace.project_name, operation=operation)
    by_directory = {name: Limit(each.soft, each.hard) for name, each in section.tools.items()}
    return Limits(
        Limit(section.soft, section.hard), {name: limit for name, limit in by_directory.items() if limit}
    )


def assess(limits: Limits, by_directory: Mapping[str, int], total_bytes: int) -> tuple[QuotaRow, ...]:
    """Compare what is used with the limits that are set.

    Args:
        limits: The limits.
        by_directory: Bytes of each directory of the workspace; one that is not there holds nothing.
        total_bytes: Bytes of the whole workspace.

    Returns:
        One row for each limit, ``total`` first.
    """
    rows = [_row(TOTAL, total_bytes, limits.total)] if limits.total else []
    rows += [_row(name, by_directory.get(name, 0), limit) for name, limit in limits.by_directory.items()]
    return tuple(rows)


def _row(scope: str, used: int, limit: Limit) -> QuotaRow:
    state = "ok"
    if limit.hard is not None and used > limit.hard:
        state = "hard"
    elif limit.soft is not None and used > limit.soft:
        state = "soft"
    return QuotaRow(scope, used, limit.soft, limit.hard, state)
