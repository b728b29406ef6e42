"""The text of a step's code, with the user's own code that it uses, for people to read and to compare."""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from mlops.pipelines.recording import shown
from mlops.pipelines.source import CONSTANTS, bare_function, is_own, names_in, source_of
from mlops.pipelines.step import Step


def sources_of(step: Step) -> dict[str, str]:
    """Return the text of a step's function and condition, and of the user's code they refer to, by name.

    It is what the files say now. A lambda, and what was typed where no file is, has no text; of a constant it
    is the value.

    Args:
        step: The step.
    """
    found: dict[str, str] = {}
    seen: set[int] = set()
    for function in (step.fn, step.when):
        if function is not None:
            _collect(function, found, seen)
    return found


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return what changed between two sets of sources, as a unified diff; "" if nothing did."""
    lines: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, ""), after.get(name, "")
        lines += difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm="")
    return "\n".join(lines)


def _collect(value: Any, found: dict[str, str], seen: set[int]) -> None:
    bare = bare_function(value)
    if id(bare) in seen:
        return
    seen.add(id(bare))
    if isinstance(bare, FunctionType):
        text = source_of(bare)
        if text is not None:
            found.setdefault(_label(bare), text)
        for name, value in _used(bare):
            if isinstance(value, CONSTANTS):
                found.setdefault(f"{_label(bare)}: {name}", shown(f"{name} = {value!r}"))
        for each in _referred(bare):
            _collect(each, found, seen)
    elif isinstance(bare, type) and is_own(bare):
        text = _class_text(bare)
        if text is not None:
            found.setdefault(_label(bare), text)
        for member in vars(bare).values():
            for each in _referred(member) if isinstance(member, FunctionType) else ():
                _collect(each, found, seen)
    elif callable(bare) and is_own(type(bare)):
        _collect(type(bare), found, seen)


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the global values that a function uses, those of the user's own modules and its closure's."""
    names = list(names_in(function.__code__))
    space = function.__globals__
    for name in names:
        if name in space:
            yield name, space[name]
            if isinstance(space[name], ModuleType) and is_own(space[name]):
                yield from ((n, vars(space[name])[n]) for n in names if n in vars(space[name]))
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # not assigned yet
            yield name, cell.cell_contents


def _referred(function: FunctionType) -> Iterator[Any]:
    for _, value in _used(function):
        bare = bare_function(value)
        if isinstance(value, Step) or (isinstance(bare, (FunctionType, type)) and is_own(bare)):
            yield value


def _class_text(kind: type) -> str | None:
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    except (OSError, SyntaxError, TypeError):
        return None


def _label(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
