"""Which files a user's own service consists of: found by reading its imports, without running any of it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from mlops.errors import IntegrationError

_HINT: Final = "put the class into a file of its own, with its imports, and pass that file or 'module:Class'"
# Everything below these came with a package; such packages are requirements, not part of a service.
_INSTALLED: Final = ("site-packages", "dist-packages")
_LEFT_OUT: Final = ("__pycache__",)


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """The source of a service.

    Args:
        root: The directory that its modules are imported from.
        target: What BentoML imports: ``module:attribute``, or ``module`` for the only service in it.
        paths: The files, relative to ``root``, in the order of their names.
    """

    root: Path
    target: str
    paths: tuple[Path, ...]


def find(service: Any, *, operation: str, workspace: str) -> ServiceFiles:
    """Find the files of a service.

    A service in a package brings all of that package, data files among them. One in a single file brings the
    modules and packages beside it that it imports, and what those import.

    Args:
        service: A class with BentoML's decorator, ``module:Class``, or the path of a Python file, with or
            without ``:Class``.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        IntegrationError: It is not to be found in a file, or the file cannot be read as Python.
    """

    def error(message: str, hint: str = _HINT) -> IntegrationError:
        return IntegrationError(message, tool="bentoml", operation=operation, workspace=workspace, hint=hint)

    if isinstance(service, (str, Path)):
        place, _, attribute = str(service).partition(":")
        path = Path(place).expanduser().absolute() if place.endswith(".py") else _module_file(place)
        if path is None or not path.is_file():
            raise error(f"There is no file of the service {str(service)!r}", "check the name and sys.path")
    else:
        path, attribute = _file_of(service, error)
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    relative = path.relative_to(root)
    parts = relative.parent.parts if path.name == "__init__.py" else relative.with_suffix("").parts
    try:
        paths = tuple(sorted(_with_imports(root, relative)))
    except (SyntaxError, ValueError) as problem:
        raise error(f"{path} cannot be packaged: {problem}", "correct the file that is named") from problem
    return ServiceFiles(root, ".".join(parts) + (f":{attribute}" if attribute else ""), paths)


def _module_file(name: str) -> Path | None:
    """Return a module's file as an import would find it, without importing the packages it is in."""
    search: list[str] | None = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        # The current directory is on the path of a program, but not everywhere under that name.
        where = [entry or str(Path.cwd()) for entry in sys.path] if search is None else search
        spec = PathFinder.find_spec(".".join(parts[:end]), where)
        if spec is None:
            return None
        search = [*spec.submodule_search_locations] if spec.submodule_search_locations else []
    return Path(spec.origin).absolute() if spec and spec.origin else None


def _file_of(service: Any, error: Any) -> tuple[Path, str]:
    inner = getattr(service, "inner", None)
    if inner is None or not hasattr(service, "apis"):
        raise error(
            f"{service!r} is not a BentoML service",
            "decorate the class with @bentoml.service, or pass its file",
        )
    name = str(inner.__module__)
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name == "__main__" or file is None:
        raise error(
            f"The service {inner.__name__} is defined in {name}, a notebook or the program itself, "
            "which no server could import"
        )
    for attribute, value in vars(module).items():
        if value is service:
            return Path(file).absolute(), attribute
    raise error(f"The service {inner.__name__} is not a variable of its module {name}")


def _with_imports(root: Path, first: Path) -> Iterator[Path]:
    """Yield the files that a module needs of those below ``root``, itself among them."""
    installed = root.name in _INSTALLED
    seen: set[str] = set()
    pending = [first.parts[0].removesuffix(".py")]
    while pending:
        name = pending.pop()
        if name in seen or (installed and seen):
            continue
        seen.add(name)
        for path in _top_level(root, name):
            yield path.relative_to(root)
            if path.suffix == ".py":
                pending += _imported(path)


def _top_level(root: Path, name: str) -> list[Path]:
    package, module = root / name, root / f"{name}.py"
    if (package / "__init__.py").is_file():
        found = (path for path in package.rglob("*") if path.is_file())
        return [path for path in found if not _is_left_out(path.relative_to(root))]
    return [module] if module.is_file() else []


def _is_left_out(path: Path) -> bool:
    return any(part in _LEFT_OUT or part.startswith(".") for part in path.parts)


def _imported(path: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports; relative imports stay in its package."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
