"""``mlops doctor``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.cli.arguments import ProjectOrAll
from mlops.cli.output import JsonOption, manager_of, print_json, say

if TYPE_CHECKING:
    from mlops.reporting.doctor import Finding

app = typer.Typer()


@app.command()
def doctor(
    context: typer.Context,
    project: ProjectOrAll = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Put right what is safe to: end runs that a killed process left open, finish what was cut "
            "off, send lost data to the remote again, set damaged files aside. Nothing stored is lost by it.",
        ),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Read every stored object and database again, instead of names and sizes only."
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild-links", help="Write the log of links anew from what the four tools know."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Prove that no two projects share anything, and find what is damaged or was left by a crash.

    Exit code 1 if a problem is left; notes do not count.
    """
    from mlops.cli.progress import bytes_bar
    from mlops.reporting.doctor import examine, rebuild_links

    manager = manager_of(context)
    if rebuild:
        for name, rebuilt in rebuild_links(manager, project).items():
            say(f"rebuilt: {name}: {rebuilt.links} links", err=json)
            for tool, error in rebuilt.errors.items():
                say(
                    f"  {tool} could not be read, so of its links only the old ones are kept: {error}",
                    err=True,
                )
    with bytes_bar("Reading what is stored") as progress:
        findings = examine(manager, project, fix=fix, deep=deep, progress=progress)
    if json:
        print_json([finding.to_dict() for finding in findings])
    elif not findings:
        say(f"Nothing is wrong with {project or manager.base_path}.")
    else:
        _print(findings)
    if any(finding.problem and not finding.fixed for finding in findings):
        raise typer.Exit(1)


@app.callback()
def _group() -> None:
    """Keep ``doctor`` a named command although it is the only one."""


def _print(findings: Sequence[Finding]) -> None:
    from mlops.reporting.wording import counted, one_line

    marks = ["fixed" if finding.fixed else "problem" if finding.problem else "note" for finding in findings]
    for mark, finding in zip(marks, findings, strict=True):
        say(f"{mark}: {finding.project or 'all projects'}: {one_line(finding.message)} [{finding.check}]")
        if not finding.fixed:
            say(f"  {one_line(finding.hint)}")
    counts = Counter(marks)
    told = [counted(counts[mark], mark) for mark in ("problem", "note") if counts[mark]]
    told += [f"{counts['fixed']} fixed"] if counts["fixed"] else []
    left = [finding for finding in findings if not finding.fixed]
    fixable = sum(finding.fixable for finding in left)
    which = f"{fixable} of them" if fixable < len(left) else "it" if fixable == 1 else "them all"
    say(f"{', '.join(told)}{f'; --fix puts {which} right' if fixable else ''}.")
