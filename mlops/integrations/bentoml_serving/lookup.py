"""Finding one stored model by what people call it: exactly, never by a prefix of its version."""

from __future__ import annotations

from typing import Final

from mlops import names
from mlops.errors import IntegrationError, ModelNotFoundError
from mlops.integrations.bentoml_serving.entries import StoreEntry
from mlops.integrations.bentoml_serving.store import BentoStore

# As many tags as an error message names.
SHOWN_TAGS: Final = 10


def resolve(store: BentoStore, target: str, version: str | None, operation: str) -> StoreEntry:
    """Return the model that a tag, or a name and a version, stands for.

    Args:
        store: The project's store.
        target: A tag, or a model's name, with or without the project's prefix.
        version: The version; None for the tag's, or else for the one that was stored last.
        operation: The calling method, for the error.

    Returns:
        The model, or a Bento whose model is gone; either may be damaged.

    Raises:
        ModelNotFoundError: It is not there; the message lists what is.
        IntegrationError: The tag and the version contradict each other.
        InvalidModelNameError: The name or version breaks the naming rule.
    """
    project = store.workspace.project_name
    name, colon, tagged = str(target).partition(":")
    if colon and version not in (None, tagged):
        raise IntegrationError(
            f"{target!r} names another version than {version!r}",
            tool="bentoml",
            operation=operation,
            workspace=project,
            hint="give the version once",
        )
    version = tagged if colon else version
    short = name.removeprefix(store.prefix)
    names.validate_model_name(short, project=project, operation=operation)
    if version is not None:
        version = names.validate_version(version, project=project, operation=operation)
    known: set[str] = set()
    for kind in ("model", "bento"):
        if version is not None:
            for candidate in dict.fromkeys((short, name)):
                if (entry := store.find(kind, candidate, version)) is not None:
                    return entry
        entries = [*store.entries(kind)]
        # The whole name is compared too: it may have the prefix of before the project was renamed.
        same = [e for e in entries if e.model in (short, name) or e.path.parent.name == name]
        if version is not None:
            same = [e for e in same if e.version == version]
        if dated := [(e.created_at, e.tag, e) for e in same if e.created_at]:
            return max(dated, key=lambda item: item[:2])[2]
        if same:
            return same[-1]
        known |= {entry.tag for entry in entries}
    wanted = name if version is None else f"{name}:{version}"
    tags = sorted(known)
    more = f" and {len(tags) - SHOWN_TAGS} more" if len(tags) > SHOWN_TAGS else ""
    raise ModelNotFoundError(
        f"The project {project!r} has no deployed model {wanted!r}; "
        f"it has: {', '.join(tags[:SHOWN_TAGS]) or 'none'}{more}",
        tool="bentoml",
        operation=operation,
        workspace=project,
        details={"existing": tags},
        hint=f"package it with client.deploy_model({short!r}"
        f"{'' if version is None else f', version={version!r}'}), or use one of the tags listed",
    )
