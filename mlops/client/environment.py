"""The environment in which code that knows nothing of projects works in one: for a child process or a shell.

Plain MLflow logs into the project, plain BentoML keeps its models there, plain DVC finds the project's remote
under the name ``project``, and ``MLOPS_EVIDENTLY_WORKSPACE`` is the path for Evidently's ``Workspace``, which
has no variable of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from mlops import names
from mlops.files import write_atomic
from mlops.integrations.dvc_data.operation import Operation
from mlops.integrations.dvc_data.remote import locate_remote
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
_OURS: Final = (variables.BASE_PATH, variables.RUN_GROUP, variables.DATA)
# What each tool understands: BentoML nothing but "true", Evidently the common variable.
_NO_TELEMETRY: Final[Mapping[str, str]] = {
    "BENTOML_DO_NOT_TRACK": "true",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_DVC_SETTINGS: Final = "plain-dvc"


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

    The project's DVC vault is created if it is missing, and a file of DVC settings in it brought up to date.

    Args:
        context: The project and the settings in force for it.
        environ: What the process inherits, ``os.environ`` by default.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
    """
    workspace = context.workspace
    workspace.require_present(operation="environment")
    inherited = os.environ if environ is None else environ
    values = {
        variables.PROJECT: workspace.project_name,
        variables.WORKSPACE: str(workspace.root_path),
        variables.EVIDENTLY: str(workspace.monitoring_path),
        **_mlflow(context),
        "BENTOML_HOME": str(workspace.models_path),
        **_dvc(context, inherited),
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


def _dvc(context: ToolContext, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of plain DVC, after writing the settings they lead to.

    DVC reads a system-wide, a user-wide and a repository's own file, where a later one wins. The project's
    takes the place of the user-wide one, and the user's that of the system-wide one.
    """
    workspace = context.workspace
    create("dvc", context).ensure()
    remote = locate_remote(
        workspace, context.settings.dvc_remote_path, Operation("environment", workspace.project_name)
    )
    temporary = workspace.dvc_path / ".dvc" / "tmp"
    directory = temporary / _DVC_SETTINGS
    inside = remote.path is not None and remote.required is None
    # Relative to the file, so that a copy of the workspace never leads to the original.
    url = os.path.relpath(remote.public, directory) if inside else remote.public
    lines = [
        "[core]",
        f"    remote = {names.DVC_REMOTE}",
        "    analytics = false",
        "    check_update = false",
        f"['remote \"{names.DVC_REMOTE}\"']",
        f'    url = "{url}"',
        "    verify = true",
        "",
    ]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "config"
    text = "\n".join(lines)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
    return {
        "DVC_GLOBAL_CONFIG_DIR": str(directory),
        "DVC_SYSTEM_CONFIG_DIR": str(_users_dvc_settings(inherited)),
        "DVC_SITE_CACHE_DIR": str(temporary / "site"),
    }


def _users_dvc_settings(inherited: Mapping[str, str]) -> Path:
    from platformdirs import user_config_path

    if inherited.get(variables.PROJECT) and inherited.get("DVC_SYSTEM_CONFIG_DIR"):
        # Inside another project's environment the user-wide place is that project's.
        return Path(inherited["DVC_SYSTEM_CONFIG_DIR"])
    return Path(inherited.get("DVC_GLOBAL_CONFIG_DIR") or user_config_path("dvc", "iterative"))
