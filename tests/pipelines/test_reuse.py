"""What is not done again: cached steps, and the finished steps of a run that failed."""

from __future__ import annotations

import json
import shutil
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops import DataNotFoundError, MLOpsClient, PipelineError, StepError, step


@pytest.fixture
def calls() -> deque[str]:
    # Not a list: what a list in a step's closure holds is part of the step.
    return deque()


def counting(calls: deque[str], name: str, function: Callable[..., Any], **options: Any) -> Any:
    """Return a cached step that notes when it is called; the function decides its identity."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return function(*args, **kwargs)

    wrapped.__signature__ = __import__("inspect").signature(function)  # type: ignore[attr-defined]
    return step(wrapped, name=name, **{"cache": True, **options})


def test_a_cached_step_is_not_called_again_until_something_changes(
    client: MLOpsClient, calls: deque[str]
) -> None:
    def load(rows: int) -> pd.DataFrame:
        return pd.DataFrame({"x": range(rows)})

    def fit(data: pd.DataFrame, rate: float = 0.1) -> float:
        return float(data["x"].sum()) * rate

    pipeline = client.create_pipeline("p")
    pipeline.add_step(counting(calls, "load", load)).add_step(counting(calls, "fit", fit))

    def run(**params: Any) -> tuple[Any, list[str]]:
        calls.clear()
        result = pipeline.run(params=params)
        return result, list(calls)

    first, called = run(rows=3)
    assert called == ["load", "fit"]
    second, called = run(rows=3)
    assert called == []
    assert second.outputs["fit"] == first.outputs["fit"] == pytest.approx(0.3)
    assert second.steps["fit"].reused_from == first.steps["fit"].run_id
    assert second.steps["fit"].attempts == 0
    recorded = client.get_run(second.steps["fit"].run_id or "")
    assert recorded["tags"]["mlops.step_reused_from"] == first.steps["fit"].run_id
    pd.testing.assert_frame_equal(second.outputs["load"], first.outputs["load"])
    assert run(rows=3, rate=0.2)[1] == ["fit"]
    assert run(rows=4)[1] == ["load", "fit"]
    assert run(rows=3)[1] == []
    planned = {p.name: p.reused_from for p in pipeline.dry_run(params={"rows": 3})}
    assert planned == {name: first.steps[name].run_id for name in ("load", "fit")}
    assert {p.name: p.reused_from for p in pipeline.dry_run(params={"rows": 9})} == {
        "load": None,
        "fit": None,
    }


def test_other_code_is_another_step(client: MLOpsClient, calls: deque[str]) -> None:
    for function in (lambda: 1, lambda: 2, lambda: 1):
        client.create_pipeline("p").add_step(counting(calls, "load", function)).run()
    assert list(calls) == ["load", "load"]


def test_a_result_that_was_lost_or_damaged_is_made_again(client: MLOpsClient, calls: deque[str]) -> None:
    pipeline = client.create_pipeline("p").add_step(counting(calls, "load", lambda: {"a": [1, 2]}))
    pipeline.run()
    objects = client.workspace_path / "pipelines" / "objects"
    (stored,) = [path for path in objects.rglob("*") if path.is_file()]
    stored.write_text(stored.read_text().replace("1", "7"))
    assert pipeline.run().outputs["load"] == {"a": [1, 2]}
    assert list(calls) == ["load", "load"]
    assert pipeline.run().steps["load"].cached
    shutil.rmtree(objects)
    assert not pipeline.run().steps["load"].cached
    for entry in (client.workspace_path / "pipelines" / "cache").rglob("*.json"):
        entry.write_text("{")
    assert not pipeline.run().steps["load"].cached
    assert pipeline.run().steps["load"].cached


def test_files_and_data_versions_count_by_their_content(
    client: MLOpsClient, calls: deque[str], tmp_path: Path
) -> None:
    source, config = tmp_path / "rows.csv", tmp_path / "config.json"
    source.write_text("1\n2\n")
    config.write_text("{}")

    def load(config: Path) -> str:
        return client.dvc_add(source).md5

    pipeline = client.create_pipeline("p", params={"config": config})
    pipeline.add_step(counting(calls, "load", load))
    first = pipeline.run()
    again = pipeline.run()
    assert again.steps["load"].cached
    (use,) = client.tracking.datasets(again.run_id)
    assert use["digest"] == first.outputs["load"]
    config.write_text('{"a": 1}')
    assert not pipeline.run().steps["load"].cached
    assert pipeline.run().steps["load"].cached
    source.write_text("1\n2\n3\n")
    changed = pipeline.run()
    assert not changed.steps["load"].cached
    assert changed.outputs["load"] != first.outputs["load"]


def test_a_path_that_a_step_returned_is_reused_while_its_file_is_the_same(
    client: MLOpsClient, calls: deque[str], tmp_path: Path
) -> None:
    def write() -> Path:
        target = tmp_path / "made.txt"
        target.write_text("made")
        return target

    pipeline = client.create_pipeline("p").add_step(counting(calls, "write", write))
    pipeline.run()
    assert pipeline.run().steps["write"].cached
    (tmp_path / "made.txt").write_text("edited")
    assert not pipeline.run().steps["write"].cached
    assert (tmp_path / "made.txt").read_text() == "made"


def test_what_cannot_be_stored_is_handed_on_and_never_reused(client: MLOpsClient, calls: deque[str]) -> None:
    def connect() -> Any:
        return threading.Lock()

    def use(connection: Any) -> bool:
        return bool(connection.acquire(blocking=False))

    pipeline = client.create_pipeline("p")
    pipeline.add_step(counting(calls, "connect", connect)).add_step(counting(calls, "use", use))
    assert pipeline.run().outputs["use"] is True
    assert pipeline.run().outputs["use"] is True
    assert list(calls) == ["connect", "use"] * 2


def test_a_cache_stays_in_its_project_and_moves_with_it(
    client: MLOpsClient, calls: deque[str], base: Path
) -> None:
    made = counting(calls, "load", lambda: 1)
    client.create_pipeline("p").add_step(made).run()
    other = MLOpsClient("other", base_path=base)
    assert not other.create_pipeline("p").add_step(made).run().steps["load"].cached
    client.close()
    client.manager.clone_workspace("churn", "copy")
    run = MLOpsClient("copy", base_path=base).create_pipeline("p").add_step(made).run()
    assert run.steps["load"].cached
    assert run.outputs["load"] == 1
    entries = (client.workspace_path / "pipelines").rglob("*.json")
    assert not any(str(base) in path.read_text() for path in entries)


def test_a_failed_run_goes_on_from_the_step_that_failed(client: MLOpsClient, calls: deque[str]) -> None:
    broken = [True]

    def load(rows: int) -> list[int]:
        return list(range(rows))

    def fit(data: list[int]) -> int:
        if broken[0]:
            raise OSError("disk full")
        return sum(data)

    pipeline = client.create_pipeline("p")
    pipeline.add_step(counting(calls, "load", load, cache=False)).add_step(
        counting(calls, "fit", fit, cache=False)
    )
    with pytest.raises(StepError) as caught:
        pipeline.run(params={"rows": 4})
    failed = caught.value.details["run_id"]
    broken[0] = False
    calls.clear()
    run = pipeline.run(resume=failed)
    assert list(calls) == ["fit"]
    assert run.outputs["fit"] == 6
    assert (run.resumed_from, run.params) == (failed, {"rows": 4})
    assert run.steps["load"].cached
    assert client.get_run(run.run_id)["tags"]["mlops.resumes"] == failed
    assert client.get_run(failed)["status"] == "FAILED"
    calls.clear()
    assert pipeline.run(resume=failed, params={"rows": 3}).outputs["fit"] == 3
    assert list(calls) == ["load", "fit"]


def test_only_a_run_of_the_pipeline_can_be_resumed(client: MLOpsClient) -> None:
    pipeline = client.create_pipeline("p").add_step(lambda_step := step(lambda: 1, name="one"))
    other = client.create_pipeline("other").add_step(lambda_step).run()
    with pytest.raises(PipelineError, match="is not one of the pipeline 'p' but of 'other'"):
        pipeline.run(resume=other.run_id)
    with pytest.raises(DataNotFoundError):
        pipeline.run(resume="0" * 32)
    assert client.list_runs("p") == []


def test_parameters_that_could_not_be_stored_must_be_given_again(client: MLOpsClient) -> None:
    lock = threading.Lock()
    pipeline = client.create_pipeline("p").add_step(step(lambda lock: 1 / 0, name="fail"))
    with pytest.raises(StepError) as caught:
        pipeline.run(params={"lock": lock})
    failed = caught.value.details["run_id"]
    with pytest.raises(DataNotFoundError, match=r"parameters of the run .* are not stored"):
        pipeline.run(resume=failed)
    with pytest.raises(StepError):
        pipeline.run(resume=failed, params={"lock": lock})


def test_cache_entries_are_plain_json(client: MLOpsClient, calls: deque[str]) -> None:
    client.create_pipeline("p").add_step(counting(calls, "load", lambda: 1)).run()
    (entry,) = (client.workspace_path / "pipelines" / "cache").rglob("*.json")
    assert set(json.loads(entry.read_text())) == {"created_at", "run_id", "outputs", "data"}
