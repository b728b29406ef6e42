from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest

from mlops import Pipeline, PipelineError, step


async def fetch() -> None: ...


def load(path: str, rows: int = 3) -> list[int]:
    return list(range(rows))


@step(outputs=["a", "b"], retry=2)
def halves(values: list[int]) -> tuple[list[int], list[int]]:
    """Split in two."""
    return values[:1], values[1:]


def test_a_step_is_still_the_function() -> None:
    assert halves([1, 2]) == ([1], [2])
    assert halves.name == "halves"
    assert halves.output_names == ("a", "b")
    assert step(load).output_names == ("load",)
    assert step(load, name="other").name == "other"
    assert step(functools.partial(load, "x")).name == "load"
    assert step(halves, name="again").fn is halves.fn


def test_a_step_of_a_module_travels_as_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("own_steps")
    exec("from mlops import step\n@step(cache=True)\ndef double(x):\n    return 2 * x", vars(module))  # noqa: S102
    monkeypatch.setitem(sys.modules, "own_steps", module)
    assert pickle.loads(pickle.dumps(module.double)) is module.double


def test_inputs_are_for_parameters_by_name_or_in_order() -> None:
    def fit(data: Any, *, rate: float) -> None: ...

    assert step(fit, inputs=["frame"]).inputs == {"data": "frame"}
    assert step(fit, inputs="frame").inputs == {"data": "frame"}
    assert step(fit, inputs=["rate", "frame"]).inputs == {"rate": "rate", "data": "frame"}
    assert step(fit, inputs={"rate": "speed"}).inputs == {"rate": "speed"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["a", "b", "c"]}, "declares the inputs a, b, c and takes path, rows"),
        ({"inputs": {"nonsense": "a"}}, "'nonsense', which is no parameter"),
        ({"outputs": ["a", "a"]}, "declares an output twice: a, a"),
        ({"outputs": ["../a"]}, "An output of the step 'load' cannot be named '../a'"),
        ({"name": "a/b"}, "A step cannot be named 'a/b'"),
        ({"retry": -1}, "retry=-1"),
        ({"retry": True}, "retry=True"),
        ({"backoff": -0.1}, "backoff=-0.1"),
        ({"timeout": 0}, "timeout=0"),
        ({"map": "nonsense"}, "maps over 'nonsense'"),
        ({"when": "sometimes"}, "a condition that is no function"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        step(load, **options)
    assert caught.value.operation == "step"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (42, "must be a function, not int"),
        (lambda: 1, "cannot be named '<lambda>'"),
        (fetch, "'fetch' is a coroutine"),
        (load, ""),
    ],
)
def test_only_a_function_with_a_name_becomes_a_step(thing: Any, message: str) -> None:
    pipeline = Pipeline("p")
    if message:
        with pytest.raises(PipelineError, match=message):
            pipeline.add_step(thing)
        assert pipeline.steps == ()
    else:
        assert pipeline.add_step(thing) is pipeline


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "é", "a" * 101, "a b"])
def test_a_pipeline_has_a_name_that_can_be_a_file(name: str) -> None:
    with pytest.raises(PipelineError, match="A pipeline cannot be named"):
        Pipeline(name)
