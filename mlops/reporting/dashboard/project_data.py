"""The data versions and the pipelines of a project, each with its latest history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlops.pipelines import catalogue
from mlops.pipelines.recording import VERSION_TAG
from mlops.pipelines.versions import VersionStore

if TYPE_CHECKING:
    from mlops.integrations.dvc_data import DataVersion, DVCData
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.pipelines.versions import PipelineVersion

# Of a long history the page shows the latest part and says how much more there is.
SHOWN_VERSIONS: Final = 20
SHOWN_RUNS: Final = 5


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset.

    Args:
        name: Its name.
        versions: Its latest versions, newest first.
        total: How many different versions there are.
        unpushed: How many of them the remote is not known to hold.
    """

    name: str
    versions: tuple[DataVersion, ...]
    total: int
    unpushed: int


@dataclass(frozen=True, slots=True)
class PipelineView:
    """One pipeline.

    Args:
        name: Its name.
        versions: Its latest saved versions, newest first.
        total: How many versions there are.
        runs: Its latest runs, newest first.
    """

    name: str
    versions: tuple[PipelineVersion, ...]
    total: int
    runs: tuple[Mapping[str, Any], ...]

    def ran(self, run: Mapping[str, Any]) -> str | None:
        """Return the version that one of the runs was of, or None."""
        version: str | None = run["tags"].get(VERSION_TAG)
        return version


def datasets(data: DVCData) -> tuple[Dataset, ...]:
    """Return the project's datasets, sorted by name.

    Args:
        data: The project's adapter.
    """
    by_name: dict[str, dict[str, DataVersion]] = {}
    for version in data.history():
        versions = by_name.setdefault(version.name, {})
        # One that was added again is the newest again.
        versions.pop(version.md5, None)
        versions[version.md5] = version
    return tuple(_dataset(name, [*by_name[name].values()][::-1]) for name in sorted(by_name))


def pipelines(tracking: MLflowTracking) -> tuple[PipelineView, ...]:
    """Return the project's pipelines, sorted by name.

    Args:
        tracking: The project's adapter.
    """
    workspace = tracking.context.workspace
    store = VersionStore(workspace)
    found = []
    for name in catalogue.names(workspace):
        versions = store.list(name)[::-1]
        runs = tracking.list_runs(pipeline_name=name, limit=SHOWN_RUNS, steps=False)
        found.append(PipelineView(name, tuple(versions[:SHOWN_RUNS]), len(versions), tuple(runs)))
    return tuple(found)


def _dataset(name: str, newest_first: Sequence[DataVersion]) -> Dataset:
    unpushed = sum(not version.pushed for version in newest_first)
    return Dataset(name, tuple(newest_first[:SHOWN_VERSIONS]), len(newest_first), unpushed)
