"""From something a training script has in its hand to a packaged model in the project's store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import ModelNotFoundError
from mlops.files import hash_file

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession
    from mlops.integrations.bentoml_serving import Deployment


def deploy(
    client: ProjectSession, model: Any, *, version: str | int | None, name: str | None, build_bento: bool
) -> Deployment:
    """Package a model; see ``MLOpsClient.deploy_model``."""
    directory = _directory(model)
    if directory is not None:
        if not (directory / "MLmodel").is_file():
            raise ModelNotFoundError(
                f"{directory} is not a model in MLflow's format: it has no file MLmodel",
                tool="bentoml",
                operation="deploy_model",
                workspace=client.project_name,
                hint="log the model with client.log_model, or save it with mlflow.<flavour>.save_model",
            )
        # A directory has no version of its own; its MLmodel has the ids and times that identify it.
        return client.serving.deploy(
            directory,
            model=name or directory.name,
            version=str(version or hash_file(directory / "MLmodel")[:12]),
            build_bento=build_bento,
        )
    registered = client.tracking.models.find(model, version=version)
    labels = {
        "mlops.project": client.project_name,
        "mlops.run_id": registered.run_id or "",
        "mlops.model": registered.uri,
        **{key: value for key, value in registered.tags.items() if key.startswith("mlops.data.")},
    }
    return client.serving.deploy(
        client.tracking.models.download(registered),
        model=registered.name,
        version=registered.version or registered.model_id,  # a model that was only logged has no version
        labels=labels,
        build_bento=build_bento,
    )


def _directory(model: Any) -> Path | None:
    if isinstance(model, Path):
        return model.expanduser().absolute()
    if (
        isinstance(model, str)
        and ("/" in model or "\\" in model)
        and "://" not in model
        and ":/" not in model
    ):
        return Path(model).expanduser().absolute()
    return None
