"""A directory with what a run had: its data versions, parameters, environment and code."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ConfirmationRequiredError
from mlops.files import write_atomic
from mlops.lineage import worktree
from mlops.lineage.recipe import OPERATION, DataUse, Recipe
from mlops.lineage.reproduction import RestoredData, RunCode

if TYPE_CHECKING:
    from mlops.integrations.dvc_data import DataVersion, DVCData

CODE: Final = "code"
DATA: Final = "data"
PARAMS: Final = "params.json"
RUN: Final = "run.json"
ENVIRONMENT: Final = "environment.txt"
DIFF: Final = "code.diff"
README: Final = "README.txt"
OUTPUT: Final = "output.log"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a data version goes.

    Args:
        use: The version.
        path: Its place.
        home: Where the code looks for it, relative to the top of the repository; None if that is elsewhere.
        in_code: Whether it goes there, in the worktree.
    """

    use: DataUse
    path: Path
    home: PurePosixPath | None
    in_code: bool


@contextlib.contextmanager
def fresh_directory(directory: Path, *, force: bool, project: str) -> Iterator[None]:
    """Make a directory ready to be filled; if that fails half way, one that was made here is gone again.

    Args:
        directory: The directory.
        force: Write into one that has something in it; an earlier worktree in it is removed.
        project: The project, for errors.

    Raises:
        ConfirmationRequiredError: It has something in it.
    """
    present = directory.exists()
    if present and (not directory.is_dir() or any(directory.iterdir())):
        if not force or not directory.is_dir():
            raise ConfirmationRequiredError(
                f"{directory} is not empty",
                operation=OPERATION,
                workspace=project,
                hint="name another directory (--into), or write over what is there with force=True (--force)",
            )
        worktree.remove(directory / CODE, project=project)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        worktree.remove(directory / CODE, project=project)
        if not present:
            shutil.rmtree(directory)
        raise


def place_data(
    recipe: Recipe, data: DVCData, directory: Path, *, code: RunCode, workspace: Path
) -> list[Placement]:
    """Decide where the data versions of a run go.

    A dataset of the repository goes where it is in it, if the code is checked out; everything else below
    ``data``.

    Args:
        recipe: What the run recorded.
        data: The project's adapter of DVC.
        directory: The directory of the reproduction.
        code: The run's code.
        workspace: The workspace's directory; what is in it is no part of the code.
    """
    sources = {version.name: version.path for version in data.history()}
    placed: list[Placement] = []
    taken: set[Path] = set()
    for use in recipe.data:
        source = sources.get(use.name)
        home = None
        if code.repository is not None and source is not None and use.main:
            home = _in_repository(source, code.repository, workspace)
        in_code = code.worktree is not None and home is not None
        path = directory / (
            PurePosixPath(CODE) / home if in_code and home else PurePosixPath(DATA) / _name(use)
        )
        if path in taken:
            path = path.with_name(f"{path.name}@{use.md5[:8]}")
        taken.add(path)
        placed.append(Placement(use, path, home, in_code))
    return placed


def pull(data: DVCData, placed: list[Placement], *, force: bool) -> list[tuple[Path, DataVersion]]:
    """Restore data versions, and return them with their places.

    Args:
        data: The project's adapter of DVC.
        placed: What goes where.
        force: Replace what is there; what git has at a place of the worktree is always replaced.

    Raises:
        DataIntegrityError: A version's data is nowhere any more.
        ConfirmationRequiredError: Something else is there.
    """
    restored = []
    # The main version of a dataset last: it is the one that its name stands for.
    for each in sorted(placed, key=lambda item: item.use.main):
        if each.in_code and each.home is not None:
            _keep_inside(each.path, each.home)
        version = data.pull(version=each.use.md5, destination=each.path, force=force or each.in_code)[0]
        restored.append((each.path, replace(version, name=each.use.name)))
    return restored


def write_records(recipe: Recipe, directory: Path, *, instructions: str, project: str) -> None:
    """Write what the run recorded, and a text that says how to go on by hand.

    Args:
        recipe: What the run recorded.
        directory: The directory.
        instructions: What to type.
        project: The project.
    """
    write_atomic(directory / PARAMS, _json(recipe.run["params"]))
    write_atomic(directory / RUN, _json(recipe.run))
    if recipe.environment is not None:
        write_atomic(directory / ENVIRONMENT, recipe.environment)
    if recipe.diff:
        write_atomic(directory / DIFF, recipe.diff)
    head = f"The run {recipe.run_id} ({recipe.run['run_name']}) of the project {project}.\n\n"
    parts = f"{PARAMS}, {RUN}: what it recorded; {DATA}/ or {CODE}/: the exact data versions it used.\n\n"
    write_atomic(directory / README, f"{head}{parts}To go on by hand:\n\n{instructions}\n")


def instructions(
    recipe: Recipe, code: RunCode, placed: list[Placement], directory: Path, *, run_with: str
) -> str:
    """Return the commands that go on by hand, with a remark before each group.

    Args:
        recipe: What the run recorded.
        code: What is known of its code, and whether it is checked out.
        placed: Where its data is.
        directory: The directory of the reproduction.
        run_with: What to put before a command so that it runs in the project.
    """
    lines = [f"cd {shlex.quote(str(directory))}"]
    repository = shlex.quote(str(code.repository)) if code.repository else "REPOSITORY"
    if recipe.commit is None:
        lines.append("# The run was in no git repository: its code is where you know it from.")
    elif code.worktree is None:
        lines += ["# The code", f'git -C {repository} worktree add --detach "$PWD/{CODE}" {recipe.commit}']
        if recipe.diff:
            lines.append(f'git -C {CODE} apply "$PWD/{DIFF}"')
    if recipe.environment is not None:
        version = ".".join((recipe.python or "3").split(".")[:2])
        lines += [
            f"# The environment{f', Python {recipe.python}' if recipe.python else ''}",
            f"python{version} -m venv venv && . venv/bin/activate && pip install -r {ENVIRONMENT}",
        ]
    outside = [each for each in placed if not each.in_code]
    if outside:
        lines.append("# The data, where the code looks for it")
        lines += [_copy(each, directory) for each in outside]
    if recipe.command is not None:
        change = (
            f"cd {shlex.quote(f'{CODE}/{recipe.directory}'.removesuffix('/.'))} && " if recipe.commit else ""
        )
        lines += ["# The run", f"({change}{run_with} -- {recipe.command})"]
    if recipe.commit is not None:
        lines += ["# When you are done", f'git -C {repository} worktree remove --force "$PWD/{CODE}"']
    return "\n".join(lines)


def notes(
    recipe: Recipe, code: RunCode, placed: list[Placement], data: DVCData, *, ran: bool
) -> Iterator[str]:
    """Yield what a person should know who relies on the reproduction.

    Args:
        recipe: What the run recorded.
        code: Its code.
        placed: Where its data is.
        data: The project's adapter of DVC.
        ran: Whether the command was run again.
    """
    if recipe.commit is None:
        yield "The run recorded no commit: its code was in no git repository."
    elif recipe.dirty and recipe.diff is None:
        yield "The code differed from the commit, and how was not kept: it was too much, or is lost."
    elif recipe.dirty:
        where = "is applied to the checkout" if code.patched else f"is in {DIFF}"
        yield f"The code differed from the commit; the difference {where}."
    if code.worktree is not None and (code.worktree / ".gitmodules").exists():
        yield f"The code has submodules; get them with: git -C {code.worktree} submodule update --init"
    if recipe.environment is None:
        yield "The run recorded no environment."
    if recipe.command is None:
        yield "The run recorded no command."
    for name in recipe.unversioned:
        yield f"The dataset {name} was noted by MLflow only; no version of it is stored."
    if ran:
        yield from _read_elsewhere(placed, data)


def _read_elsewhere(placed: list[Placement], data: DVCData) -> Iterator[str]:
    """Yield the data that the command finds where it always was, and whether that is the version it had."""
    present = {status.name: status for status in data.status()}
    for each in placed:
        status = present.get(each.use.name)
        if each.in_code or not each.use.main or status is None:
            continue
        if status.on_disk == each.use.md5:
            yield f"The command reads {each.use.name} from {status.path}, which has the run's version."
        else:
            yield (
                f"The command may read {each.use.name} from {status.path},"
                " which does not have the version that the run used."
            )


def restored(placed: list[Placement]) -> tuple[RestoredData, ...]:
    """Return placements as the account of a reproduction has them."""
    return tuple(RestoredData(each.use.name, each.use.md5, each.path) for each in placed)


def _keep_inside(path: Path, home: PurePosixPath) -> None:
    """Remove a link of the worktree on the way to a dataset if it leads out, to what is somebody else's."""
    tree = path.parents[len(home.parts) - 1]
    step = tree
    for part in home.parts:
        step = step / part
        if step.is_symlink() and not step.resolve().is_relative_to(tree.resolve()):
            step.unlink()
            return


def _copy(placed: Placement, directory: Path) -> str:
    source = shlex.quote(str(placed.path.relative_to(directory)))
    if placed.home is None:
        return f"# {placed.use.name} is in {source}"
    home = PurePosixPath(CODE) / placed.home
    return f"mkdir -p {shlex.quote(str(home.parent))} && cp -R {source} {shlex.quote(str(home))}"


def _in_repository(source: Path, repository: Path, workspace: Path) -> PurePosixPath | None:
    root = repository.resolve()
    if not source.is_relative_to(root) or source.is_relative_to(workspace.resolve()):
        return None
    return PurePosixPath(source.relative_to(root).as_posix())


def _name(use: DataUse) -> PurePosixPath:
    anchor, separator, rest = use.name.partition(":")
    if separator and anchor == "external":
        rest = rest.rpartition("/")[2]
    path = PurePosixPath(rest if separator and anchor in ("external", "workspace") else use.name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        # Names come from the store, which others may write to.
        path = PurePosixPath(use.md5)
    return path if use.main else path.with_name(f"{path.name}@{use.md5[:8]}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
