"""Which public method is at work, so that every error says so in the same way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from mlops.errors import IntegrationError, IntegrationUnavailableError, MLOpsError

TOOL: Final = "dvc"
ErrorT = TypeVar("ErrorT", bound=MLOpsError)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a public method.

    Args:
        name: The method, such as ``add``.
        project: The project it was called for.
    """

    name: str
    project: str

    def error(
        self, kind: type[ErrorT], message: str, *, hint: str, details: Mapping[str, Any] | None = None
    ) -> ErrorT:
        """Return an error of that kind which names the tool, the method and the project.

        Args:
            kind: The class, from ``mlops.errors``.
            message: What went wrong, naming the file, dataset or version.
            hint: The next step.
            details: Further facts for programs.
        """
        common: dict[str, Any] = {
            "operation": self.name,
            "workspace": self.project,
            "details": details,
            "hint": hint,
        }
        if issubclass(kind, IntegrationError):
            common["tool"] = TOOL
        return kind(message, **common)

    @contextlib.contextmanager
    def storing(self, place: Path) -> Iterator[None]:
        """Turn what the operating system refuses while writing into an error that names the place.

        Args:
            place: The directory or file that is written.

        Raises:
            IntegrationUnavailableError: The disk is full, the place is read-only, or the like.
        """
        try:
            yield
        except MLOpsError:
            # Some of these are OSErrors as well.
            raise
        except OSError as error:
            raise self.error(
                IntegrationUnavailableError,
                f"{place} cannot be written: {error}",
                hint="check the disk's free space and the permissions; what was stored before is unharmed",
            ) from error
