"""``mlops pipeline``: list, runs, versions, show, compare and run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.arguments import ProjectOption
from mlops.cli.output import JsonOption, console, manager_of, print_json, print_table, say

if TYPE_CHECKING:
    from mlops.client import MLOpsClient
    from mlops.pipelines.results import PipelineRun
    from mlops.pipelines.versions import PipelineVersion

app = typer.Typer()
pipeline = typer.Typer(no_args_is_help=True)
app.add_typer(pipeline, name="pipeline")

_DIGITS = 8
Name = Annotated[str, typer.Argument(help="The pipeline.")]


@pipeline.command("list")
def list_(context: typer.Context, project: ProjectOption = None, json: JsonOption = False) -> None:
    """List the pipelines of a project, with their newest version and last run."""
    client = _client(context, project)
    found = [_described(client, name) for name in client.get_pipelines()]
    if json:
        print_json(found)
        return
    rows = [
        (each["name"], each["versions"], each["latest_version"], each["runs"], *_run_cells(each["last_run"]))
        for each in found
    ]
    print_table(("pipeline", "versions", "latest", "runs", "last run", "status"), rows)


@pipeline.command()
def runs(
    context: typer.Context,
    name: Name,
    project: ProjectOption = None,
    steps: Annotated[bool, typer.Option("--steps", help="The steps of each run too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the runs of a pipeline, newest first, with the version each ran."""
    client = _existing(context, project, name)
    found = client.list_runs(name, limit)
    parts = _steps_of(client, [run["run_id"] for run in found]) if steps else {}
    if json:
        print_json([run | {"steps": parts.get(run["run_id"], [])} for run in found] if steps else found)
        return
    rows: list[tuple[object, ...]] = []
    for run in found:
        rows.append(_row(run, run["tags"].get("mlops.pipeline_version")))
        rows += [_row(part, f"  {part['run_name']}") for part in parts.get(run["run_id"], [])]
    columns = ("version, step" if steps else "version", "status", "started (UTC)", "took", "run")
    print_table(columns, rows)


@pipeline.command()
def versions(
    context: typer.Context, name: Name, project: ProjectOption = None, json: JsonOption = False
) -> None:
    """List the saved versions of a pipeline in the order of their numbers."""
    found = _existing(context, project, name).create_pipeline(name).list_versions()
    if json:
        print_json([version.to_dict() for version in found])
        return
    rows = [
        (
            version.version,
            f"{version.created_at:%Y-%m-%d %H:%M:%S}",
            ", ".join(version.order),
            ", ".join(f"{key}={text}" for key, (text, _) in version.params.items()),
            ", ".join(f"{key}={value}" for key, value in version.metadata.items()),
            version.copied_from,
        )
        for version in found
    ]
    print_table(("version", "saved (UTC)", "steps", "parameters", "metadata", "copied from"), rows)


@pipeline.command()
def show(
    context: typer.Context,
    name: Name,
    version: Annotated[str | None, typer.Argument(help="A saved version; by default the newest.")] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """Show a saved version: its steps, what they take, parameters, data versions and sources."""
    opened = _existing(context, project, name).create_pipeline(name)
    if version is None:
        known = opened.list_versions()
        if not known:
            raise _no_versions(name)
        found = known[-1]
    else:
        found = opened.get_version(version)
    if json:
        print_json(found.to_dict())
    else:
        _print_version(found)


@pipeline.command()
def compare(
    context: typer.Context,
    name: Name,
    before: Annotated[str, typer.Argument(help="A saved version.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """Show what changed between two saved versions: steps, order, parameters and data."""
    comparison = _existing(context, project, name).create_pipeline(name).compare_with(before, after)
    if json:
        print_json(comparison.to_dict())
    else:
        console().print(comparison)


@pipeline.command("run")
def run_(
    context: typer.Context,
    name: Name,
    version: Annotated[str | None, typer.Option(help="A saved version.", show_default="the newest")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="A parameter, as NAME=VALUE in YAML. Repeatable.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="RUN", help="Take the parameters of an earlier run.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on from a failed run: what finished in it is not run again."),
    ] = None,
    engine: Annotated[str, typer.Option(help="Where the steps run: local, or dask.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Dask scheduler.", show_default="a local cluster is started")
    ] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """Run a saved version of a pipeline; exit 1 if a step fails."""
    client = _existing(context, project, name)
    saved = client.get_pipeline(name, version=version)
    params = {**(client.pipeline_params(like) if like else {}), **_params(param or ())}
    options = {} if address is None else {"address": address}
    done = saved.run(
        params=params, resume=resume, raise_on_failure=False, progress=not json, engine=engine, **options
    )
    if json:
        print_json(done.to_dict())
    else:
        say(outcome(done))
    if done.error is not None:
        raise done.error


def outcome(done: PipelineRun) -> str:
    """Return one line on a run of a pipeline."""
    version = f" {done.version}" if done.version else ""
    return f"{done.pipeline}{version}: {done.status} in {done.duration:.1f} s, run {done.run_id}"


def _params(given: Sequence[str]) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {}
    for each in given:
        key, separator, text = each.partition("=")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            separator = ""
        if not separator or not key:
            raise typer.BadParameter(
                f"{each!r} is not NAME=VALUE, with a value in YAML", param_hint="--param"
            )
    return found


def _client(context: typer.Context, project: str | None) -> MLOpsClient:
    """Open an existing project; none of these commands creates one."""
    from mlops.client import MLOpsClient
    from mlops.settings import find_project_name

    manager = manager_of(context)
    name = find_project_name() if project is None else project
    manager.get_workspace(name)
    return MLOpsClient(name, workspace_manager=manager)


def _existing(context: typer.Context, project: str | None, name: str) -> MLOpsClient:
    """Open the project of a pipeline that it has."""
    from mlops.errors import PipelineError

    client = _client(context, project)
    known = client.get_pipelines()
    if name not in known:
        raise PipelineError(
            f"The project {client.project_name!r} has no pipeline {name!r}",
            operation="pipeline",
            workspace=client.project_name,
            hint=f"it has: {', '.join(known) or 'none'}",
        )
    return client


def _no_versions(name: str) -> Exception:
    from mlops.errors import PipelineVersionError

    return PipelineVersionError(
        f"The pipeline {name!r} has no saved version",
        operation="pipeline",
        hint="save one: pipeline.save_version('v1.0.0')",
    )


def _described(client: MLOpsClient, name: str) -> dict[str, Any]:
    versions = client.create_pipeline(name).list_versions()
    runs = client.list_runs(name, None)
    return {
        "name": name,
        "versions": len(versions),
        "latest_version": versions[-1].version if versions else None,
        "runs": len(runs),
        "last_run": runs[0] if runs else None,
    }


def _steps_of(client: MLOpsClient, run_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the step runs of runs, each run's in the order they started."""
    from mlops.integrations.mlflow_tracking.run_record import PARENT_TAG

    found: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in run_ids}
    for run in client.list_runs(None, None, steps=True):
        parent = run["tags"].get(PARENT_TAG)
        if parent in found:
            found[parent].insert(0, run)
    return found


def _row(run: dict[str, Any], label: str | None) -> tuple[object, ...]:
    took = "" if run["duration"] is None else f"{run['duration']:.1f} s"
    return label, run["status"], f"{run['start_time']:%Y-%m-%d %H:%M:%S}", took, run["run_id"]


def _run_cells(run: dict[str, Any] | None) -> tuple[str | None, str | None]:
    return (None, None) if run is None else (f"{run['start_time']:%Y-%m-%d %H:%M:%S}", run["status"])


def _print_version(version: PipelineVersion) -> None:
    say(f"{version.pipeline} {version.version}")
    facts = {
        "saved": f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC with Python {version.python}",
        "description": version.description,
        "copied from": version.copied_from,
        **{f"parameter {key}": text for key, (text, _) in version.params.items()},
        **{f"data {key}": md5 for key, md5 in version.data.items()},
        **{f"metadata {key}": value for key, value in version.metadata.items()},
    }
    print_table(("", ""), [(key, value) for key, value in facts.items() if value])
    steps = {step.name: step for step in version.steps}
    rows = [
        (
            name,
            ", ".join(f"{key}={source}" for key, source in steps[name].inputs.items()),
            ", ".join(steps[name].options["outputs"]),
            steps[name].code[:_DIGITS],
            steps[name].function,
        )
        for name in version.order
    ]
    print_table(("step", "takes", "returns", "code", "defined in"), rows)
    sources = {name: text for step in version.steps for name, text in step.sources.items()}
    for name, text in sources.items():
        say(f"# {name}\n{text}\n")
