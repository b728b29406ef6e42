"""``mlops usage``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.arguments import ProjectOrAll
from mlops.cli.output import JsonOption, human_bytes, manager_of, print_json, print_table, say

if TYPE_CHECKING:
    from mlops.client.reclaimable import Reclaimable
    from mlops.reporting.usage import ProjectUsage, UsageReport

app = typer.Typer()

_BYTES = "_bytes"
_TOTAL = "total_bytes"


@app.command()
def usage(
    context: typer.Context,
    project: ProjectOrAll = None,
    gc: Annotated[
        bool, typer.Option("--gc", help="Show what clean-up would free, without doing it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what projects cost on disk, and what of that could go."""
    from mlops.reporting.usage import collect

    report = collect(manager_of(context), project, gc=gc)
    if json:
        print_json(report.to_dict())
    elif not report.projects and not report.beside:
        say(f"No projects in {report.base_path}. Create one with: mlops init NAME")
    else:
        _print_storage(report)
        if gc:
            _print_reclaimable(report)


def _print_storage(report: UsageReport) -> None:
    sizes = [_sizes(each) for each in report.projects]
    columns = list(dict.fromkeys(name for each in sizes for name in each))
    rows = [
        (
            each.project_name,
            *(human_bytes(held.get(column, 0)) for column in columns),
            human_bytes(each.storage[_TOTAL]),
            _limits(each.storage),
        )
        for each, held in zip(report.projects, sizes, strict=True)
    ]
    print_table(("project", *columns, "total", "limits"), rows)


def _sizes(project: ProjectUsage) -> dict[str, int]:
    return {
        key.removesuffix(_BYTES): size
        for key, size in project.storage.items()
        if key.endswith(_BYTES) and key != _TOTAL
    }


def _limits(storage: Mapping[str, Any]) -> str:
    if "quota_error" in storage:
        return storage["quota_error"]  # type: ignore[no-any-return]
    return "; ".join(
        f"{row['scope']}: {row['used_bytes'] / limit:.0%} of {human_bytes(limit)}"
        + ("" if row["state"] == "ok" else f", over the {row['state']} limit")
        for row in storage.get("quota", ())
        if (limit := row["hard_bytes"] or row["soft_bytes"])
    )


def _print_reclaimable(report: UsageReport) -> None:
    found = [("", row) for row in report.beside]
    for project in report.projects:
        if project.reclaimable is not None:
            found += [(project.project_name, row) for row in project.reclaimable.rows]
            for tool, error in project.reclaimable.errors.items():
                say(f"Not everything could be read: {project.project_name}/{tool}: {error}", err=True)
    if not found:
        say("Nothing can be freed.")
        return
    ordered = sorted(found, key=lambda item: -item[1].bytes)
    print_table(("project", "tool", "what", "count", "frees", "how"), [_row(*item) for item in ordered])
    say(f"{human_bytes(sum(row.bytes for _, row in found))} in all; nothing was changed")


def _row(project: str, row: Reclaimable) -> tuple[object, ...]:
    return (project, row.tool, row.what, row.count, human_bytes(row.bytes), row.how)


@app.callback()
def _group() -> None:
    """Keep ``usage`` a named command although it is the only one."""
