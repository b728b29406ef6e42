"""Limits on what a project stores: read, checked, and in the way of what has no room."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops import ConfigError, QuotaExceededError, WorkspaceManager
from mlops.files import Usage, measure, measure_parts, measure_removal
from mlops.workspace import room
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.quota import Limit, Limits, QuotaRow, assess, limits_of
from mlops.workspace.room import require_room
from mlops.workspace.sizes import parse_size


@pytest.fixture
def limited(manager: WorkspaceManager) -> Callable[..., ProjectWorkspace]:
    """Make a project with a quota and a number of bytes in some of its directories."""

    def make(quota: dict[str, Any], **held: int) -> ProjectWorkspace:
        workspace = manager.create_workspace("churn", quota=quota)
        for directory, size in held.items():
            (workspace.root_path / directory / "content").write_bytes(bytes(size))
        return workspace

    return make


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (5, 5),
        ("5", 5),
        ("10GB", 10_000_000_000),
        ("10 gb", 10_000_000_000),
        ("500 MiB", 524_288_000),
        ("1.5 TB", 1_500_000_000_000),
        (" 2KiB ", 2048),
        ("7 kB", 7000),
    ],
)
def test_sizes_are_decimal_or_binary(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "5 G", "5GBs", "-5GB", "1e9", "\u0665GB", "5,5GB", 5.5, True, None, []]
)
def test_what_is_no_size_is_refused_with_the_units_there_are(text: object) -> None:
    with pytest.raises(ValueError, match="a number of bytes, or one with a unit, of B, kB, MB, GB"):
        parse_size(text)


def test_limits_are_read_by_the_names_of_tools_and_of_directories(
    limited: Callable[..., ProjectWorkspace],
) -> None:
    quota = {"hard": "10GB", "tools": {"bentoml": {"soft": "1 GiB"}, "monitoring": {"hard": 5}, "dvc": {}}}
    assert limits_of(limited(quota)) == Limits(
        Limit(None, 10**10), {"models": Limit(2**30, None), "monitoring": Limit(None, 5)}
    )


def test_a_project_without_a_quota_has_no_limits(manager: WorkspaceManager) -> None:
    workspace = manager.create_workspace("churn")
    assert not limits_of(workspace)
    assert assess(limits_of(workspace), {"dvc": 5}, 5) == ()


@pytest.mark.parametrize(
    ("quota", "message"),
    [
        ({"hart": "1GB"}, "quota.hart is no key that is known"),
        ({"hard": "1 G"}, "quota.hard: it must be a number of bytes, or one with a unit.* not '1 G'"),
        ({"hard": 0}, "quota.hard: Input should be greater than 0, not 0"),
        ({"soft": True}, "quota.soft: it must be a number of bytes.* not True"),
        ({"soft": "2GB", "hard": "1GB"}, "quota: soft must be at most hard"),
        ({"tools": {"dvc": {"soft": 2, "hard": 1}}}, "quota.tools.dvc: soft must be at most hard"),
        ({"tools": {"git": {"hard": 1}}}, "quota.tools.git: it must be one of mlflow, dvc, .* not 'git'"),
        (
            {"tools": {"bentoml": {"hard": 1}, "models": {}}},
            "it must have bentoml and models once",
        ),
        ({"tools": {"dvc": "5GB"}}, "quota.tools.dvc: Input should be a valid dict"),
    ],
)
def test_a_wrong_quota_is_refused_before_anything_is_written(
    manager: WorkspaceManager, quota: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        manager.create_workspace("churn", quota=quota)
    assert (caught.value.operation, caught.value.workspace) == ("create_workspace", "churn")
    assert "mlops quota churn" in str(caught.value.hint)
    assert not (manager.base_path / "churn").exists()
    before = manager.create_workspace("churn").metadata_file.read_bytes()
    with pytest.raises(ConfigError, match=message):
        manager.update_workspace_metadata("churn", quota=quota)
    assert (manager.base_path / "churn" / "workspace.yaml").read_bytes() == before


def test_a_quota_is_kept_as_it_was_written_replaced_whole_and_cleared(manager: WorkspaceManager) -> None:
    manager.create_workspace("churn", quota={"hard": "10GB", "tools": {"bentoml": {"hard": "1GB"}}})
    assert manager.get_workspace("churn").quota == {"hard": "10GB", "tools": {"bentoml": {"hard": "1GB"}}}
    assert manager.get_or_create_workspace("churn", quota={"soft": "5GB"}).quota == {"soft": "5GB"}
    assert manager.get_or_create_workspace("churn").quota == {"soft": "5GB"}
    assert manager.update_workspace_metadata("churn", quota=None).quota == {}


def test_limits_travel_with_a_project(manager: WorkspaceManager, tmp_path: Path) -> None:
    quota = {"hard": "10GB"}
    manager.bootstrap(["churn"], quota=quota)
    assert manager.clone_workspace("churn", "copied").quota == quota
    assert manager.rename_workspace("copied", "renamed").quota == quota
    manager.export_workspace("churn", tmp_path / "churn.tar.zst")
    manager.delete_workspace("churn", force=True)
    assert manager.import_workspace(tmp_path / "churn.tar.zst").quota == quota


@pytest.mark.parametrize("written", ["10GB", "[1, 2]", "{hard: ten}"])
def test_a_quota_mistyped_in_the_file_limits_nothing_and_closes_nothing(
    limited: Callable[..., ProjectWorkspace],
    manager: WorkspaceManager,
    caplog: pytest.LogCaptureFixture,
    written: str,
) -> None:
    workspace = limited({"hard": "1kB"}, dvc=500)
    file = workspace.metadata_file
    file.write_text(file.read_text().replace("quota:\n  hard: 1kB", f"quota: {written}"))
    opened = manager.get_workspace("churn")
    with pytest.raises(ConfigError, match="The quota section of 'churn' is wrong: quota"):
        limits_of(opened)
    for _ in range(2):
        require_room(opened, directory="dvc", adding_bytes=10_000, operation="add")
    assert [record.getMessage()[:58] for record in caplog.records] == [
        "Nothing is limited in 'churn': The quota section of 'churn"
    ]
    # What else is changed leaves it as it is.
    assert manager.update_workspace_metadata("churn", description="new").quota == opened.quota


def test_rows_say_what_is_used_of_each_limit_the_total_first() -> None:
    limits = Limits(Limit(10, 20), {"dvc": Limit(None, 7), "models": Limit(5, None), "mlflow": Limit(1, 2)})
    assert assess(limits, {"dvc": 7, "models": 6, "mlflow": 3, "outputs": 900}, 10) == (
        QuotaRow("total", 10, 10, 20, "ok"),
        QuotaRow("dvc", 7, None, 7, "ok"),
        QuotaRow("models", 6, 5, None, "soft"),
        QuotaRow("mlflow", 3, 1, 2, "hard"),
    )
    assert assess(limits, {}, 21)[0].state == "hard"
    assert assess(limits, {}, 11)[0].to_dict() == {
        "scope": "total",
        "used_bytes": 11,
        "soft_bytes": 10,
        "hard_bytes": 20,
        "state": "soft",
    }


def test_what_has_no_room_is_refused_with_what_is_used_and_what_can_be_done(
    limited: Callable[..., ProjectWorkspace],
) -> None:
    workspace = limited({"hard": "10MB", "tools": {"dvc": {"hard": "6kB"}}}, dvc=4000, outputs=1000)
    require_room(workspace, directory="dvc", adding_bytes=2000, operation="add")
    with pytest.raises(QuotaExceededError) as caught:
        require_room(workspace, directory="dvc", adding_bytes=2001, operation="add")
    assert str(caught.value) == (
        "There is no room for 2.0 kB more in dvc of the project 'churn': "
        "4.0 kB of its hard limit of 6.0 kB are used"
    )
    assert caught.value.details == {
        "scope": "dvc",
        "used_bytes": 4000,
        "hard_bytes": 6000,
        "adding_bytes": 2001,
    }
    assert (caught.value.operation, caught.value.workspace) == ("add", "churn")
    assert caught.value.hint == (
        "see what can be freed with: mlops usage churn --gc; or raise the limit with: "
        "mlops quota churn --tool dvc --hard SIZE"
    )
    require_room(workspace, directory="outputs", adding_bytes=5000, operation="add")


def test_the_whole_workspace_counts_with_hard_links_once(limited: Callable[..., ProjectWorkspace]) -> None:
    workspace = limited({"hard": "100kB"}, mlflow=60_000)
    (workspace.models_path / "linked").hardlink_to(workspace.mlflow_path / "content")
    require_room(workspace, directory="models", adding_bytes=35_000, operation="deploy")
    with pytest.raises(QuotaExceededError, match=r"more in the project 'churn': 60.*kB of its hard limit"):
        require_room(workspace, directory="models", adding_bytes=60_000, operation="deploy")
    # What becomes a hard link costs nothing in total, but counts where it goes.
    require_room(workspace, directory="models", adding_bytes=60_000, operation="deploy", linked=True)
    manager = WorkspaceManager(workspace.root_path.parent)
    manager.update_workspace_metadata("churn", quota={"tools": {"bentoml": {"hard": "100kB"}}})
    with pytest.raises(QuotaExceededError, match="more in models of the project 'churn'"):
        require_room(workspace, directory="models", adding_bytes=60_000, operation="deploy", linked=True)


def test_what_costs_nothing_is_stored_even_over_the_limit(limited: Callable[..., ProjectWorkspace]) -> None:
    workspace = limited({"tools": {"dvc": {"hard": 10}}}, dvc=500)
    require_room(workspace, directory="dvc", adding_bytes=0, operation="add")
    require_room(workspace, directory="mlflow", adding_bytes=1000, operation="log_artifact")


def test_writes_of_this_process_are_added_up_between_measurements(
    limited: Callable[..., ProjectWorkspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = limited({"tools": {"dvc": {"hard": 1000}}}, dvc=100)
    walks = 0

    def counted(path: Path) -> Any:
        nonlocal walks
        walks += 1
        return measure_parts(path)

    monkeypatch.setattr(room, "measure_parts", counted)
    for number in range(8):
        (workspace.dvc_path / f"{number}").write_bytes(bytes(100))
        require_room(workspace, directory="dvc", adding_bytes=100, operation="add")
    assert walks < 3
    with pytest.raises(QuotaExceededError, match=r"900 B of its hard limit of 1\.0 kB are used"):
        require_room(workspace, directory="dvc", adding_bytes=101, operation="add")
    # What was freed meanwhile is seen before anything is refused.
    for number in range(8):
        (workspace.dvc_path / f"{number}").unlink()
    require_room(workspace, directory="dvc", adding_bytes=900, operation="add")


def test_what_is_only_planned_is_refused_too_and_takes_no_room(
    limited: Callable[..., ProjectWorkspace], caplog: pytest.LogCaptureFixture
) -> None:
    workspace = limited({"tools": {"dvc": {"soft": 500, "hard": 1000}}}, dvc=100)
    for _ in range(3):
        require_room(workspace, directory="dvc", adding_bytes=900, operation="add", planned=True)
    with pytest.raises(QuotaExceededError):
        require_room(workspace, directory="dvc", adding_bytes=901, operation="add", planned=True)
    assert not caplog.records
    require_room(workspace, directory="dvc", adding_bytes=900, operation="add")
    assert len(caplog.records) == 1


def test_threads_of_one_process_do_not_share_the_same_room(limited: Callable[..., ProjectWorkspace]) -> None:
    workspace = limited({"tools": {"dvc": {"hard": 1000}}})
    require_room(workspace, directory="dvc", adding_bytes=1, operation="add")
    (workspace.dvc_path / "first").write_bytes(bytes(1))
    barrier = threading.Barrier(4)
    refused = []

    def add(number: int) -> None:
        barrier.wait()
        for part in range(5):
            try:
                require_room(workspace, directory="dvc", adding_bytes=100, operation="add")
            except QuotaExceededError as error:
                refused.append(error)
            else:
                (workspace.dvc_path / f"{number}-{part}").write_bytes(bytes(100))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 20 were asked for. What is being written while another thread measures may come on top.
    assert 900 <= measure(workspace.dvc_path).bytes <= 1300
    assert len(refused) >= 7


def test_a_limit_set_by_another_process_holds_at_once(
    limited: Callable[..., ProjectWorkspace], manager: WorkspaceManager
) -> None:
    opened = limited({}, dvc=500)
    require_room(opened, directory="dvc", adding_bytes=1000, operation="add")
    manager.update_workspace_metadata("churn", quota={"hard": "1kB"})
    with pytest.raises(QuotaExceededError):
        require_room(opened, directory="dvc", adding_bytes=1000, operation="add")
    manager.update_workspace_metadata("churn", quota=None)
    require_room(opened, directory="dvc", adding_bytes=1000, operation="add")


def test_a_project_without_limits_is_not_measured(
    limited: Callable[..., ProjectWorkspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = limited({}, dvc=500)
    monkeypatch.setattr(room, "measure_parts", lambda path: pytest.fail("it was measured"))
    started = time.perf_counter()
    for _ in range(1000):
        require_room(
            workspace,
            directory="dvc",
            adding_bytes=lambda: pytest.fail("the size was asked for"),
            operation="add",
        )
    # 15 microseconds each on a busy machine.
    assert time.perf_counter() - started < 0.5


def test_going_over_a_soft_limit_is_said_once_until_there_is_room_again(
    limited: Callable[..., ProjectWorkspace], caplog: pytest.LogCaptureFixture
) -> None:
    workspace = limited({"tools": {"dvc": {"soft": "1kB", "hard": "10kB"}}}, dvc=900)
    caplog.set_level(logging.WARNING)

    def add(size: int) -> list[str]:
        caplog.clear()
        require_room(workspace, directory="dvc", adding_bytes=size, operation="add")
        return [record.getMessage() for record in caplog.records]

    assert add(50) == []
    assert add(150) == ["dvc of the project 'churn' holds 1.1 kB, which is over its soft limit of 1.0 kB"]
    assert add(200) == []
    (workspace.dvc_path / "content").unlink()
    room._measured.clear()
    assert add(10) == []
    assert len(add(2000)) == 1


def test_what_is_staged_is_not_counted_twice(tmp_path: Path) -> None:
    # A workspace in a directory of its own has its staging inside.
    workspace = ProjectWorkspace("churn", tmp_path / "alone", quota={"hard": "100kB"})
    workspace.ensure_directories()
    workspace.save_metadata()
    staging = workspace.state_path / "staging"
    assert staging.is_relative_to(workspace.root_path)
    staging.mkdir(parents=True)
    (staging / "copy").write_bytes(bytes(60_000))
    require_room(workspace, directory="dvc", adding_bytes=60_000, operation="add")
    room._measured.clear()
    (workspace.outputs_path / ".half.tmp").write_bytes(bytes(60_000))
    require_room(workspace, directory="outputs", adding_bytes=60_000, staged=True, operation="run")


def test_parts_and_the_whole_are_measured_as_one_by_one(base: Path) -> None:
    root = base.parent / "measured"
    root.mkdir()
    for name in ("a", "b", "b/c"):
        (root / name).mkdir()
        (root / name / "file").write_bytes(bytes(100))
    (root / "top").write_bytes(bytes(7))
    (root / "a" / "again").hardlink_to(root / "a" / "file")
    (root / "b" / "other").hardlink_to(root / "a" / "file")
    (root / "link").symlink_to(root / "a")
    parts, whole = measure_parts(root)
    assert parts == {"a": measure(root / "a"), "b": measure(root / "b")}
    assert parts["b"] == Usage(3, 300)
    assert whole == measure(root)
    assert measure_parts(root / "none") == ({}, Usage())


def test_removing_frees_what_has_no_other_name(tmp_path: Path) -> None:
    (tmp_path / "doomed").mkdir()
    (tmp_path / "doomed" / "own").write_bytes(bytes(100))
    (tmp_path / "doomed" / "shared").write_bytes(bytes(1000))
    os.link(tmp_path / "doomed" / "shared", tmp_path / "kept")
    assert measure_removal([tmp_path / "doomed", tmp_path / "none"]) == Usage(2, 100)
    assert measure_removal([tmp_path / "doomed", tmp_path / "kept"]) == Usage(3, 1100)
