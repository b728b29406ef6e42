"""Replacing a function of MLflow wherever MLflow itself has imported it."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any


def rebind(module_name: str, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Replace a function in its module and in every module of MLflow that has imported it by name.

    Args:
        module_name: The module that defines it.
        name: The function.
        make: Takes the function and returns what takes its place.
    """
    original = getattr(importlib.import_module(module_name), name)
    replacement = functools.wraps(original)(make(original))
    for loaded_name, module in list(sys.modules.items()):
        if loaded_name.partition(".")[0] == "mlflow" and vars(module).get(name) is original:
            setattr(module, name, replacement)
