"""What changed between two versions of a pipeline: its steps, their order, parameters and data versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from mlops.pipelines.sources import difference
from mlops.pipelines.versions import PipelineVersion, SavedStep

if TYPE_CHECKING:
    from rich.console import RenderableType

# Before and after; None where there was, or is, nothing of that name.
Change = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class StepChange:
    """How a step differs.

    Args:
        name: The step.
        what: What differs: ``code``, ``inputs``, or an option such as ``retry``.
        diff: The lines of its code, and of the user's own code that it uses, as a unified diff; "" where no
            text changed.
        values: The inputs and options that differ, by name, before and after.
    """

    name: str
    what: tuple[str, ...]
    diff: str
    values: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """What changed from one version of a pipeline to another.

    Args:
        pipeline: The pipeline.
        before: The version compared with.
        after: The other one; None for the pipeline as it is, unsaved.
        added: Steps that only the later one has.
        removed: Steps that only the earlier one has.
        modified: Steps that both have and that differ.
        reordered: Steps that both have and that run at another place among those that both have.
        order: The steps in the order they run, before and after.
        params: Default parameters that differ, by name, before and after.
        data: Datasets whose newest version differs, by name, before and after.
    """

    pipeline: str
    before: str
    after: str | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    modified: tuple[StepChange, ...]
    reordered: tuple[str, ...]
    order: tuple[tuple[str, ...], tuple[str, ...]]
    params: Mapping[str, Change]
    data: Mapping[str, Change]

    @property
    def order_changed(self) -> bool:
        """Whether steps that both have run in another order."""
        return bool(self.reordered)

    @property
    def identical(self) -> bool:
        """Whether nothing changed."""
        return not any((self.added, self.removed, self.modified, self.reordered, self.params, self.data))

    def summary(self) -> str:
        """Return what changed in one line."""
        parts = [
            *_named("added", self.added),
            *_named("removed", self.removed),
            *_named("modified", [f"{step.name} ({', '.join(step.what)})" for step in self.modified]),
            *_named("other order of", self.reordered),
            *_named("parameters", self.params),
            *_named("data", self.data),
        ]
        return "; ".join(parts) or "nothing changed"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"identical": self.identical}

    def __rich__(self) -> RenderableType:
        """Return it as people read it on a terminal."""
        return _rendered(self)


def compare(before: PipelineVersion, after: PipelineVersion, *, saved: bool = True) -> VersionComparison:
    """Return what changed from one version to another.

    Args:
        before: The earlier one.
        after: The later one.
        saved: Whether the later one is saved, rather than the pipeline as it is.
    """
    old = {step.name: step for step in before.steps}
    new = {step.name: step for step in after.steps}
    same_python = before.python == after.python
    changes = [_step_change(old[name], new[name], same_python) for name in old if name in new]
    return VersionComparison(
        before.pipeline,
        before.version,
        after.version if saved else None,
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(change for change in changes if change.what),
        _moved([name for name in before.order if name in new], [name for name in after.order if name in old]),
        (before.order, after.order),
        _param_changes(before.params, after.params),
        _changes(before.data, after.data),
    )


def _step_change(old: SavedStep, new: SavedStep, same_python: bool) -> StepChange:
    diff = difference(_as_in(new, old), new.sources)
    # Compiled code of two Pythons differs always; then the text has to tell.
    code = old.code != new.code if same_python else bool(diff) or not old.sources
    inputs, options = _changes(old.inputs, new.inputs), _changes(old.options, new.options)
    what = (*(["code"] if code else []), *(["inputs"] if inputs else []), *options)
    return StepChange(old.name, what, diff if code or "when" in options else "", inputs | options)


def _as_in(new: SavedStep, old: SavedStep) -> dict[str, str]:
    """Return sources named after the module that the step is in now, if that has another name.

    A script's functions are in ``__main__`` when it runs, and elsewhere when a notebook imports them.
    """
    before, after = (f"{step.function.partition(':')[0]}." for step in (old, new))
    return {
        after + name.removeprefix(before) if name.startswith(before) else name: text
        for name, text in old.sources.items()
    }


def _param_changes(
    old: Mapping[str, tuple[str, str]], new: Mapping[str, tuple[str, str]]
) -> dict[str, Change]:
    changed: dict[str, Change] = {}
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if before and after and before[0] == after[0]:
            # The same text for other content, such as the path of a file that changed.
            changed[name] = (f"{before[0]} ({before[1][:8]})", f"{after[0]} ({after[1][:8]})")
        else:
            changed[name] = (before and before[0], after and after[0])
    return changed


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    return {
        name: (_text(old, name), _text(new, name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    }


def _text(values: Mapping[str, Any], name: str) -> str | None:
    return None if values.get(name) is None else str(values[name])


def _moved(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """Return the fewest names that have to be moved to make one order of the other."""
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {name for block in blocks for name in old[block.a : block.a + block.size]}
    return tuple(name for name in new if name not in kept)


def _named(what: str, names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    return [f"{what} {', '.join(names)}"] if names else []


def _rendered(comparison: VersionComparison) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    title = f"{comparison.pipeline}: {comparison.before} → {comparison.after or 'as it is now'}"
    if comparison.identical:
        return Group(Text(title, style="bold"), Text("Nothing changed."))
    table = Table("", "change", "before", "after", title=title, title_justify="left", box=box.SIMPLE_HEAD)
    rows: list[tuple[str, str, str | None, str | None]] = []
    rows += [(f"step {name}", "added", None, None) for name in comparison.added]
    rows += [(f"step {name}", "removed", None, None) for name in comparison.removed]
    for step in comparison.modified:
        if "code" in step.what:
            rows.append((f"step {step.name}", "code", None, None))
        rows += [(f"step {step.name}", name, *change) for name, change in step.values.items()]
    if comparison.reordered:
        before, after = (" → ".join(names) for names in comparison.order)
        rows.append(("steps", f"moved: {', '.join(comparison.reordered)}", before, after))
    rows += [(f"parameter {name}", "value", *change) for name, change in comparison.params.items()]
    rows += [(f"data {name}", "version", *change) for name, change in comparison.data.items()]
    for row in rows:
        table.add_row(*(Text(cell or "") for cell in row))
    # Without colours of its own it can be read on any terminal, and in a pipe.
    diffs = [
        Syntax(s.diff, "diff", theme="ansi_light", background_color="default")
        for s in comparison.modified
        if s.diff
    ]
    return Group(table, *diffs)
