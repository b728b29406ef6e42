from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import WorkspaceNotFoundError
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.workspace import links
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import Link, ToolContext

MakeContext = Callable[..., ToolContext]
ONE = Link("data:1", "run:1", links.INPUT_OF, {"name": "a"})
TWO = Link("run:1", "model:churn.clf:1", links.PRODUCED)


def record_many(root: Path, worker: int) -> None:
    workspace = ProjectWorkspace.load_metadata(root)
    for number in range(20):
        link = Link(f"data:{worker}", f"run:{worker}-{number}", links.INPUT_OF)
        links.record(workspace, [link], operation="test")


def test_links_are_kept_and_told_once(context: ToolContext) -> None:
    links.record(context.workspace, [ONE, TWO], operation="test")
    links.record(context.workspace, [TWO], operation="test")
    found = links.collect(context)
    assert found.links == (ONE, TWO)
    assert found.errors == {}
    assert found.confirmed == frozenset()


def test_many_processes_lose_no_link(context: ToolContext) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=record_many, args=(context.workspace.root_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found, damaged = links.logged(context.workspace)
    assert (len(found), damaged) == (60, [])


def test_rebuilding_keeps_what_only_the_log_knew_and_drops_what_is_damaged(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    with tracking.start_run() as run:
        run.log_dataset("train", digest="5" * 32, source={"x": 1})
    links.record(context.workspace, [ONE], operation="test")
    path = links.log_file(context.workspace)
    first = path.read_bytes()
    path.write_bytes(first + b'nonsense\n{"source":"a"}\n')
    assert "2, 3" in links.collect(context).errors["links"]
    rebuilt = links.rebuild(context)
    assert rebuilt.errors == {}
    found, damaged = links.logged(context.workspace)
    assert damaged == []
    assert ONE in found
    ends = {(link.source, link.target) for link in found}
    assert (f"data:{'5' * 32}", f"run:{run.run_id}") in ends
    assert rebuilt.links == len(found)
    assert first.strip() in path.read_bytes(), "the time of a link that was known is kept"


def test_a_tool_that_cannot_be_read_costs_none_of_its_old_links(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    with tracking.start_run() as run:
        run.log_dataset("train", digest="5" * 32, source={"x": 1})
    links.rebuild(context)
    before, _ = links.logged(context.workspace)
    tracking.close()
    tracking.database.write_bytes(b"no database" * 1000)
    assert list(links.collect(context).errors) == ["mlflow"]
    assert list(links.rebuild(context).errors) == ["mlflow"]
    assert links.logged(context.workspace)[0] == before


def test_a_workspace_that_is_gone_is_not_brought_back(context: ToolContext) -> None:
    workspace = context.workspace
    for path in sorted(workspace.root_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    workspace.root_path.rmdir()
    with pytest.raises(WorkspaceNotFoundError):
        links.record(workspace, [ONE], operation="test")
    assert not workspace.root_path.exists()
