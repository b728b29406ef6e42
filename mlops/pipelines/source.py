"""What a step's code is: its text for people, and a hash of what it does for deciding whether to do it again.

The hash is taken of the compiled code that runs in this process, not of the file, which may have been edited
since it was imported. It covers the user's own functions, classes and plain constants that the code refers
to, because a changed helper changes the step; installed packages do not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from mlops.integrations.mlflow_tracking.pickling import is_own_code
from mlops.pipelines.step import Step

CONSTANTS: Final = (int, float, complex, str, bytes, bool, type(None))
_CONTAINERS: Final = (tuple, list, set, frozenset, dict)
# A longer constant is data; it is summed up by its length.
_MAX_ITEMS: Final = 10_000


def source_of(function: Callable[..., Any]) -> str | None:
    """Return the text of a function as it is in its file now, without decorators; None if it has none.

    Comments and layout do not count: the text is what the parser makes of it. A lambda has no text of its
    own, only a line with other things in it.
    """
    bare = bare_function(function)
    if not isinstance(bare, FunctionType) or bare.__name__ == "<lambda>":
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(bare)))
    except (OSError, SyntaxError, TypeError):
        return None
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.decorator_list = []
    return ast.unparse(tree)


def code_hash(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of what a function does, the user's own code that it refers to included."""
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def bare_function(function: Any) -> Any:
    """Return what a step, a partial or a bound method calls in the end."""
    while True:
        if isinstance(function, Step):
            function = function.fn
        elif isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        else:
            return function


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield what tells a value of the user's code from another."""
    if isinstance(value, (*CONSTANTS, *_CONTAINERS)):
        yield _constant(value)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Step):
        yield from _parts(value.fn, seen)
    elif isinstance(value, functools.partial):
        yield from _parts(value.func, seen)
        yield _constant([value.args, sorted(value.keywords.items())])
    elif isinstance(value, MethodType):
        yield from _parts(value.__func__, seen)
        yield from _parts(vars(value.__self__) if hasattr(value.__self__, "__dict__") else None, seen)
    elif isinstance(value, FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, type):
        yield f"class {value.__module__}.{value.__qualname__}"
        for name, member in vars(value).items():
            if not name.startswith("__") or isinstance(member, FunctionType):
                plain = getattr(member, "__func__", getattr(member, "fget", member))
                yield name
                yield from _referred(plain, seen)
    else:
        kind = type(value)
        yield f"object {kind.__module__}.{kind.__qualname__}"
        if is_own(kind) and callable(value):
            yield from _parts(kind, seen)
            yield _constant(vars(value) if hasattr(value, "__dict__") else None)
        else:
            yield str(getattr(value, "__qualname__", ""))


def _function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    yield from _code(function.__code__)
    yield _constant([function.__defaults__, function.__kwdefaults__])
    names = list(names_in(function.__code__))
    space = function.__globals__
    for name in names:
        if name in space:
            found = space[name]
            if isinstance(found, ModuleType):
                if is_own(found):
                    members = [found.__dict__[n] for n in names if n in found.__dict__]
                    for member in members:
                        yield from _referred(member, seen)
            else:
                yield name
                yield from _referred(found, seen)
    for cell in function.__closure__ or ():
        try:
            yield from _referred(cell.cell_contents, seen)
        except ValueError:  # not assigned yet
            continue


def _referred(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield the parts of something that code refers to, if it is the user's own or a constant."""
    own = isinstance(value, (FunctionType, type)) and is_own(value)
    if own or isinstance(value, (Step, functools.partial, *CONSTANTS, *_CONTAINERS)):
        yield from _parts(value, seen)


def is_own(value: Any) -> bool:
    """Say whether a module, function or class is the user's own, not an installed package's."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    # What comes from no module of this process came by value, with a saved version or from another process.
    return name == "__main__" or (isinstance(name, str) and name not in sys.modules) or is_own_code(name)


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the global names and attributes that compiled code uses, in its inner functions too."""
    yield from dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def _code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield _constant([code.co_names, code.co_varnames, code.co_freevars])
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield _constant(constant)


def _constant(value: Any, depth: int = 0) -> str:
    """Return a constant as text that does not depend on the process; of other things only the type."""
    if isinstance(value, CONSTANTS):
        return f"{type(value).__name__}:{value!r}"
    name = type(value).__name__
    if not isinstance(value, _CONTAINERS) or depth > 20 or len(value) > _MAX_ITEMS:
        return f"{name}:{len(value)}" if isinstance(value, _CONTAINERS) else name
    if isinstance(value, dict):
        items = [f"{_constant(k, depth + 1)}={_constant(v, depth + 1)}" for k, v in value.items()]
    else:
        items = [_constant(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        items.sort()
    return f"{name}({','.join(items)})"
