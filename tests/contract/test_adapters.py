"""What every adapter promises, run over every adapter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops import WorkspaceManager, WorkspaceNotFoundError
from mlops.files import Usage
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import Link, ToolAdapter, ToolContext, ToolState
from tests.contract.populate import CASES, Case

Make = Callable[..., ToolContext]


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def tree(path: Path) -> list[str]:
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


def build(case: Case, context: ToolContext) -> Any:
    return tools.create(case.tool, context)


def test_it_fulfils_the_protocol(case: Case, context: ToolContext) -> None:
    adapter = build(case, context)
    assert isinstance(adapter, ToolAdapter)
    assert adapter.tool == case.tool


def test_looking_at_an_empty_project_creates_nothing(case: Case, context: ToolContext, base: Path) -> None:
    before = tree(base)
    adapter = build(case, context)
    health = adapter.health()
    assert (health.tool, health.state) == (case.tool, ToolState.NOT_CREATED)
    assert health.version
    assert adapter.summary()[case.count] == 0
    assert adapter.usage() == Usage(0, 0)
    assert list(adapter.links()) == []
    adapter.close()
    assert tree(base) == before


def test_ensure_is_safe_to_repeat_and_to_race(case: Case, context: ToolContext) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def ensure() -> None:
        adapter = build(case, context)
        barrier.wait()
        try:
            adapter.ensure()
            adapter.ensure()
        except BaseException as error:  # noqa: BLE001 - reported by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert build(case, context).health().state is ToolState.READY


def test_what_is_stored_is_counted_and_stays_in_its_project(
    case: Case, make_context: Make, tmp_path: Path
) -> None:
    one, other = make_context("one"), make_context("other")
    build(case, other).ensure()
    adapter = build(case, one)
    before = build(case, other).summary()
    untouched = tree(other.workspace.root_path)
    case.populate(adapter, tmp_path)
    adapter.close()

    seen_by_another = build(case, one)
    assert seen_by_another.health().state is ToolState.READY
    summary = seen_by_another.summary()
    assert summary[case.count] == 1
    assert json.loads(json.dumps(summary)) == summary
    assert seen_by_another.usage().bytes > 0
    assert all(isinstance(link, Link) for link in seen_by_another.links())
    assert build(case, other).summary() == before
    assert tree(other.workspace.root_path) == untouched
    assert list(Path.cwd().iterdir()) == []


def test_an_export_is_complete_and_restores_into_another_project(
    case: Case, make_context: Make, tmp_path: Path
) -> None:
    original, target = make_context("original"), make_context("target")
    adapter = build(case, original)
    case.populate(adapter, tmp_path)
    copy = tmp_path / "export"
    copy.mkdir()
    adapter.export(copy)
    expected = adapter.summary()[case.count]
    adapter.close()
    shutil.rmtree(original.workspace.root_path)

    restored = build(case, target)
    restored.restore(copy)
    assert restored.summary()[case.count] == expected == 1
    # Nothing stored points back to where it came from.
    (tmp_path / "again").mkdir()
    case.populate(restored, tmp_path / "again")
    restored.close()
    assert not original.workspace.root_path.exists()


def test_it_adopts_what_a_former_name_and_place_left(
    case: Case, make_context: Make, base: Path, tmp_path: Path
) -> None:
    before = make_context("former")
    adapter = build(case, before)
    case.populate(adapter, tmp_path)
    expected = adapter.summary()[case.count]
    adapter.close()
    before.workspace.root_path.rename(base / "present")
    workspace = ProjectWorkspace.load_metadata(base / "present", project_name="present")
    present = build(case, ToolContext(workspace, before.settings))
    for _ in range(2):
        present.adopt(before.workspace, moved=True)
    assert present.health().state is ToolState.READY
    assert present.summary()[case.count] == expected == 1
    assert not any("former." in end for link in present.links() for end in (link.source, link.target))
    (tmp_path / "again").mkdir()
    case.populate(present, tmp_path / "again")
    present.close()
    assert not before.workspace.root_path.exists()


def test_there_is_nothing_to_adopt_in_an_empty_project(case: Case, context: ToolContext, base: Path) -> None:
    before = tree(base)
    build(case, context).adopt(context.workspace, moved=True)
    assert list(build(case, context).in_use()) == []
    assert tree(base) == before


def test_a_closed_adapter_can_be_used_again(case: Case, context: ToolContext, tmp_path: Path) -> None:
    adapter = build(case, context)
    adapter.ensure()
    adapter.close()
    adapter.close()
    case.populate(adapter, tmp_path)
    assert adapter.summary()[case.count] == 1


def test_a_deleted_project_is_not_brought_back(case: Case, context: ToolContext, tmp_path: Path) -> None:
    adapter = build(case, context)
    adapter.ensure()
    WorkspaceManager(context.workspace.root_path.parent).delete_workspace("churn", force=True, purge=True)
    with pytest.raises(WorkspaceNotFoundError):
        adapter.ensure()
    assert not context.workspace.root_path.exists()


def test_a_project_created_again_starts_empty(case: Case, context: ToolContext, tmp_path: Path) -> None:
    manager = WorkspaceManager(context.workspace.root_path.parent)
    adapter = build(case, context)
    case.populate(adapter, tmp_path)
    manager.delete_workspace("churn", force=True)
    fresh = ToolContext(manager.create_workspace("churn"), context.settings)
    assert build(case, fresh).summary()[case.count] == 0
    assert build(case, fresh).health().state is ToolState.NOT_CREATED


def test_damage_is_reported_and_hides_no_other_tool(case: Case, make_context: Make, tmp_path: Path) -> None:
    from mlops import MLOpsClient

    context = make_context("churn")
    for other in CASES.values():
        build(other, context).ensure()
    build(case, context).close()
    case.damage(context)
    health = build(case, context).health()
    assert health.state is ToolState.UNAVAILABLE
    assert health.error
    client = MLOpsClient("churn", workspace_manager=WorkspaceManager(context.workspace.root_path.parent))
    status = client.get_status()
    assert status[case.tool]["state"] == "unavailable"
    assert status[case.tool]["error"]
    assert {status[tool]["state"] for tool in CASES if tool != case.tool} == {"ready"}


@pytest.fixture(scope="module")
def without_tool(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this environment, made of links, in which the tool is really not installed."""
    environment = tmp_path_factory.mktemp(f"without-{case.tool}")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name
        missing = name in (case.tool, "skinny") or name.startswith((f"{case.tool}-", f"{case.tool}_"))
        if not missing and not name.endswith(".pth"):
            (environment / name).symlink_to(entry)
    return environment


def test_a_tool_that_is_not_installed_says_which_extra_brings_it(
    case: Case, context: ToolContext, without_tool: Path, tmp_path: Path
) -> None:
    script = f"""
import json, pathlib, sys
sys.path[:0] = {[str(without_tool), str(Path(__file__).parents[2])]}
from mlops import IntegrationNotInstalledError, MLOpsClient
client = MLOpsClient("churn", base_path={str(context.workspace.root_path.parent)!r})
status = client.get_status()
adapter, work = client.adapter({case.tool!r}), pathlib.Path({str(tmp_path)!r})
(work / "train.csv").write_text("a")
(work / "model").mkdir()
(work / "model" / "MLmodel").write_text("flavors: {{python_function: {{loader_module: x}}}}")
try:
    {case.verb}
except IntegrationNotInstalledError as error:
    print(json.dumps([str(error), error.hint, error.tool, {{t: status[t]["state"] for t in {list(CASES)}}}]))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    message, hint, tool, states = json.loads(done.stdout.splitlines()[-1])
    assert tool == case.tool
    assert case.tool in message
    assert f'pip install "mlops-workspaces[{case.tool}]"' in hint
    assert states == {t: "not-installed" if t == case.tool else "not-created" for t in CASES}
