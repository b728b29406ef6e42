"""``mlops schedule``."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.cli import stopping
from mlops.cli.arguments import Project, Projects
from mlops.cli.output import JsonOption, manager_of, print_json, print_table, say
from mlops.errors import ScheduleError
from mlops.plurals import counted

if TYPE_CHECKING:
    from mlops.scheduling.history import JobRun
    from mlops.scheduling.scheduler import PipelineScheduler

app = typer.Typer()
schedule = typer.Typer(no_args_is_help=True)
app.add_typer(schedule, name="schedule")

_Name = Annotated[str, typer.Argument(help="The schedule's name.")]
_Directory = Annotated[
    Path | None,
    typer.Option(help="Where the modules that schedules name are found.", show_default="here"),
]


# The command of this environment: what runs an exported schedule has no PATH of a person.
_COMMAND = str(Path(sys.executable).with_name("mlops"))


class Format(StrEnum):
    """What an exported schedule is for."""

    CRON = "cron"
    SYSTEMD = "systemd"
    K8S = "k8s"


@schedule.command("list")
def list_schedules(context: typer.Context, projects: Projects = None, json: JsonOption = False) -> None:
    """List the schedules with the time they run next."""
    schedulers = _schedulers(context, projects)
    found = [each for scheduler in schedulers for each in scheduler.list()]
    values = [each.to_dict() for each in found]
    if json:
        print_json(values)
    else:
        rows = [
            (
                each.project,
                each.name,
                each.when,
                each.target,
                "paused" if each.paused else (value["next_run"] or "over")[:19].replace("T", " "),
            )
            for each, value in zip(found, values, strict=True)
        ]
        print_table(("project", "schedule", "when", "runs", "next (UTC)"), rows)
    for scheduler in schedulers:
        for error in scheduler.errors().values():
            say(f"Never runs: {error}", err=True)


@schedule.command()
def start(
    context: typer.Context,
    projects: Projects = None,
    directory: _Directory = None,
    workers: Annotated[int, typer.Option(min=1, help="How many jobs of a project run at once.")] = 10,
) -> None:
    """Run the schedules until Ctrl-C or SIGTERM, which let running jobs end; a second one does not."""
    _find_modules_in(directory)
    schedulers = _schedulers(context, projects, on_end=_tell, workers=workers)
    wait_until_asked = stopping.on_signal()
    with ExitStack() as started:
        for scheduler in schedulers:
            started.enter_context(scheduler)
        count = sum(len(scheduler.list()) for scheduler in schedulers)
        running = f"{counted(count, 'schedule')} of {counted(len(schedulers), 'project')}"
        typer.echo(f"Running {running} (Ctrl-C stops)")
        sys.stdout.flush()
        wait_until_asked()
        typer.echo("Stopping; running jobs end first (Ctrl-C again ends them)", err=True)


@schedule.command()
def run(
    context: typer.Context,
    project: Project,
    name: _Name,
    due: Annotated[
        bool, typer.Option("--due", help="Only if it is due and nobody ran it; for exported schedules.")
    ] = False,
    directory: _Directory = None,
    json: JsonOption = False,
) -> None:
    """Run a schedule's job now; 1 if it fails."""
    _find_modules_in(directory)
    (scheduler,) = _schedulers(context, [project])
    outcome = scheduler.run(name, due=due)
    if json:
        print_json(None if outcome is None else outcome.to_dict())
    elif outcome is None:
        typer.echo(f"{name} is not due")
    else:
        _tell(outcome)
    if outcome is not None and str(outcome.status) == "FAILED":
        raise typer.Exit(1)


@schedule.command()
def pause(context: typer.Context, project: Project, name: _Name) -> None:
    """Let a schedule rest, also where it is running."""
    _schedulers(context, [project])[0].pause(name)
    typer.echo(f"{name} is paused")


@schedule.command()
def resume(context: typer.Context, project: Project, name: _Name) -> None:
    """Wake a schedule; what it would have run meanwhile is not made up."""
    _schedulers(context, [project])[0].resume(name)
    typer.echo(f"{name} goes on")


@schedule.command()
def remove(context: typer.Context, project: Project, name: _Name) -> None:
    """Remove a schedule; its history stays."""
    _schedulers(context, [project])[0].remove(name)
    typer.echo(f"{name} is removed")


@schedule.command()
def history(
    context: typer.Context,
    project: Project,
    name: Annotated[str | None, typer.Argument(help="Only this schedule.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: JsonOption = False,
) -> None:
    """List what fired, newest first."""
    found = _schedulers(context, [project])[0].history(name, limit=limit)
    if json:
        print_json([each.to_dict() for each in found])
        return
    rows = [
        (
            each.schedule,
            each.status,
            f"{each.scheduled_at:%Y-%m-%d %H:%M:%S}",
            f"{each.duration:.1f} s" if each.duration and each.attempts else "",
            each.attempts or "",
            each.run_id or each.error,
        )
        for each in found
    ]
    print_table(("schedule", "status", "due (UTC)", "took", "tries", "run or error"), rows)


@schedule.command()
def export(
    context: typer.Context,
    format: Annotated[Format, typer.Option("--format", "-f", help="What is to run the schedules.")],
    projects: Projects = None,
    directory: _Directory = None,
    command: Annotated[
        str | None, typer.Option(help="How mlops is called there.", show_default="this one; for k8s mlops")
    ] = None,
    image: Annotated[str | None, typer.Option(help="For k8s: the image with mlops and your code.")] = None,
    claim: Annotated[str | None, typer.Option(help="For k8s: the volume claim with the projects.")] = None,
) -> None:
    """Print the schedules for cron, systemd or Kubernetes, which then run them without mlops waiting."""
    from mlops.scheduling.export import Setting, to_cron, to_k8s, to_systemd

    found = [each for scheduler in _schedulers(context, projects) for each in scheduler.list()]
    setting = Setting(
        base_path=manager_of(context).base_path.absolute(),
        directory=(directory or Path.cwd()).absolute(),
        command=command or ("mlops" if format is Format.K8S else shlex.quote(_COMMAND)),
    )
    if format is Format.K8S:
        if image is None or claim is None:
            raise ScheduleError(
                "For Kubernetes the image and the volume claim are needed",
                operation="export",
                hint="add --image registry/name:tag --claim name",
            )
        typer.echo(to_k8s(found, setting, image=image, claim=claim), nl=False)
    else:
        typer.echo((to_cron if format is Format.CRON else to_systemd)(found, setting), nl=False)


@app.callback()
def _group() -> None:
    """Keep ``schedule`` a named group although it is the only one."""


def _schedulers(
    context: typer.Context, projects: list[str] | None, *, on_end: object = None, workers: int = 10
) -> list[PipelineScheduler]:
    from mlops.scheduling.scheduler import PipelineScheduler

    manager = manager_of(context)
    if projects:
        workspaces = [manager.get_workspace(name) for name in projects]
    else:
        workspaces = [each for each in manager.list_workspaces() if not each.error]
    return [
        PipelineScheduler(each, max_workers=workers, on_end=on_end)  # type: ignore[arg-type]
        for each in workspaces
    ]


def _find_modules_in(directory: Path | None) -> None:
    # As `python -m` does: a command that is installed does not look where it is called.
    sys.path.insert(0, str((directory or Path.cwd()).absolute()))


def _tell(outcome: JobRun) -> None:
    took = f" in {outcome.duration:.1f} s" if outcome.duration and outcome.attempts else ""
    what = outcome.run_id or outcome.error
    typer.echo(
        f"{outcome.scheduled_at:%Y-%m-%d %H:%M:%S} {outcome.schedule}: {outcome.status}{took}"
        + (f" ({what})" if what else "")
    )
    sys.stdout.flush()
