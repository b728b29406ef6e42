"""Python objects turned into bytes that load again in another process.

``skops`` is preferred for estimators made of well-known classes only. Objects that involve the user's own
code are pickled with that code inside, so that they load where the module they came from does not exist.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

# Packages whose classes hold parameters and arrays; a type of any other package means the user's own code.
TRUSTED_PACKAGES: Final = frozenset(
    {"sklearn", "numpy", "scipy", "pandas", "xgboost", "lightgbm", "catboost", "imblearn"}
)
# How objects refuse to be pickled.
REFUSALS: Final = (pickle.PicklingError, TypeError, AttributeError, RecursionError)
# What a module gets anew wherever it is rebuilt.
_MODULE_STATE: Final = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__"})
TRUSTED_TYPES: Final = frozenset(
    {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
)


def dump_skops(model: Any, path: Path) -> list[str] | None:
    """Write an estimator in the skops format, if it consists of well-known types and loads again.

    Args:
        model: The estimator.
        path: The file to write; it does not exist afterwards if the estimator does not fit the format.

    Returns:
        The types that a reader has to trust, or None if the format cannot hold this estimator.
    """
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

    types: list[str] | None = None
    # What the format cannot hold (lambdas, local classes, open handles) it refuses in any of these ways.
    refusals = (
        UnsupportedTypeException,
        UntrustedTypesFoundException,
        AttributeError,
        ImportError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    )
    with contextlib.suppress(*refusals):
        skops.io.dump(model, path)
        found = sorted(skops.io.get_untrusted_types(file=path))
        if all(t in TRUSTED_TYPES or t.partition(".")[0] in TRUSTED_PACKAGES for t in found):
            types = found if type(skops.io.load(path, trusted=found)) is type(model) else None
    if types is None:
        path.unlink(missing_ok=True)
    return types


def dump_pickle(value: Any, path: Path) -> None:
    """Pickle an object with the user's own classes, functions and modules inside.

    Where own code holds something that cannot be pickled, such as a lock at module level, it is referred to
    by its import path instead, as pickle does; the object then loads where that module can be imported.
    """
    import cloudpickle

    try:
        with path.open("wb") as stream:
            by_value()(stream).dump(value)
    except REFUSALS:
        with path.open("wb") as stream:
            cloudpickle.dump(value, stream)


def by_value() -> Any:
    """Return a pickler class that stores the user's own code with the object instead of its import path."""
    import cloudpickle
    from cloudpickle import cloudpickle as reducers

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type) and is_own_code(obj.__module__):
                return reducers._dynamic_class_reduce(obj)
            if isinstance(obj, FunctionType) and is_own_code(obj.__module__):
                return self._dynamic_function_reduce(obj)
            if isinstance(obj, ModuleType) and is_own_code(obj.__name__):
                state = {key: item for key, item in vars(obj).items() if key not in _MODULE_STATE}
                return reducers.dynamic_subimport, (obj.__name__, state)
            return super().reducer_override(obj)

    return Pickler


def torch_pickle_module() -> Any:
    """Return a pickle module for ``torch.save`` that stores own code, and whose files MLflow reads by itself.

    PyTorch uses the module's ``Pickler``, and MLflow stores its name to find the ``Unpickler`` again.
    """
    from mlflow.pytorch import pickle_module

    module = ModuleType(pickle_module.__name__)
    vars(module).update({key: item for key, item in vars(pickle_module).items() if not key.startswith("__")})
    module.Pickler = by_value()  # type: ignore[attr-defined]
    return module


@cache
def _installed_roots() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def is_own_code(module: Any) -> bool:
    """Say whether a module is the user's own: a file that is in no installed package."""
    if not isinstance(module, str) or module == "mlops" or module.startswith("mlops."):
        return False
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if not isinstance(file, str):
        return False
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(root in path.parents for root in _installed_roots())
