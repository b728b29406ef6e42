"""``mlops models`` and ``mlops artifacts``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from mlops.cli.arguments import Project, ProjectOrAll
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, print_table, say
from mlops.plurals import counted
from mlops.reporting.formatting import ago

if TYPE_CHECKING:
    from mlops.reporting.registry import RegistryEntry

app = typer.Typer()

_LIST: Final = "list"
ID_LENGTH: Final = 8
# More of them make a row of the table hard to read.
_METRICS: Final = 2
_LABELS: Final = {
    "run_id": "run",
    "size_bytes": "size",
    "created_at": "created (UTC)",
    "last_check": "last check",
}
# What the registry adds to a passport.
_OF_REGISTRY: Final = (
    *("version", "kind", "framework", "framework_version", "flavor", "size_bytes", "signature", "metrics"),
    *("packaged", "serving", "last_check", "drifting", "tags"),
)
_IN_TITLE: Final = ("project", "model", "name", "version")


class _ListByDefault(TyperGroup):
    """Takes anything but a subcommand's name for the arguments of ``list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in (*self.commands, *ctx.help_option_names)
        # The word that a shell is asked to complete is not among the arguments: it may be a subcommand's.
        if not named and not (ctx.resilient_parsing and not args):
            args = [_LIST, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete subcommands, and what may follow ``list``, which need not be written."""
        listing = self.commands[_LIST]
        with listing.make_context(_LIST, [], parent=ctx, resilient_parsing=True) as listed:
            source = listing if incomplete.startswith("-") else listing.params[0]
            return [*super().shell_complete(ctx, incomplete), *source.shell_complete(listed, incomplete)]


models = typer.Typer(cls=_ListByDefault)
app.add_typer(models, name="models")


@models.command(_LIST)
def list_models(
    context: typer.Context,
    project: ProjectOrAll = None,
    name: Annotated[str | None, typer.Option(help="Only versions of this model.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only versions this alias points to.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only versions with this tag, as key=value. Repeatable.")
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="Only versions made with it, such as scikit-learn or sklearn.")
    ] = None,
    drift: Annotated[
        bool | None,
        typer.Option(
            "--drift/--no-drift",
            help="Only versions whose latest check found drift, or found none.",
            show_default="checked or not",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the versions of models, newest first: what they are, how they do, what is packaged and served."""
    from mlops.reporting.registry import collect

    wanted = dict(_key_value(each) for each in tag or ())
    found = collect(
        manager_of(context),
        project=project,
        model=name,
        alias=alias,
        tags=wanted,
        framework=framework,
        drifting=drift,
    )
    if json:
        print_json([entry.to_dict() for entry in found.entries])
    else:
        now = datetime.now(UTC)
        rows = [(*(() if project else (entry.project,)), *_row(entry, now)) for entry in found.entries]
        columns = ("model", "version", "aliases", "framework", "size", "performance", "drift", "bento")
        print_table((*(() if project else ("project",)), *columns, "serving", "run", "created (UTC)"), rows)
    for where, error in found.errors.items():
        say(f"Not everything could be read: {where}: {error}", err=True)
    if project and found.errors:
        raise typer.Exit(1)


@models.command()
def show(
    context: typer.Context,
    project: Project,
    name: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or NAME@ALIAS; the newest by default.")],
    json: JsonOption = False,
) -> None:
    """Show everything about one version: its data, code, run, signature, checks, and where it is served."""
    from mlops.client import MLOpsClient
    from mlops.reporting.registry import collect

    manager = manager_of(context)
    manager.get_workspace(project)  # a reading command must not create what is not there
    client = MLOpsClient(project, workspace_manager=manager)
    passport, prefix = client.passport(name), client.tracking.model_prefix
    entry = next(
        each
        for each in collect(manager, project=project).entries
        if f"{prefix}{each.model}:{each.version}" == passport.model
    )
    told = entry.to_dict()
    values = passport.to_dict() | {key: told[key] for key in _OF_REGISTRY} | {"name": entry.model}
    if json:
        print_json(values)
        return
    texts = values | _texts(entry) | {"data": {use.name: use.md5 for use in passport.data}}
    print_table(
        ("", passport.model), [(_LABELS.get(key, key), _cell(value)) for key, value in _shown(texts).items()]
    )


@models.command()
def promote(
    context: typer.Context,
    project: Project,
    name: Annotated[str, typer.Argument(help="The model's name.")],
    alias: Annotated[str, typer.Argument(help="Such as production.")],
    version: Annotated[str | None, typer.Option(help="The version; the newest by default.")] = None,
) -> None:
    """Point an alias to a version of a model."""
    from mlops.client import MLOpsClient

    manager = manager_of(context)
    manager.get_workspace(project)
    client = MLOpsClient(project, workspace_manager=manager)
    before = client.tracking.models.aliases(name).get(alias)
    promoted = client.promote(name, alias, version=version)
    was = f", before it was version {before}" if before not in (None, promoted.version) else ""
    say(f"{promoted.full_name}:{promoted.version} is {alias} now{was}")


@app.command()
def artifacts(
    context: typer.Context,
    project: Project,
    kind: Annotated[
        str | None,
        typer.Option("--type", help="Only model, data, metrics, report or file, or a Python type."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: JsonOption = False,
) -> None:
    """List what a project produced, newest first: models, data, metrics, reports, files, step outputs."""
    from mlops.client import MLOpsClient

    manager = manager_of(context)
    manager.get_workspace(project)
    found = MLOpsClient(project, workspace_manager=manager).get_artifacts(kind, limit)
    if json:
        print_json(found)
        return
    rows = [
        (
            a["name"],
            a["type"],
            f"{a['created_at']:%Y-%m-%d %H:%M:%S}",
            (a["run_id"] or "")[:ID_LENGTH],
            a["uri"],
        )
        for a in found
    ]
    print_table(("name", "type", "created (UTC)", "run", "where"), rows)


@models.callback()
def _models() -> None:
    """Versions of models. Without a subcommand, `mlops models [PROJECT]` lists them, as `list` does."""


@app.callback()
def _group() -> None:
    """Hold the commands of this module."""


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{text!r} is not key=value", param_hint="--tag")
    return key, value


def _row(entry: RegistryEntry, now: datetime) -> tuple[object, ...]:
    check = entry.last_check
    drift = (
        "" if check is None else f"{'yes' if check.drift_detected else 'no'}, {ago(check.checked_at, now)}"
    )
    return (
        entry.model,
        entry.version,
        ", ".join(entry.aliases),
        entry.made_with,
        "" if entry.size_bytes is None else human_bytes(entry.size_bytes),
        _metrics((check.performance if check else None) or entry.metrics),
        drift,
        "yes" if entry.bento else "model only" if entry.packaged else "",
        ", ".join(entry.serving),
        entry.run_id[:ID_LENGTH],
        "" if entry.created_at is None else f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
    )


def _metrics(values: Mapping[str, float], limit: int = _METRICS) -> str:
    """Return the first metrics by name, and how many more there are."""
    shown = [f"{name}={value:.4g}" for name, value in sorted(values.items())[:limit]]
    more = [f"and {len(values) - limit} more"] if len(values) > limit else []
    return ", ".join([*shown, *more])


def _texts(entry: RegistryEntry) -> dict[str, Any]:
    """Return as text what people read otherwise than programs."""
    check, fields = entry.last_check, entry.signature or {}
    return {
        "framework": entry.made_with,
        "framework_version": None,
        "size_bytes": "" if entry.size_bytes is None else human_bytes(entry.size_bytes),
        "created_at": "" if entry.created_at is None else f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
        "signature": {part: ", ".join(map(str, columns)) for part, columns in fields.items() if columns},
        "metrics": {name: f"{value:.6g}" for name, value in sorted(entry.metrics.items())},
        "last_check": {}
        if check is None
        else {
            "snapshot": f"{check.snapshot_id} of {check.checked_at:%Y-%m-%d %H:%M:%S} UTC",
            "drift": f"{check.n_drifted} of {counted(check.n_compared, 'column')}"
            + (": drift" if check.drift_detected else ""),
            **{name: f"{value:.6g}" for name, value in check.performance.items()},
        },
        "tags": {key: value for key, value in entry.tags.items() if not key.startswith("mlops.")},
        "drifting": None,
    }


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has a value, without what the title says again."""
    return {
        key: value
        for key, value in values.items()
        if key not in _IN_TITLE and value not in (None, "", [], {}, ())
    }


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{each}={of}" for each, of in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
