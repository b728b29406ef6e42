"""Every error the library raises, in one tree.

    MLOpsError
    ├── ConfigError                          a setting is missing, unknown or of the wrong type
    ├── WorkspaceError
    │   ├── InvalidProjectNameError          (also a ValueError)
    │   ├── WorkspaceNotFoundError           (also a LookupError)
    │   ├── WorkspaceExistsError
    │   ├── WorkspaceCorruptError            workspace.yaml cannot be read; nothing is overwritten
    │   ├── WorkspaceLockedError             (also a TimeoutError)
    │   ├── ConfirmationRequiredError        a destructive call without its force or confirm flag
    │   ├── QuotaExceededError
    │   └── IsolationError                   a path or name would leave the project
    ├── IntegrationError                     carries the tool's name
    │   ├── IntegrationNotInstalledError     (also an ImportError)
    │   ├── IntegrationUnavailableError      (also a ConnectionError)
    │   ├── NoActiveRunError
    │   ├── InvalidModelNameError            (also a ValueError)
    │   ├── DataNotFoundError                (also a LookupError)
    │   ├── DataIntegrityError               stored bytes are missing or not what was recorded
    │   ├── ModelNotFoundError               (also a LookupError)
    │   └── ReferenceDataError
    ├── ArchiveError
    └── PipelineError
        ├── StepError                        __cause__ is the user's exception
        ├── PipelineVersionError
        └── ScheduleError

Exceptions raised by the user's own code inside a run or a step pass through unchanged (a step's is the cause
of its ``StepError``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MLOpsError(Exception):
    """Base of every error raised by this library.

    Args:
        message: What went wrong, in one sentence; ``str(error)`` is exactly this.
        operation: Name of the method that failed, such as ``create_workspace``.
        workspace: Name of the project concerned.
        details: Further facts for programs; never secrets.
        hint: The next step for the person reading it. It is attached as an exception note, so a traceback
            shows it below the message.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        workspace: str | None = None,
        details: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.workspace = workspace
        self.details: dict[str, Any] = dict(details or {})
        self.hint = hint
        if hint:
            self.add_note(f"Next step: {hint}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only state (and the notes) must survive the trip to another process.
        return (type(self), (self.message,), self.__dict__.copy())


class ConfigError(MLOpsError):
    """A setting is missing, unknown or has the wrong type."""


class WorkspaceError(MLOpsError):
    """A workspace could not be created, opened, changed or removed."""


class InvalidProjectNameError(WorkspaceError, ValueError):
    """The name breaks the naming rule, or collides with an existing project."""


class WorkspaceNotFoundError(WorkspaceError, LookupError):
    """There is no workspace of that name below this base path."""


class WorkspaceExistsError(WorkspaceError):
    """A workspace of that name is already there."""


class WorkspaceCorruptError(WorkspaceError):
    """A workspace's file cannot be read or understood; it is left exactly as it is."""


class WorkspaceLockedError(WorkspaceError, TimeoutError):
    """Another process held the project's lock for longer than the time allowed."""


class ConfirmationRequiredError(WorkspaceError):
    """A destructive call was made without the flag that confirms it."""


class QuotaExceededError(WorkspaceError):
    """The write would take the project over its hard quota."""


class IsolationError(WorkspaceError):
    """A path or name would leave the project it belongs to."""


class IntegrationError(MLOpsError):
    """One of the four tools refused or failed.

    Args:
        message: What went wrong.
        tool: The tool's name: ``mlflow``, ``dvc``, ``bentoml`` or ``evidently``.
        operation: Name of the method that failed.
        workspace: Name of the project concerned.
        details: Further facts for programs.
        hint: The next step.
    """

    def __init__(
        self,
        message: str,
        *,
        tool: str | None = None,
        operation: str | None = None,
        workspace: str | None = None,
        details: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, operation=operation, workspace=workspace, details=details, hint=hint)
        self.tool = tool


class IntegrationNotInstalledError(IntegrationError, ImportError):
    """The tool's package, or an extra it needs, is not installed."""


class IntegrationUnavailableError(IntegrationError, ConnectionError):
    """The tool's server or store cannot be reached."""


class NoActiveRunError(IntegrationError):
    """Something was logged outside ``with client.start_run()``."""


class InvalidModelNameError(IntegrationError, ValueError):
    """A model name or version breaks the naming rule."""


class DataNotFoundError(IntegrationError, LookupError):
    """The file, directory or data version does not exist."""


class DataIntegrityError(IntegrationError):
    """Stored data is missing or does not have the hash that was recorded."""


class ModelNotFoundError(IntegrationError, LookupError):
    """The model, version or alias does not exist in this project."""


class ReferenceDataError(IntegrationError):
    """Reference data is missing, or does not fit the batch or the columns named."""


class ArchiveError(MLOpsError):
    """An export archive could not be written, read or verified."""


class PipelineError(MLOpsError):
    """A pipeline is defined wrongly or could not run."""


class StepError(PipelineError):
    """A step failed; ``__cause__`` is the exception the step raised.

    Args:
        message: What went wrong.
        step: Name of the step.
        operation: Name of the method that failed.
        workspace: Name of the project concerned.
        details: Further facts for programs.
        hint: The next step.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        operation: str | None = None,
        workspace: str | None = None,
        details: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, operation=operation, workspace=workspace, details=details, hint=hint)
        self.step = step


class PipelineVersionError(PipelineError):
    """A pipeline version does not exist, has a bad name, or no longer matches its sources."""


class ScheduleError(PipelineError):
    """A schedule is invalid, or a scheduled job cannot be found."""
