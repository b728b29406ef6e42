"""``mlops data``: add, push, pull, status, history, diff, verify and gc."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.arguments import ProjectOption
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, print_table, say
from mlops.cli.progress import bytes_bar
from mlops.plurals import counted

if TYPE_CHECKING:
    from mlops.client import MLOpsClient
    from mlops.integrations.dvc_data import DataDiff, DataVersion

app = typer.Typer()
data = typer.Typer(no_args_is_help=True)
app.add_typer(data, name="data")

_DIGITS = 10
_MAX_NAMES = 20
GATE_FAILED = 3
Paths = Annotated[list[Path], typer.Argument(help="Files or directories.")]
Targets = Annotated[list[str] | None, typer.Argument(help="Paths, dataset names or versions.")]


@data.command()
def add(
    context: typer.Context,
    paths: Paths,
    project: ProjectOption = None,
    pointer: Annotated[
        bool, typer.Option("--pointer/--no-pointer", help="Write PATH.dvc beside it, for git.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Store the present content of files or directories as versions."""
    client = _client(context, project)
    versions = []
    for path in paths:
        with bytes_bar(f"add {path.name}") as progress:
            versions.append(client.data.add(path, pointer=pointer, progress=progress))
    _print_versions(versions, json=json)


@data.command()
def push(
    context: typer.Context,
    targets: Targets = None,
    project: ProjectOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read everything again and replace what is damaged.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bring versions to the project's remote; every version ever added where none is named."""
    client = _client(context, project)
    with bytes_bar("push") as progress:
        result = client.data.push(targets or None, repair=repair, progress=progress)
    if json:
        print_json(result.to_dict())
    else:
        say(
            f"{counted(result.objects, 'object')} sent ({human_bytes(result.bytes)}); "
            f"the remote holds {counted(len(result.versions), 'version')}"
        )


@data.command()
def pull(
    context: typer.Context,
    targets: Targets = None,
    project: ProjectOption = None,
    version: Annotated[str | None, typer.Option(help="A version's md5, or its first digits.")] = None,
    run: Annotated[str | None, typer.Option(help="The versions that this run used.")] = None,
    destination: Annotated[
        Path | None, typer.Option("--to", help="Where to, instead of where it was added from.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Lose content that no version holds.")] = False,
    json: JsonOption = False,
) -> None:
    """Restore versions: the current ones of every dataset where none is named."""
    if version is not None and run is not None:
        raise typer.BadParameter("--version and --run exclude each other")
    client = _client(context, project)
    with bytes_bar("pull") as progress:
        versions = client.dvc_pull(
            targets or None,
            version=version,
            run_id=run,
            destination=destination,
            force=force,
            progress=progress,
        )
    _print_versions(versions, json=json)


@data.command()
def status(context: typer.Context, project: ProjectOption = None, json: JsonOption = False) -> None:
    """Show how each dataset's source compares with its versions."""
    found = _client(context, project).data.status()
    if json:
        print_json([item.to_dict() for item in found])
        return
    if not found:
        say("No datasets. Version one with: mlops data add PATH")
        return
    rows = [
        (
            item.name,
            str(item.state),
            item.version.md5[:_DIGITS],
            human_bytes(item.version.size),
            item.version.files,
            item.versions,
            item.unpushed or "",
            ", ".join(item.changes[:3]) + (", ..." if len(item.changes) > 3 else ""),
        )
        for item in found
    ]
    print_table(("dataset", "state", "version", "size", "files", "versions", "not pushed", "changed"), rows)


@data.command()
def history(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="A path or a dataset's name.")] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """List versions in the order they were added."""
    _print_versions(_client(context, project).data.history(dataset), json=json)


@data.command()
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="A version, or a path for its current one.")],
    after: Annotated[str, typer.Argument(help="The same.")],
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """Show which files differ between two versions, and how tables among them do."""
    found = _client(context, project).data.diff(before, after)
    if json:
        print_json(found.to_dict())
    else:
        _print_diff(found)


@data.command()
def verify(context: typer.Context, project: ProjectOption = None, json: JsonOption = False) -> None:
    """Read every stored object again, in the cache and the remote; exits 3 if something is wrong."""
    client = _client(context, project)
    with bytes_bar("verify") as progress:
        result = client.data.verify(progress=progress)
    if json:
        print_json(result.to_dict())
    else:
        for title, names in (
            ("damaged", result.damaged),
            ("lost", result.missing),
            ("lost in the remote", result.gaps),
        ):
            for name in names:
                say(f"{title}: {name}")
        say(f"{counted(result.objects, 'object')} read: {'all whole' if result.ok else 'not all whole'}")
        if not result.ok:
            say("Hint: mlops data push --repair mends what a whole copy is left of", err=True)
    if not result.ok:
        raise typer.Exit(GATE_FAILED)


@data.command()
def gc(
    context: typer.Context,
    project: ProjectOption = None,
    remote: Annotated[bool, typer.Option("--remote", help="Remove from the remote too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise only say what would be done.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove the versions that no run, model or pipeline refers to; without --yes only show them."""
    result = _client(context, project).data.gc(dry_run=not yes, remote=remote)
    if json:
        print_json(result.to_dict())
        return
    if result.versions:
        _print_versions(list(result.versions), json=False)
    would = "would be " if result.dry_run else ""
    freed = f"{human_bytes(result.bytes)} ({counted(result.objects, 'file')}) in the cache"
    if remote:
        freed += (
            f", {human_bytes(result.remote_bytes)} ({counted(result.remote_objects, 'object')}) in the remote"
        )
    removed = f"{counted(len(result.versions), 'version')} {would}removed, {result.kept} kept"
    say(f"{removed}; {would}freed: {freed}")
    if result.dry_run and (result.objects or result.remote_objects or result.versions):
        say("Nothing was changed; --yes does it")


@data.callback()
def _data() -> None:
    """Versions of data files and directories: add, restore, compare, check and clean up."""


@app.callback()
def _group() -> None:
    """Keep ``data`` a named group although it is the only one."""


def _client(context: typer.Context, project: str | None) -> MLOpsClient:
    """Open an existing project; none of these commands creates one."""
    from mlops.client import MLOpsClient
    from mlops.settings import find_project_name

    manager = manager_of(context)
    name = find_project_name() if project is None else project
    manager.get_workspace(name)
    return MLOpsClient(name, workspace_manager=manager)


def _print_versions(versions: list[DataVersion], *, json: bool) -> None:
    if json:
        print_json([version.to_dict() for version in versions])
        return
    if not versions:
        say("No versions. Add one with: mlops data add PATH")
        return
    rows: list[tuple[Any, ...]] = [
        (
            version.name,
            version.md5[:_DIGITS],
            human_bytes(version.size),
            version.files,
            f"{version.added_at:%Y-%m-%d %H:%M:%S}",
            {True: "yes", False: "no", None: ""}[version.pushed],
            version.path,
        )
        for version in versions
    ]
    print_table(("dataset", "version", "size", "files", "added (UTC)", "pushed", "path"), rows)


def _print_diff(found: DataDiff) -> None:
    for title, names in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        for name in names[:_MAX_NAMES]:
            say(f"{title}: {name}")
        if len(names) > _MAX_NAMES:
            say(f"{title}: and {len(names) - _MAX_NAMES} more; --json lists them all")
    if found.same:
        say("no difference")
    rows = [
        (
            table.file,
            f"{table.rows_before} -> {table.rows_after}",
            table.rows_added,
            table.rows_removed,
            table.error
            or "; ".join(
                [
                    *(f"+ {name}" for name in table.columns_added),
                    *(f"- {name}" for name in table.columns_removed),
                    *(f"{change.name}: {change.before} -> {change.after}" for change in table.retyped),
                ]
            ),
        )
        for table in found.tables
    ]
    if rows:
        print_table(("table", "rows", "rows added", "rows removed", "columns"), rows)
