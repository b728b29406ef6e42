"""What the labels of a packaged model say of where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mlops.integrations.bentoml_serving.entries import StoreEntry
from mlops.workspace.links import CODE_OF, INPUT_OF, PACKAGED_AS, PRODUCED
from mlops.workspace.tools import Link

# The first is this library's; the others are what people write by hand.
_RUN_LABELS: Final = ("run_id", "mlops.run_id", "mlflow_run_id")
_DATA: Final = "data."
# Of the Bento of a user's service: a hash of all that went into it, and the tag of each of its models.
SOURCE_LABEL: Final = "mlops.source"
MODEL_LABEL: Final = "mlops.model."


def links_of(tag: str, labels: Mapping[str, str], *, bento: str | None) -> Iterator[Link]:
    """Yield the run, data and code of a packaged model, and the Bento it is served as.

    Args:
        tag: ``<project>.<model>:<version>``.
        labels: The Bento model's labels.
        bento: Tag of the Bento, or None without one.
    """
    model = f"model:{tag}"
    run = next((f"run:{labels[key]}" for key in _RUN_LABELS if labels.get(key)), None)
    if run:
        yield Link(run, model, PRODUCED)
    made = run or model
    for key, digests in labels.items():
        if key.startswith(_DATA):
            name = key.removeprefix(_DATA)
            yield from (Link(f"data:{md5}", made, INPUT_OF, {"name": name}) for md5 in digests.split(","))
    if commit := labels.get("git_commit"):
        facts = {"dirty": labels["git_dirty"] == "true"} if "git_dirty" in labels else {}
        yield Link(f"commit:{commit}", made, CODE_OF, facts)
    if bento:
        yield Link(model, f"bento:{bento}", PACKAGED_AS)


def is_user_service(entry: StoreEntry) -> bool:
    """Say whether a stored Bento is a service of the user's own."""
    return entry.kind == "bento" and SOURCE_LABEL in entry.labels


def service_links(tag: str, labels: Mapping[str, str]) -> Iterator[Link]:
    """Yield the models that the Bento of a service packages.

    Args:
        tag: The Bento's tag.
        labels: Its labels.
    """
    for key, model in labels.items():
        if key.startswith(MODEL_LABEL):
            yield Link(f"model:{model}", f"bento:{tag}", PACKAGED_AS)
