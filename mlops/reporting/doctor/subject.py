"""One project under examination, and how deep it is looked into."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mlops.errors import IntegrationUnavailableError
from mlops.reporting.doctor.finding import Check, Finding, Repair
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A project whose settings are known.

    Args:
        context: Its workspace and the settings in force for it.
        deep: Whether every stored byte is read again, rather than names and sizes compared.
        progress: Called as ``progress(done, total)`` with bytes while data is read, or None.
        silent: Addresses that did not answer, with the reason; of all projects of an examination together.
    """

    context: ToolContext
    deep: bool = False
    progress: Progress | None = None
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> ProjectWorkspace:
        """Its workspace."""
        return self.context.workspace

    @property
    def project(self) -> str:
        """Its name."""
        return self.workspace.project_name

    @property
    def timeout(self) -> float:
        """Seconds to wait for a lock."""
        return self.context.settings.lock_timeout

    @contextlib.contextmanager
    def reaching(self, address: str) -> Iterator[None]:
        """Run a block that asks a server, unless the server did not answer for another project before.

        To find that out takes seconds, and hundreds of projects may have the same server.

        Args:
            address: What the projects have in common, without credentials.

        Raises:
            IntegrationUnavailableError: It does not answer.
        """
        if address in self.silent:
            raise IntegrationUnavailableError(
                f"{address} did not answer for another project either: {self.silent[address]}",
                hint=f"make {address} reachable, then look again",
            )
        try:
            yield
        except IntegrationUnavailableError as error:
            self.silent[address] = str(error)
            raise

    def finding(
        self,
        check: Check,
        message: str,
        hint: str,
        *,
        problem: bool = True,
        repair: Repair | None = None,
        **details: Any,
    ) -> Finding:
        """Return a finding of this project.

        Args:
            check: What it is about.
            message: What is wrong, in one sentence.
            hint: The next step.
            problem: Whether it needs putting right.
            repair: Puts it right, where that needs no person's decision.
            **details: Further facts, as plain JSON values.
        """
        return Finding(self.project, check, message, hint, problem=problem, details=details, repair=repair)
