"""What a project's BentoML store holds: models and Bentos, and which of them nobody registered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mlops import names, plain_yaml
from mlops.errors import IntegrationUnavailableError
from mlops.integrations.bentoml_serving import entries
from mlops.integrations.bentoml_serving.entries import StoreEntry
from mlops.integrations.bentoml_serving.lineage import is_user_service, service_links
from mlops.integrations.bentoml_serving.store import BentoStore
from mlops.reporting.facts import DeploymentFacts, Gap
from mlops.reporting.reading.tracking import Tracked
from mlops.workspace.tools import ToolContext, ToolState

# The parts of a Bento's file that say what it is; the rest, mostly its service's schema, is much longer.
_HEAD: Final = re.compile(rb"^(?:name|version|creation_time|labels):.*\n(?:[ \t-].*\n|\n)*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Packaged:
    """What a store holds.

    Args:
        bento_models: Number of stored Bento models that can be read.
        deployments: The Bentos that can be read, newest first.
        gaps: The Bentos that belong to no registered version.
        damaged: What is wrong with the entries that cannot be read.
    """

    bento_models: int = 0
    deployments: tuple[DeploymentFacts, ...] = ()
    gaps: tuple[Gap, ...] = ()
    damaged: tuple[str, ...] = ()


def read(context: ToolContext, tracked: Tracked | None) -> Packaged:
    """Return what the store holds.

    Args:
        context: The project.
        tracked: What the tracking store holds; None if that is not known, so that nothing is missing there.
    """
    store = _store(context)
    models, bentos = (
        list(entries.scan(store.root(kind), kind=kind, prefix=store.prefix, load=head))
        for kind in ("model", "bento")
    )
    production = {} if tracked is None else tracked.production
    deployments = [
        DeploymentFacts(
            entry.model,
            entry.version,
            entry.tag,
            entry.created_at,
            production=production.get(entry.model) == entry.version,
        )
        for entry in bentos
        if not entry.error
    ]
    # The tags are in order, and sorting keeps that among equals.
    deployments.sort(key=lambda each: each.created_at.timestamp() if each.created_at else 0.0, reverse=True)
    return Packaged(
        sum(not entry.error for entry in models),
        tuple(deployments),
        () if tracked is None else tuple(_gaps(bentos, tracked, store.prefix)),
        tuple(entry.error for entry in (*models, *bentos) if entry.error),
    )


def state(context: ToolContext) -> ToolState:
    """Say whether the store is there.

    Raises:
        IntegrationUnavailableError: Something else is in its place.
    """
    store = _store(context)
    if problem := store.problem():
        raise IntegrationUnavailableError(
            problem,
            tool="bentoml",
            operation="collect",
            workspace=context.workspace.project_name,
            hint="move it away, or restore the directory",
        )
    return ToolState.READY if store.root("model").is_dir() else ToolState.NOT_CREATED


def _store(context: ToolContext) -> BentoStore:
    prefix = context.settings.bentoml_tag_prefix
    return BentoStore(
        context.workspace,
        prefix=prefix or names.default_tag_prefix(context.workspace.project_name),
        lock_timeout=context.settings.lock_timeout,
    )


def _gaps(bentos: list[StoreEntry], tracked: Tracked, prefix: str) -> Iterator[Gap]:
    for entry in bentos:
        if entry.error:
            continue
        if is_user_service(entry):
            tags = [link.source.removeprefix("model:") for link in service_links(entry.tag, entry.labels)]
            used = [tag.removeprefix(prefix).rpartition(":") for tag in tags]
            wanted = {(model, version) for model, _, version in used}
        else:
            wanted = {(entry.model, entry.version)}
        if wanted - tracked.versions:
            yield Gap(f"bento:{entry.tag}", "model")


def head(text: bytes) -> Any:
    """Return what an entry's file says of the entry; all of it must be valid YAML nevertheless."""
    import yaml

    if text.startswith(b"{"):
        try:
            # As this library writes it; JSON is read many times faster than YAML.
            return json.loads(text)
        except ValueError:
            return plain_yaml.load(text)
    try:
        from yaml._yaml import CParser

        CParser(text).raw_parse()
        return plain_yaml.load(b"".join(_HEAD.findall(text)))
    except (ImportError, yaml.YAMLError):
        # Without LibYAML; or written in another way; or damaged, which this then says.
        return plain_yaml.load(text)
