"""Where a project's deployments are served at the moment."""

from __future__ import annotations

from dataclasses import replace

from mlops.integrations.bentoml_serving import starting
from mlops.reporting.facts import ModelsFacts
from mlops.workspace.model import ProjectWorkspace


def with_urls(models: ModelsFacts, workspace: ProjectWorkspace) -> ModelsFacts:
    """Return a project's models with the addresses at which they are served.

    Args:
        models: The models.
        workspace: The project; only its directory is used.
    """
    if not (served := urls_by_tag(workspace)):
        return models
    deployments = [replace(each, urls=served.get(each.tag, ())) for each in models.deployments]
    return replace(models, deployments=tuple(deployments))


def urls_by_tag(workspace: ProjectWorkspace) -> dict[str, tuple[str, ...]]:
    """Return at which addresses each Bento is served, by its tag.

    Args:
        workspace: The project; only its directory is used.
    """
    served: dict[str, tuple[str, ...]] = {}
    for server in starting.running(workspace):
        tag = str(server["tag"])
        served[tag] = (*served.get(tag, ()), str(server["url"]))
    return served
