"""``mlops models`` and ``mlops artifacts``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, print_table

app = typer.Typer()

_LIST: Final = "list"
ID_LENGTH: Final = 8
_LABELS: Final = {"run_id": "run", "size_bytes": "size", "created_at": "created (UTC)"}


class _ListByDefault(TyperGroup):
    """Takes anything but a subcommand's name for the arguments of ``list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = [_LIST, *args]
        return super().parse_args(ctx, args)


models = typer.Typer(cls=_ListByDefault)
app.add_typer(models, name="models")


@models.command(_LIST)
def list_models(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="One project; all by default.")] = None,
    name: Annotated[str | None, typer.Option(help="Only versions of this model.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only versions this alias points to.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only versions with this tag, as key=value. Repeatable.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the versions of models, newest first: what they are, what is packaged, and what is served."""
    from mlops.client.model_catalog import collect

    wanted = dict(_key_value(each) for each in tag or ())
    entries, errors = collect(manager_of(context), project)
    found = [
        entry
        for entry in entries
        if name in (None, entry.name, f"{entry.project}.{entry.name}")
        and (alias is None or alias in entry.aliases)
        and wanted.items() <= entry.tags.items()
    ]
    if json:
        print_json([entry.to_dict() for entry in found])
    else:
        rows = [
            (
                *(() if project else (entry.project,)),
                entry.name,
                entry.version,
                ", ".join(entry.aliases),
                entry.framework,
                "" if entry.size_bytes is None else human_bytes(entry.size_bytes),
                entry.run_id[:ID_LENGTH],
                ", ".join(f"{_short(key)} {md5[:ID_LENGTH]}" for key, md5 in sorted(entry.data.items())),
                "yes" if entry.bento else "model only" if entry.packaged else "",
                ", ".join(entry.serving),
                "" if entry.created_at is None else f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
            )
            for entry in found
        ]
        columns = ("name", "version", "aliases", "framework", "size", "run", "data", "bento", "serving")
        print_table((*(() if project else ("project",)), *columns, "created (UTC)"), rows)
    for where, error in errors.items():
        typer.echo(f"Not everything could be read: {where}: {error}", err=True)


@models.command()
def show(
    context: typer.Context,
    project: str,
    name: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or NAME@ALIAS; the newest by default.")],
    json: JsonOption = False,
) -> None:
    """Show everything about one version: its data, code, run, signature, checks, and where it is served."""
    from mlops.client import MLOpsClient
    from mlops.client.model_catalog import collect

    manager = manager_of(context)
    manager.get_workspace(project)  # a reading command must not create what is not there
    passport = MLOpsClient(project, workspace_manager=manager).passport(name)
    entries, _ = collect(manager, project)
    entry = next(e for e in entries if passport.model.endswith(f"{e.name}:{e.version}"))
    values = passport.to_dict() | {
        key: value
        for key, value in entry.to_dict().items()
        if key in ("name", "version", "registered", "size_bytes", "packaged", "serving", "tags")
    }
    if json:
        print_json(values)
        return
    print_table(
        ("", passport.model), [(_LABELS.get(key, key), _cell(key, value)) for key, value in _shown(values)]
    )


@models.command()
def promote(
    context: typer.Context,
    project: str,
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
    typer.echo(f"{promoted.full_name}:{promoted.version} is {alias} now{was}")


@app.command()
def artifacts(
    context: typer.Context,
    project: str,
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


def _short(dataset: str) -> str:
    return dataset.rpartition("/")[2]


def _shown(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return what has a value, without what the title or the tags say again."""
    hidden = {"project", "model", "name", "version", "tags"}
    own = {key: value for key, value in values["tags"].items() if not key.startswith("mlops.")}
    kept = [(key, value) for key, value in values.items() if key not in hidden]
    return [(key, value) for key, value in [*kept, ("tags", own)] if value not in (None, "", [], {}, ())]


def _cell(key: str, value: Any) -> str:
    if key == "size_bytes":
        return human_bytes(value)
    if key == "created_at":
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S}"
    if key == "signature":
        return "\n".join(f"{part}: {_columns(fields)}" for part, fields in value.items() if fields)
    if key == "data":
        return "\n".join(f"{use['name']} {use['md5']}" for use in value)
    if isinstance(value, dict):
        return "\n".join(f"{each}={of}" for each, of in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _columns(fields: Any) -> str:
    if not isinstance(fields, list):
        return str(fields)
    return ", ".join(
        f"{field.get('name', '')} {field['type']}".strip()
        if field.get("type") != "tensor"
        else f"{field.get('name', '')} {field['tensor-spec']['dtype']}{field['tensor-spec']['shape']}".strip()
        for field in fields
    )
