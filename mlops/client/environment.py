"""The environment in which code that knows nothing of projects works in one: for a child process or a shell.

Plain MLflow logs into the project, plain BentoML keeps its models there, plain DVC finds the project's remote
under the name ``project``, and ``MLOPS_EVIDENTLY_WORKSPACE`` is the path for Evidently's ``Workspace``, which
has no variable of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from mlops.client.plain_dvc import dvc_variables
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.plugins import variables
from mlops.workspace.tools import ToolContext, create

# What would send a run somewhere else than the project's store and experiment.
_ELSEWHERE: Final = (
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
    "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_SERVER_ARTIFACT_ROOT",
)
# MLflow's own workspaces mean something on a server only.
_SERVER_ONLY: Final = ("MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES")
_OURS: Final = (
    variables.BASE_PATH,
    variables.RUN_GROUP,
    variables.DATA,
    variables.COMMAND,
    variables.REPRODUCES,
    variables.RESTORED,
)
# What each tool understands: BentoML nothing but "true", Evidently the common variable.
_NO_TELEMETRY: Final[Mapping[str, str]] = {
    "BENTOML_DO_NOT_TRACK": "true",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True, slots=True)
class ProjectEnvironment:
    """What a process of a project finds in its environment.

    Args:
        variables: What is set; a server's URI is there with the credentials the settings give it.
        removed: What must not be there, because it would lead somewhere else.
    """

    variables: Mapping[str, str]
    removed: tuple[str, ...]

    def over(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return a whole environment for a child process.

        Args:
            environ: What it inherits.
        """
        kept = {name: value for name, value in environ.items() if name not in self.removed}
        return {**kept, **self.variables}


def project_environment(
    context: ToolContext, *, environ: Mapping[str, str] | None = None
) -> ProjectEnvironment:
    """Return a project's environment; no server is contacted and no tool is imported.

    The project's DVC vault and Evidently project are created if they are missing, and a file of DVC settings
    is brought up to date.

    Args:
        context: The project and the settings in force for it.
        environ: What the process inherits, ``os.environ`` by default.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
    """
    workspace = context.workspace
    workspace.require_present(operation="environment")
    inherited = os.environ if environ is None else environ
    # First, so that a project which the code makes there is not taken for this one's.
    create("evidently", context).ensure()
    values = {
        variables.PROJECT: workspace.project_name,
        variables.WORKSPACE: str(workspace.root_path),
        variables.EVIDENTLY: str(workspace.monitoring_path),
        **_mlflow(context),
        "BENTOML_HOME": str(workspace.models_path),
        **dvc_variables(context, inherited),
        **_NO_TELEMETRY,
    }
    if workspace.root_path.name == workspace.project_name:
        values[variables.BASE_PATH] = str(workspace.root_path.parent)
    server = not values["MLFLOW_TRACKING_URI"].startswith(f"{variables.SCHEME}:")
    removed = (*_ELSEWHERE, *_OURS, *(() if server else _SERVER_ONLY))
    return ProjectEnvironment(values, tuple(name for name in removed if name not in values))


def _mlflow(context: ToolContext) -> dict[str, str]:
    tracking = cast("MLflowTracking", create("mlflow", context))
    if tracking.embedded:
        uri = variables.workspace_uri(context.workspace.root_path)
        further: dict[str, str] = {}
    else:
        uri = tracking.uri
        further = {"MLFLOW_EXPERIMENT_NAME": tracking.experiment_name}
        if not uri.startswith(("http:", "https:")):
            # Without it MLflow keeps the artifacts of experiments that code makes in ./mlruns.
            further["_MLFLOW_SERVER_ARTIFACT_ROOT"] = tracking.artifact_root.as_uri()
    return {
        variables.STORE: variables.without_credentials(uri),
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_REGISTRY_URI": uri,
        **further,
    }
