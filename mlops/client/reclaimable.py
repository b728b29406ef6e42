"""What clean-up would free in a project, tool by tool, without doing it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mlops import plain_yaml
from mlops.errors import MLOpsError
from mlops.files import measure_removal
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext, create

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import BentoServing
    from mlops.integrations.bentoml_serving.entries import StoreEntry
    from mlops.integrations.dvc_data import DVCData
    from mlops.integrations.mlflow_tracking import MLflowTracking

_OPERATION: Final = "get_reclaimable"


@dataclass(frozen=True, slots=True)
class Reclaimable:
    """Something that could go.

    Args:
        tool: ``dvc``, ``mlflow``, ``bentoml``, ``evidently``, ``pipelines`` or ``workspaces``.
        what: What it is, in words.
        count: How many there are.
        bytes: What the disk would have free afterwards; what is kept elsewhere by a hard link is not in it.
        how: The command or call that removes it.
        paths: Where it is, for what no command removes.
    """

    tool: str
    what: str
    count: int
    bytes: int
    how: str
    paths: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ReclaimableSpace:
    """All that could go.

    Args:
        rows: What could go, by tool.
        errors: Tool to why it could not be read; what it could free is not known then.
    """

    rows: tuple[Reclaimable, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What all of it would free."""
        return sum(row.bytes for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "bytes": self.bytes,
            "rows": [row.to_dict() for row in self.rows],
            "errors": dict(self.errors),
        }


def reclaimable(context: ToolContext) -> ReclaimableSpace:
    """Return what could go in one project; nothing is changed.

    A server is only asked which models are registered, and what it keeps itself is not counted.

    Args:
        context: The project.
    """
    rows: list[Reclaimable] = []
    errors: dict[str, str] = {}
    for tool, source in _SOURCES.items():
        try:
            rows += [row for row in source(context) if row.count]
        except (MLOpsError, OSError) as error:
            errors[tool] = str(error)
    return ReclaimableSpace(tuple(rows), errors)


def _dvc(context: ToolContext) -> Iterator[Reclaimable]:
    from mlops.integrations.dvc_data.operation import Operation
    from mlops.integrations.dvc_data.remote import locate_remote

    project = context.workspace.project_name
    location = locate_remote(
        context.workspace, context.settings.dvc_remote_path, Operation(_OPERATION, project)
    )
    inside = location.path is not None and location.required is None
    found = cast("DVCData", create("dvc", context)).gc(dry_run=True, remote=inside)
    command = f"mlops data gc --project {project} --yes"
    yield Reclaimable("dvc", "cached data that no version in use needs", found.objects, found.bytes, command)
    yield Reclaimable(
        "dvc",
        "the same in the remote",
        found.remote_objects,
        found.remote_bytes,
        f"{command} --remote",
    )


def _mlflow(context: ToolContext) -> Iterator[Reclaimable]:
    from mlops.integrations.mlflow_tracking import leftovers

    tracking = cast("MLflowTracking", create("mlflow", context))
    found = leftovers.leftovers(tracking, operation=_OPERATION)
    count = len(found.deleted)
    command = leftovers.gc_command(tracking)
    yield _row("mlflow", "deleted runs and logged models", count, found.deleted_paths, command)
    yield _by_hand("mlflow", "artifacts of no run or model", found.orphaned)


def _bentoml(context: ToolContext) -> Iterator[Reclaimable]:
    serving = cast("BentoServing", create("bentoml", context))
    registered = {
        f"{row.name}:{row.version}"
        for row in cast("MLflowTracking", create("mlflow", context)).model_versions()
    }
    used = {tag for bento in serving.bentos() for tag in _models_of(bento)}
    for entry in serving.models():
        if entry.tag not in used | registered and entry.error is None:
            call = f"client.serving.delete({entry.model!r}, {entry.version!r})"
            yield _row("bentoml", f"model {entry.tag}, in no Bento and not registered", 1, [entry.path], call)


def _evidently(context: ToolContext) -> Iterator[Reclaimable]:
    from mlops.integrations.evidently_monitoring import project, retention

    name = context.workspace.project_name
    workspace = ProjectWorkspace.load_metadata(context.workspace.root_path, project_name=name)
    directory = project.project_path(workspace) / project.SNAPSHOTS
    expired = retention.Retention.of(workspace, operation=_OPERATION).expired(directory)
    paths = [path for snapshot in expired for path in retention.files(directory, snapshot)]
    yield _row(
        "evidently",
        "snapshots beyond what retention keeps",
        len(expired),
        paths,
        "the project's next check removes them",
    )


def _pipelines(context: ToolContext) -> Iterator[Reclaimable]:
    from mlops.pipelines.unused import unused

    found = unused(cast("MLflowTracking", create("mlflow", context)), operation=_OPERATION)
    yield _by_hand("pipelines", "stored outputs that no run names", found.outputs)
    yield _by_hand(
        "pipelines",
        "results kept for steps with cache=True, with their outputs",
        (*found.results, *found.only_kept),
        count=len(found.results),
    )


def _models_of(bento: StoreEntry) -> Iterator[str]:
    """Yield the tags of the models that a Bento needs: the one of its own tag, and those it names."""
    from mlops.integrations.bentoml_serving.entries import BENTO_FILE

    yield bento.tag
    if bento.error is None:
        named = plain_yaml.load((bento.path / BENTO_FILE).read_bytes()).get("models") or ()
        yield from (str(model["tag"]) for model in named if isinstance(model, dict))


def _row(tool: str, what: str, count: int, paths: Iterable[Path], how: str) -> Reclaimable:
    return Reclaimable(tool, what, count, measure_removal(paths).bytes, how)


def _by_hand(tool: str, what: str, paths: Sequence[Path], *, count: int | None = None) -> Reclaimable:
    texts = tuple(map(str, paths))
    how = f"rm -r {shlex.quote(texts[0])}" if len(texts) == 1 else "remove the paths that --json lists"
    size = measure_removal(paths).bytes
    return Reclaimable(tool, what, len(texts) if count is None else count, size, how, texts)


_SOURCES: Final[Mapping[str, Callable[[ToolContext], Iterator[Reclaimable]]]] = {
    "dvc": _dvc,
    "mlflow": _mlflow,
    "bentoml": _bentoml,
    "evidently": _evidently,
    "pipelines": _pipelines,
}
