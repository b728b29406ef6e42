"""What a run recorded of itself: its data, code, command, parameters and environment."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import DataNotFoundError, IntegrationError
from mlops.integrations.mlflow_tracking import code_state, provenance
from mlops.integrations.mlflow_tracking.invocation import MASK
from mlops.integrations.mlflow_tracking.recording import DATA_TAG_PREFIX, data_tag

if TYPE_CHECKING:
    from mlops.integrations.dvc_data import DVCData
    from mlops.integrations.mlflow_tracking import MLflowTracking

OPERATION: Final = "reproduce"
# MLflow's own, for runs that nothing else was recorded of.
_PIPELINE_VERSION: Final = "mlops.pipeline_version"
_MLFLOW_COMMIT: Final = "mlflow.source.git.commit"
_MIN_PREFIX: Final = 4


@dataclass(frozen=True, slots=True)
class DataUse:
    """A data version that a run used.

    Args:
        name: The dataset.
        md5: Its hash.
        main: Whether it is the version of that dataset that belongs where the dataset is; of several that one
            run used, the one it recorded last.
    """

    name: str
    md5: str
    main: bool = True


@dataclass(frozen=True, slots=True)
class Recipe:
    """What it takes to do a run again.

    Args:
        run: The run, as ``get_run`` returns it.
        data: The data versions it used.
        unversioned: Datasets that it noted without a version that is stored.
        commit: The commit of its code, or None.
        dirty: Whether its code differed from the commit.
        diff: How; None if that was not kept, or there is no difference.
        command: What it was started with, as a shell takes it, or None.
        directory: Where, relative to the top of the repository.
        environment: The packages it ran with, as a requirements file, or None.
    """

    run: Mapping[str, Any]
    data: tuple[DataUse, ...]
    unversioned: tuple[str, ...]
    commit: str | None
    dirty: bool
    diff: bytes | None
    command: str | None
    directory: str
    environment: str | None

    @property
    def run_id(self) -> str:
        """The run."""
        return str(self.run["run_id"])

    @property
    def python(self) -> str | None:
        """The version of Python it ran with, or None."""
        tags: Mapping[str, str] = self.run["tags"]
        return tags.get(provenance.PYTHON_TAG)


def find_run(tracking: MLflowTracking, run_id: str) -> str | None:
    """Return the id of the run that an id or a unique start of one means; None if the project has none.

    Args:
        tracking: The project's adapter.
        run_id: The id, or at least 4 characters of its start.

    Raises:
        DataNotFoundError: Several runs start like that.
    """
    try:
        return str(tracking.get_run(run_id)["run_id"])
    except DataNotFoundError:
        if len(run_id) < _MIN_PREFIX:
            return None
    found = [r["run_id"] for r in tracking.list_runs(limit=None) if r["run_id"].startswith(run_id)]
    if len(found) > 1:
        raise DataNotFoundError(
            f"{run_id!r} fits {len(found)} runs of {tracking.project}: {', '.join(sorted(found)[:5])}",
            tool=tracking.tool,
            operation=OPERATION,
            workspace=tracking.project,
            hint="give more characters of the one you mean",
        )
    return str(found[0]) if found else None


def read_recipe(tracking: MLflowTracking, data: DVCData, run_id: str) -> Recipe:
    """Return what a run recorded.

    Args:
        tracking: The project's adapter of MLflow.
        data: The project's adapter of DVC.
        run_id: The run.

    Raises:
        DataNotFoundError: The project has no such run.
    """
    run = tracking.get_run(run_id)
    tags: Mapping[str, str] = run["tags"]
    uses, unversioned = _data(tracking, data, run)
    environment = provenance.read(tracking, run, provenance.ENVIRONMENT_TAG)
    return Recipe(
        run=run,
        data=uses,
        unversioned=unversioned,
        commit=tags.get(code_state.COMMIT_TAG) or tags.get(_MLFLOW_COMMIT),
        dirty=tags.get(code_state.DIRTY_TAG) == "true",
        diff=provenance.read(tracking, run, provenance.DIFF_TAG),
        command=tags.get(provenance.COMMAND_TAG) or _saved_pipeline(run),
        directory=tags.get(provenance.DIRECTORY_TAG, "."),
        environment=None if environment is None else environment.decode("utf-8", "replace"),
    )


def choose_rerun(recipe: Recipe, *, checkout: bool, rerun: bool | None, project: str) -> str | None:
    """Return the command that does the run again, or None if it is not to be run.

    Args:
        recipe: What the run recorded.
        checkout: Whether its code is checked out.
        rerun: True to insist, False for no, None to run if there is code and a command.
        project: The project, for errors.

    Raises:
        IntegrationError: It was insisted on, and there is no command, or a secret was left out of it.
    """
    if rerun is False or (rerun is None and not checkout):
        return None
    if recipe.command is None:
        problem = "recorded no command: it was started in an interactive session, or before commands were"
        hint = "go on by hand in the directory, with rerun=False (--no-rerun)"
    elif any(MASK in argument for argument in shlex.split(recipe.command)):
        problem = f"was started with a secret, which is not kept: {recipe.command}"
        hint = "go on by hand in the directory, with rerun=False (--no-rerun), and give the secret again"
    else:
        return recipe.command
    if rerun is None:
        return None
    raise IntegrationError(
        f"Run {recipe.run_id} {problem}",
        tool="mlflow",
        operation=OPERATION,
        workspace=project,
        hint=hint,
    )


def _saved_pipeline(run: Mapping[str, Any]) -> str | None:
    """Return the command that runs the saved version of a pipeline again, of a run that recorded none."""
    name, version = run["pipeline_name"], run["tags"].get(_PIPELINE_VERSION)
    if not name or not version or "+" in version:
        # Without a version, or changed since one was saved, its code is nowhere.
        return None
    return shlex.join(["mlops", "pipeline", "run", name, "--version", version, "--like", run["run_id"]])


def _data(
    tracking: MLflowTracking, data: DVCData, run: Mapping[str, Any]
) -> tuple[tuple[DataUse, ...], tuple[str, ...]]:
    tagged = {k: str(v) for k, v in run["tags"].items() if k.startswith(DATA_TAG_PREFIX)}
    found: dict[tuple[str, str], None] = {}
    unversioned: dict[str, None] = {}
    for use in tracking.datasets(run["run_id"]):
        md5 = use["source"].get("md5")
        if md5:
            found[str(use["source"].get("name") or use["name"]), str(md5)] = None
        elif tagged.get(data_tag(use["name"])) != use["digest"]:
            unversioned[str(use["name"])] = None
    covered = {(data_tag(name), md5) for name, md5 in found}
    # A tag has the dataset's name with some characters replaced; the versions that are known have it whole.
    names = {(data_tag(each.name), each.md5): each.name for each in data.history()}
    for key, md5 in tagged.items():
        if (key, md5) not in covered:
            found[names.get((key, md5), key.removeprefix(DATA_TAG_PREFIX)), md5] = None
    counts: dict[str, int] = {}
    for name, _ in found:
        counts[name] = counts.get(name, 0) + 1
    uses = tuple(
        DataUse(name, md5, main=counts[name] == 1 or tagged.get(data_tag(name)) == md5) for name, md5 in found
    )
    return uses, tuple(unversioned)
