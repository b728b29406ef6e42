"""One line gives an ML project its own MLflow, DVC, BentoML and Evidently workspace.

>>> from mlops import MLOpsClient
>>> client = MLOpsClient.from_project("churn")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.lazy import exporter

__version__ = "0.1.0"

_EXPORTS = {
    "mlops.client": ("MLOpsClient", "create_client"),
    "mlops.client.metadata_export": ("MetadataExport",),
    "mlops.pipelines.pipeline": ("Pipeline",),
    "mlops.pipelines.step": ("step",),
    "mlops.pipelines.versioned": ("VersionedPipeline",),
    "mlops.project": ("Project", "ProjectManager"),
    "mlops.reporting.registry": ("Registry",),
    "mlops.reporting.report": ("StatusReport",),
    "mlops.scheduling.scheduler": ("PipelineScheduler",),
    "mlops.workspace": ("BootstrapResult", "ProjectWorkspace", "WorkspaceManager"),
    "mlops.errors": (
        "ArchiveError",
        "ConfigError",
        "ConfirmationRequiredError",
        "DataIntegrityError",
        "DataNotFoundError",
        "IntegrationError",
        "IntegrationNotInstalledError",
        "IntegrationUnavailableError",
        "InvalidModelNameError",
        "InvalidProjectNameError",
        "IsolationError",
        "MLOpsError",
        "ModelNotFoundError",
        "NoActiveRunError",
        "PipelineError",
        "PipelineVersionError",
        "QuotaExceededError",
        "ReferenceDataError",
        "ScheduleError",
        "StepError",
        "WorkspaceCorruptError",
        "WorkspaceError",
        "WorkspaceExistsError",
        "WorkspaceLockedError",
        "WorkspaceNotFoundError",
    ),
}
_NAMES = [name for names in _EXPORTS.values() for name in names]

__all__ = ["__version__", *sorted(_NAMES)]

if TYPE_CHECKING:
    from mlops.client import MLOpsClient as MLOpsClient
    from mlops.client import create_client as create_client
    from mlops.client.metadata_export import MetadataExport as MetadataExport
    from mlops.errors import *  # noqa: F403
    from mlops.pipelines.pipeline import Pipeline as Pipeline
    from mlops.pipelines.step import step as step
    from mlops.pipelines.versioned import VersionedPipeline as VersionedPipeline
    from mlops.project import Project as Project
    from mlops.project import ProjectManager as ProjectManager
    from mlops.reporting.registry import Registry as Registry
    from mlops.reporting.report import StatusReport as StatusReport
    from mlops.scheduling.scheduler import PipelineScheduler as PipelineScheduler
    from mlops.workspace import BootstrapResult as BootstrapResult
    from mlops.workspace import ProjectWorkspace as ProjectWorkspace
    from mlops.workspace import WorkspaceManager as WorkspaceManager


__getattr__ = exporter(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_NAMES))
