"""``StatusReport``: all projects of a base at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mlops.errors import WorkspaceNotFoundError

if TYPE_CHECKING:
    from mlops.reporting.facts import ProjectReport
    from mlops.reporting.rankings import Rankings
    from mlops.reporting.totals import Totals
    from mlops.reporting.trends import Trends
    from mlops.workspace.manager import WorkspaceManager

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What every project of a base holds in every tool, with sums, trends and rankings.

    It is read from the tools' own files without importing the tools; nothing is created and nothing locked.
    A project or tool that cannot be read says so in its ``troubles`` and leaves the others as they are.

    Args:
        generated_at: The moment it is about, aware.
        base_path: The base.
        projects: One report per project, by name.
        totals: What they come to.
        trends: What was new in the last 7 and 30 days.
        rankings: Which projects come first.
    """

    generated_at: datetime
    base_path: str
    projects: tuple[ProjectReport, ...]
    totals: Totals
    trends: Trends
    rankings: Rankings

    @classmethod
    def collect(
        cls,
        base_path: Path | str | None = None,
        *,
        projects: Sequence[str] | None = None,
        manager: WorkspaceManager | None = None,
        cache: bool = True,
        progress: Callable[[int, int], object] | None = None,
    ) -> Self:
        """Read the projects of a base.

        What did not change since the last report is taken from a cache in the user's cache directory, which
        holds as long as no file of the project has another time, size or inode. A tracking server is asked
        for 30 seconds at most, beside everything else.

        Args:
            base_path: The base; found as by ``WorkspaceManager`` if it is not given.
            projects: Only these projects; None for all.
            manager: The base's manager, in place of ``base_path``.
            cache: Whether to use, and keep, what did not change.
            progress: Called after each project with the number of those that are done, and of all.

        Raises:
            WorkspaceNotFoundError: There is no project of a name given.
            ConfigError: The base's pyproject.toml cannot be read.
        """
        from mlops.reporting.helpers import Helpers

        if manager is None:
            from mlops.workspace.manager import WorkspaceManager

            manager = WorkspaceManager(base_path)
        with Helpers() as helpers:
            if projects is None:
                helpers.prepare(manager.base_path, cache=cache)
            # Helpers import what they need while this process does.
            from mlops.reporting import collecting

            now = datetime.now(UTC)
            found = collecting.collect(
                manager, helpers, projects=projects, cache=cache, progress=progress, now=now
            )
        return cls.of(found, generated_at=now, base_path=str(manager.base_path))

    @classmethod
    def of(cls, projects: Iterable[ProjectReport], *, generated_at: datetime, base_path: str) -> Self:
        """Return the report on projects that were read already.

        Args:
            projects: What is said of each.
            generated_at: The moment it was read, aware.
            base_path: The base.
        """
        from mlops.reporting import rankings, totals, trends

        every = tuple(projects)
        return cls(
            generated_at,
            base_path,
            every,
            totals.sum_up(every),
            trends.follow(every, now=generated_at),
            rankings.rank(every, now=generated_at),
        )

    def project(self, name: str) -> ProjectReport:
        """Return what is said of one project.

        Raises:
            WorkspaceNotFoundError: The report has no such project.
        """
        for each in self.projects:
            if each.project_name == name:
                return each
        raise WorkspaceNotFoundError(
            f"The report has no project {name!r}",
            operation="project",
            workspace=name,
            details={"known": [each.project_name for each in self.projects]},
            hint="collect it: StatusReport.collect() reads all projects of a base",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; keys are added in later versions, never renamed or removed."""
        return {
            "schema_version": SCHEMA_VERSION,
            "generated_at": self.generated_at.isoformat(),
            "base_path": self.base_path,
            "totals": self.totals.to_dict(),
            "trends": self.trends.to_dict(),
            "rankings": self.rankings.to_dict(),
            "projects": [each.to_dict() for each in self.projects],
        }

    def write(self, path: Path | str) -> Path:
        """Write the report as a file in the format that its name ends with, whole or not at all.

        Args:
            path: The file, in a directory that exists: ``.html`` or ``.htm`` for a page that opens without a
                network, ``.md``, ``.json``, or ``.txt`` for tables.

        Returns:
            The file's absolute path.

        Raises:
            ConfigError: The ending stands for no format, or the path is not that of a file.
        """
        from mlops.reporting.rendering import write

        return write(self, Path(path))
