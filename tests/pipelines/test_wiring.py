from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlops import Pipeline, PipelineError, step


def sources(pipeline: Pipeline, **params: Any) -> dict[str, dict[str, str]]:
    return {planned.name: dict(planned.inputs) for planned in pipeline.dry_run(params=params)}


def named(name: str, *parameters: str, **options: Any) -> Any:
    """Return a step with the parameters named."""
    space: dict[str, Callable[..., Any]] = {}
    exec(f"def {name}({', '.join(parameters)}): ...", space)  # noqa: S102
    return step(space[name], **options)


def pipeline(*steps: Any, **params: Any) -> Pipeline:
    made = Pipeline("p", params=params)
    for each in steps:
        made.add_step(each)
    return made


def test_by_order_a_step_takes_what_the_one_before_it_returns() -> None:
    assert sources(pipeline(named("load"), named("fit", "data"), named("score", "model"))) == {
        "load": {},
        "fit": {"data": "load.load"},
        "score": {"model": "fit.fit"},
    }


def test_names_go_before_order() -> None:
    made = pipeline(
        named("split", outputs=["train", "test"]),
        named("fit", "train", "rate"),
        named("score", "fit", "test", "rate"),
        rate=0.1,
    )
    assert sources(made) == {
        "split": {},
        "fit": {"train": "split.train", "rate": "params.rate"},
        "score": {"fit": "fit.fit", "test": "split.test", "rate": "params.rate"},
    }


def test_declared_inputs_go_before_names_and_may_come_later() -> None:
    made = pipeline(
        named("score", "model", inputs=["fit"]), named("fit", "rows", inputs=["load"]), named("load")
    )
    assert sources(made)["score"] == {"model": "fit.fit"}
    assert [planned.name for planned in made.dry_run()] == ["load", "fit", "score"]


def test_a_default_stays_unless_a_name_says_otherwise() -> None:
    made = pipeline(named("load"), named("fit", "data", "rate=0.1"))
    assert sources(made)["fit"] == {"data": "load.load"}
    assert sources(made, rate=0.2)["fit"] == {"data": "load.load", "rate": "params.rate"}


def test_steps_without_inputs_keep_their_order_unless_they_declare_to_have_none() -> None:
    kept = pipeline(named("download"), named("train"))
    assert [planned.stage for planned in kept.dry_run()] == [1, 2]
    free = pipeline(named("one"), named("two", inputs=[]), named("join", "one", "two"))
    assert [planned.stage for planned in free.dry_run()] == [1, 1, 2]


def test_two_outputs_fit_two_parameters_in_order() -> None:
    made = pipeline(named("split", outputs=["a", "b"]), named("join", "left", "right"))
    assert sources(made)["join"] == {"left": "split.a", "right": "split.b"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([named("a"), named("a")], "two steps named 'a'"),
        ([named("a", outputs="x"), named("b", outputs="x")], "two steps that return 'x': 'a' and 'b'"),
        ([named("a", "b"), named("b", "a")], "a cycle: .*a -> "),
        ([named("a", "x", inputs=["y"], outputs="x"), named("b", "x", outputs="y")], "a cycle: "),
        ([named("a", "x", inputs=["a"])], "a cycle: a -> a"),
    ],
)
def test_what_can_never_run_is_refused_when_it_is_added(steps: list[Any], message: str) -> None:
    made = pipeline(*steps[:-1])
    with pytest.raises(PipelineError, match=message) as caught:
        made.add_step(steps[-1])
    assert caught.value.operation == "add_step"
    assert [each.name for each in made.steps] == [each.name for each in steps[:-1]]


@pytest.mark.parametrize(
    ("steps", "params", "message"),
    [
        ([named("fit", "data")], {}, "nothing for the parameter 'data' of the step 'fit'"),
        (
            [named("load"), named("fit", "data", "rate")],
            {},
            "nothing for the parameter 'rate' of the step 'fit'",
        ),
        ([named("fit", "data", inputs=["rows"])], {}, "nothing named 'rows', which the step 'fit' declares"),
        (
            [named("a", outputs=["x", "y"]), named("b", "z")],
            {},
            "which of the outputs x, y of 'a' the step 'b'",
        ),
        ([named("a"), named("b", "a")], {"a": 1}, "a parameter 'a' and a step 'a'"),
        ([named("a"), named("b", "a")], {"c": 1}, "no step that takes the parameter 'c'"),
        ([named("a", when=lambda b: b)], {}, "nothing named 'b', which the condition of 'a' takes"),
        ([], {}, "has no steps"),
    ],
)
def test_what_cannot_run_is_refused_before_it_runs(
    steps: list[Any], params: dict[str, Any], message: str
) -> None:
    made = pipeline(*steps)
    with pytest.raises(PipelineError, match=message) as caught:
        made.build(params)
    assert caught.value.hint


def test_order_never_counts_against_names() -> None:
    made = pipeline(named("fit", "data", inputs=["load"]), named("load", "path"))
    assert sources(made, path="x") == {"load": {"path": "params.path"}, "fit": {"data": "load.load"}}
    again = pipeline(named("fit", "load"), named("load"))
    assert [planned.name for planned in again.dry_run()] == ["load", "fit"]


def test_positional_parameters_are_wired_too() -> None:
    assert sources(pipeline(named("load"), named("fit", "data", "/", "rate"), rate=1)) == {
        "load": {},
        "fit": {"data": "load.load", "rate": "params.rate"},
    }


def test_a_drawing_needs_no_parameters() -> None:
    made = pipeline(
        named("load", "path"),
        named("split", "rows", outputs=["train", "test"]),
        named("fit", "train", "rate", map="train"),
        named("report", "fit", "test", when=lambda fit: fit),
        rate=0.1,
    )
    assert made.draw().splitlines() == [
        "1. load(path=?) -> load",
        "2. split(rows=load) -> train, test",
        "3. fit(train=split.train, rate=params.rate) -> fit",
        "   once for each item of train",
        "4. report(fit=fit, test=split.test) -> report",
        "   only if its condition holds: fit",
    ]
    assert made.draw("mermaid", params={"path": "x"}).splitlines() == [
        "flowchart TD",
        '    s0["load"]',
        '    s1["split"]',
        '    s2["fit"]',
        '    s3{{"report"}}',
        "    p0 -.-> s0",
        '    s0 -->|"load"| s1',
        "    p1 -.-> s2",
        '    s1 -->|"train"| s2',
        '    s1 -->|"test"| s3',
        '    s2 -->|"fit"| s3',
        '    p0(["path"])',
        '    p1(["rate"])',
    ]
    with pytest.raises(PipelineError, match="cannot be drawn as 'png'"):
        made.draw("png")
