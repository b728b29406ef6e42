"""What MLflow's records say belongs together: data and code with runs, runs with model versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mlops.integrations.mlflow_tracking.provenance import REPRODUCES_TAG
from mlops.integrations.mlflow_tracking.queries import MONITORING_TAG, STEP_TAG, ModelRow, Reader
from mlops.integrations.mlflow_tracking.recording import DATA_TAG_PREFIX
from mlops.integrations.mlflow_tracking.versions import (
    COPIED_FROM,
    COPIED_TO,
    DATA,
    GIT_COMMIT,
    GIT_DIRTY,
    MLFLOW_GIT_COMMIT,
    ModelVersion,
)
from mlops.workspace import links
from mlops.workspace.tools import Link

_SNAPSHOT: Final = "mlops.snapshot"
# On the runs of a pipeline and its steps: ``<name>@<version>``.
DEFINED_BY: Final = "mlops.defined_by"
CAUSED_BY: Final = "mlops.caused_by"
_PARENT: Final = "mlflow.parentRunId"
_TAGS: Final = (
    *(GIT_COMMIT, MLFLOW_GIT_COMMIT, GIT_DIRTY),
    *(_SNAPSHOT, REPRODUCES_TAG, DEFINED_BY, CAUSED_BY, STEP_TAG, MONITORING_TAG, _PARENT),
)


def all_links(reader: Reader) -> Iterator[Link]:
    """Yield every link the project's tracking store and registry know, each once.

    Args:
        reader: The project's records.
    """
    seen = set()
    for run_id, use in reader.datasets(None):
        seen.add((run_id, use["digest"]))
        yield data_link(use["digest"], run_id, name=use["name"], context=use["context"])
    tags: dict[str, dict[str, str]] = {}
    for run_id, key, value in reader.tags(DATA_TAG_PREFIX, *_TAGS):
        tags.setdefault(run_id, {})[key] = value
    for run_id, found in tags.items():
        for key, md5 in found.items():
            # Code that knows nothing of data versions gets only the tag.
            if key.startswith(DATA_TAG_PREFIX) and (run_id, md5) not in seen:
                yield data_link(md5, run_id, name=key.removeprefix(DATA_TAG_PREFIX), context="")
        yield from code_links(run_id, found)
        if pipeline := found.get(DEFINED_BY):
            yield Link(f"pipeline:{pipeline}", f"run:{run_id}", links.DEFINED)
        if STEP_TAG in found and (parent := found.get(_PARENT)):
            yield Link(f"run:{parent}", f"run:{run_id}", links.HAS_STEP)
        if cause := found.get(CAUSED_BY):
            yield Link(cause, f"run:{run_id}", links.STARTED)
        if original := found.get(REPRODUCES_TAG):
            yield Link(f"run:{original}", f"run:{run_id}", links.REPRODUCED_BY)
        # The run that has what checks logged is no part of where they came from.
        if (snapshot := found.get(_SNAPSHOT)) and MONITORING_TAG not in found:
            yield Link(f"run:{run_id}", f"snapshot:{snapshot}", links.CHECKED_BY)
    for row in reader.versions():
        yield from model_links(row)


def data_link(md5: str, run_id: str, *, name: str, context: str) -> Link:
    """Return that a run read a version of a dataset."""
    return Link(f"data:{md5}", f"run:{run_id}", links.INPUT_OF, {"name": name, "context": context})


def code_links(run_id: str, tags: dict[str, str]) -> Iterator[Link]:
    """Yield the commit of the code that a run's tags name, if they do."""
    if commit := tags.get(GIT_COMMIT) or tags.get(MLFLOW_GIT_COMMIT):
        facts = {"dirty": tags[GIT_DIRTY] == "true"} if GIT_DIRTY in tags else {}
        yield Link(f"commit:{commit}", f"run:{run_id}", links.CODE_OF, facts)


def past_of(version: ModelVersion) -> Iterator[Link]:
    """Yield the run, data and code of a model version, from the tags it was given when it was logged."""
    run, tags = version.run_id, dict(version.tags)
    yield Link(f"run:{run}", f"model:{version.full_name}:{version.version}", links.PRODUCED)
    yield from code_links(run, tags)
    for key, digests in tags.items():
        if key.startswith(DATA):
            for md5 in digests.split(","):
                yield data_link(md5, run, name=key.removeprefix(DATA), context="")


def model_links(row: ModelRow) -> Iterator[Link]:
    """Yield the run of a model version, and the copies it came from or went to."""
    model = f"model:{row.name}:{row.version}"
    if row.run_id:
        yield Link(f"run:{row.run_id}", model, links.PRODUCED)
    if origin := row.tags.get(COPIED_FROM):
        yield Link(origin, model, links.COPIED_TO)
    for key, copy in row.tags.items():
        if key.startswith(COPIED_TO):
            yield Link(model, copy, links.COPIED_TO)
