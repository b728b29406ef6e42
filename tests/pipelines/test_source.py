from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops import step
from mlops.pipelines.source import code_hash, source_of

BEFORE = """
import math
RATE = 0.1
WORDS = {"a", "b", "c"}
class Scaler:
    def scale(self, x):
        return x * 2
def helper(x):
    return x + RATE
def train(x, depth=3):
    # a comment
    def inner(y):
        return helper(y) if y not in {"q", "r"} else math.pi
    return Scaler().scale(inner(x)), WORDS
"""


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Callable[..., Any]:
    path = tmp_path / "own_code.py"
    path.write_text(text)
    module = types.ModuleType("own_code")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "own_code", module)
    exec(compile(text, str(path), "exec"), vars(module))  # noqa: S102
    return module.train


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# a comment", "# another comment\n", True),
        ("return x + RATE", "return x - RATE", False),
        ("RATE = 0.1", "RATE = 0.2", False),
        ("return x * 2", "return x * 3", False),
        ("depth=3", "depth=4", False),
        ('"c"}', '"d"}', False),
        ("helper(y) if", "helper(y + 1) if", False),
        ("math.pi", "math.e", False),
        ('{"q", "r"}', '{"r", "q"}', True),
    ],
)
def test_a_hash_follows_everything_the_user_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, same: bool
) -> None:
    first = code_hash(load(tmp_path, monkeypatch, BEFORE))
    assert old in BEFORE
    second = code_hash(load(tmp_path, monkeypatch, BEFORE.replace(old, new)))
    assert (first == second) is same


def test_closures_partials_and_methods_count_with_what_they_hold() -> None:
    def make(rate: float) -> Callable[[float], float]:
        return lambda x: x * rate

    class Model:
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def apply(self, x: float) -> float:
            return x * self.rate

    def power(x: float, n: int) -> float:
        return x**n

    for one, other in [
        (make(1), make(2)),
        (Model(1).apply, Model(2).apply),
        (functools.partial(power, n=1), functools.partial(power, n=2)),
    ]:
        assert code_hash(one) != code_hash(other)
    assert code_hash(make(1)) == code_hash(make(1))
    assert code_hash(step(power, name="p", retry=3)) == code_hash(power)
    assert code_hash(sorted) != code_hash(len)


def test_a_hash_is_the_same_in_every_process(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "own_code.py").write_text(BEFORE)
    code = "import own_code; from mlops.pipelines.source import code_hash; print(code_hash(own_code.train))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_the_source_is_what_people_compare() -> None:
    @step(retry=3)
    def train(x: int) -> int:
        # why
        return x + 1

    assert source_of(train) == "def train(x: int) -> int:\n    return x + 1"
    assert source_of(lambda: 1) is None
    assert source_of(len) is None
