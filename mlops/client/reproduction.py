"""The verb that does a run again: restore what it had, run its command, compare what comes out."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.client.session import ProjectSession
from mlops.errors import ConfigError, IntegrationError
from mlops.files import write_atomic
from mlops.lineage.reproduction import (
    DEFAULT_TOLERANCE,
    MetricComparison,
    Reproduction,
    Rerun,
    RunCode,
    compare_environments,
    compare_metrics,
)
from mlops.workspace import links
from mlops.workspace.tools import Link

if TYPE_CHECKING:
    from mlops.integrations.dvc_data import DataVersion
    from mlops.lineage.recipe import Recipe
    from mlops.lineage.restoring import Placement

RESULT: Final = "reproduction.json"


class ReproductionVerbs(ProjectSession):
    """What brings a result back."""

    def reproduce(
        self,
        run_id: str,
        *,
        directory: Path | str | None = None,
        checkout: bool = False,
        rerun: bool | None = None,
        tolerance: float = DEFAULT_TOLERANCE,
        force: bool = False,
    ) -> Reproduction:
        """Restore what a run had, and on request run it again and compare.

        The data versions, parameters and environment of the run are written into a directory, with the
        commands to go on by hand. With ``checkout`` the directory also gets the run's code, as a git worktree
        of its own: the user's files and index stay as they are. The command is run there, with the restored
        data; what it records lands in this project, tagged ``mlops.reproduces``. Its packages are those that
        are installed here: how they differ from the run's is told, not changed.

        Args:
            run_id: The run.
            directory: Where to; ``outputs/reproduce/<run_id>`` in the workspace by default.
            checkout: Check the run's commit out, and apply what it had changed.
            rerun: True to run the command, which implies ``checkout``; False not to; by default it is run if
                the code is checked out and a command was recorded.
            tolerance: How much a final metric may differ, relative to the larger of both, and absolutely
                around zero.
            force: Write into a directory that is not empty.

        Raises:
            DataNotFoundError: The project has no such run.
            DataIntegrityError: A data version is stored nowhere any more.
            ConfirmationRequiredError: The directory is not empty.
            IntegrationError: There is no such commit here, or no command to run.
            ConfigError: The tolerance is no number of at least 0.
        """
        from mlops.lineage import restoring
        from mlops.lineage.recipe import OPERATION, choose_rerun, read_recipe

        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise ConfigError(
                f"tolerance must be a number of at least 0, not {tolerance!r}",
                operation=OPERATION,
                workspace=self.project_name,
                hint="pass tolerance=1e-6, say",
            )
        recipe = read_recipe(self.tracking, self.data, run_id)
        checkout = checkout or rerun is True
        command = choose_rerun(recipe, checkout=checkout, rerun=rerun, project=self.project_name)
        target = self.reproduction_directory(run_id) if directory is None else Path(directory).absolute()
        code = self._code(recipe, target, checkout=checkout)
        placed = restoring.place_data(recipe, self.data, target, code=code, workspace=self.workspace_path)
        code = replace(
            code,
            instructions=restoring.instructions(
                recipe, code, placed, target, run_with=f"mlops{self._base_option()} run {self.project_name}"
            ),
        )
        with restoring.fresh_directory(target, force=force, project=self.project_name):
            versions = self._restore(recipe, code, placed, target, force=force)
        done = None
        if command is not None:
            done = self._run_again(recipe, command, code, versions, target)
        result = self._account(recipe, code, placed, target, done, tolerance)
        write_atomic(target / RESULT, json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        return result

    def reproduction_directory(self, run_id: str) -> Path:
        """Return where ``reproduce`` puts a run by default.

        Args:
            run_id: The run.
        """
        return self.workspace.outputs_path / "reproduce" / run_id

    def _base_option(self) -> str:
        # Another checkout of the repository would be taken for another base.
        base, name = self.workspace_path.parent, self.workspace_path.name
        return f" --base-path {shlex.quote(str(base))}" if name == self.project_name else ""

    def _code(self, recipe: Recipe, target: Path, *, checkout: bool) -> RunCode:
        from mlops.lineage import restoring, worktree
        from mlops.lineage.recipe import OPERATION

        if recipe.commit is None:
            if checkout:
                raise IntegrationError(
                    f"Run {recipe.run_id} recorded no commit, because its code was in no git repository",
                    tool=worktree.TOOL,
                    operation=OPERATION,
                    workspace=self.project_name,
                    hint="leave checkout and rerun out (--checkout, --rerun), and follow the README",
                )
            return RunCode(None, recipe.dirty, None, None, False, "")
        places = (Path.cwd(), self.workspace_path)
        if not checkout:
            repository = worktree.repository_with(recipe.commit, places)
            return RunCode(recipe.commit, recipe.dirty, repository, None, False, "")
        repository = worktree.find_repository(recipe.commit, places, project=self.project_name)
        tree = target / restoring.CODE
        return RunCode(recipe.commit, recipe.dirty, repository, tree, bool(recipe.diff), "")

    def _restore(
        self, recipe: Recipe, code: RunCode, placed: list[Placement], target: Path, *, force: bool
    ) -> list[tuple[Path, DataVersion]]:
        from mlops.lineage import restoring, worktree

        project = self.project_name
        restoring.write_records(recipe, target, instructions=code.instructions, project=project)
        if code.worktree is not None and code.repository is not None and code.commit is not None:
            worktree.add(code.repository, code.worktree, code.commit, project=project)
            if code.patched:
                worktree.apply(code.worktree, target / restoring.DIFF, project=project)
        return restoring.pull(self.data, placed, force=force)

    def _run_again(
        self,
        recipe: Recipe,
        command: str,
        code: RunCode,
        versions: list[tuple[Path, DataVersion]],
        target: Path,
    ) -> Rerun | None:
        from mlops.client.rerun import run_again
        from mlops.lineage import restoring, worktree

        if code.worktree is None or code.repository is None:
            return None
        done = run_again(
            self,
            recipe,
            command,
            code=code.worktree,
            output=target / restoring.OUTPUT,
            versions=versions,
            imports=worktree.import_paths(code.repository, code.worktree),
        )
        if done.run_id is not None:
            link = Link(f"run:{recipe.run_id}", f"run:{done.run_id}", links.REPRODUCED_BY)
            links.record(self.workspace, [link], operation="reproduce")
        return done

    def _account(
        self,
        recipe: Recipe,
        code: RunCode,
        placed: list[Placement],
        target: Path,
        done: Rerun | None,
        tolerance: float,
    ) -> Reproduction:
        from mlops.integrations.mlflow_tracking import packages
        from mlops.lineage import restoring

        metrics: tuple[MetricComparison, ...] = ()
        if done is not None and done.run_id is not None:
            reproduced = self.tracking.get_run(done.run_id)["metrics"]
            metrics = compare_metrics(recipe.run["metrics"], reproduced, tolerance=tolerance)
        difference = None
        if recipe.environment is not None:
            python = (recipe.python, packages.python_version())
            difference = compare_environments(recipe.environment, packages.freeze(), python=python)
        return Reproduction(
            project=self.project_name,
            run_id=recipe.run_id,
            directory=target,
            data=restoring.restored(placed),
            params_file=target / restoring.PARAMS,
            environment_file=target / restoring.ENVIRONMENT if recipe.environment is not None else None,
            code=code,
            command=recipe.command,
            rerun=done,
            metrics=metrics,
            environment=difference,
            notes=tuple(restoring.notes(recipe, code, placed, self.data, ran=done is not None)),
        )
