from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from mlops.errors import IntegrationError, WorkspaceCorruptError, WorkspaceNotFoundError
from mlops.integrations.mlflow_tracking import store
from mlops.ui.projects import Projects
from mlops.ui.provider import delete
from mlops.ui.scope import Scope
from mlops.ui.stores import OpenStores


@pytest.fixture
def manager(base: Path) -> WorkspaceManager:
    return WorkspaceManager(base)


@pytest.fixture
def opener(base: Path) -> Iterator[Callable[..., OpenStores]]:
    made: list[OpenStores] = []

    def make(limit: int = 64) -> OpenStores:
        made.append(OpenStores(Projects(Scope(base, base)), limit=limit))
        return made[-1]

    yield make
    for stores in made:
        stores.close()


def start_run(stores: OpenStores, slug: str) -> str:
    tracking = stores.get(slug, writing=True).tracking
    return str(tracking.create_run("0", "someone", 1, [], "a run").info.run_id)


def run_ids(stores: OpenStores, slug: str) -> list[str]:
    from mlflow.entities import ViewType

    tracking = stores.get(slug, writing=False).tracking
    return [run.info.run_id for run in tracking.search_runs(["0"], "", ViewType.ALL, 10)]


def test_reading_a_project_without_a_database_creates_nothing(
    manager: WorkspaceManager, opener: Callable[..., OpenStores]
) -> None:
    workspace = manager.create_workspace("churn_model")
    before = sorted(workspace.root_path.rglob("*"))
    stores = opener()
    assert run_ids(stores, "churn-model") == []
    assert stores.get("churn-model", writing=False).tracking.get_experiment("0").name == "churn_model"
    assert sorted(workspace.root_path.rglob("*")) == before

    run_id = start_run(stores, "churn-model")
    assert store.database_path(workspace).is_file()
    assert run_ids(stores, "churn-model") == [run_id]


def test_few_projects_stay_open_and_all_can_be_read(
    manager: WorkspaceManager, opener: Callable[..., OpenStores]
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    stores = opener(limit=3)
    names = [f"project-{number}" for number in range(7)]
    for name in names:
        manager.create_workspace(name)
    written = {name: start_run(stores, name) for name in names}
    assert stores.count() == 3
    own = [uri for uri in SqlAlchemyStore._engine_map if str(manager.base_path) in uri]
    assert len(own) == 3, "an evicted project's engine is forgotten too"
    assert {name: run_ids(stores, name) for name in names} == {n: [r] for n, r in written.items()}


def test_what_happens_on_disk_is_seen(
    manager: WorkspaceManager, opener: Callable[..., OpenStores], base: Path
) -> None:
    stores = opener()
    manager.create_workspace("churn")
    run_id = start_run(stores, "churn")

    manager.delete_workspace("churn", force=True)
    with pytest.raises(WorkspaceNotFoundError):
        stores.get("churn", writing=True)
    assert not (base / "churn").exists(), "looking at a deleted project must not bring it back"

    manager.create_workspace("churn")
    assert run_ids(stores, "churn") == [], "a new project of the name has nothing of the old one"

    manager.delete_workspace("churn", force=True, purge=True)
    manager.restore_workspace("churn")
    assert run_ids(stores, "churn") == [run_id]


def test_a_copied_project_is_its_own(
    manager: WorkspaceManager, opener: Callable[..., OpenStores], base: Path
) -> None:
    stores = opener()
    manager.create_workspace("churn")
    run_id = start_run(stores, "churn")
    shutil.copytree(base / "churn", base / "copy")
    copied = stores.get("copy", writing=False).tracking.get_run(run_id)
    assert copied.info.artifact_uri.startswith((base / "copy").as_uri())
    original = stores.get("churn", writing=False).tracking.get_run(run_id)
    assert original.info.artifact_uri.startswith((base / "churn").as_uri())


def test_a_broken_project_says_so_and_does_not_break_the_others(
    manager: WorkspaceManager, opener: Callable[..., OpenStores], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = opener()
    for name in ("badfile", "baddatabase", "fine", "remote", "unset"):
        manager.create_workspace(name)
    (base / "badfile" / "workspace.yaml").write_text("{not: yaml")
    (base / "baddatabase" / "mlflow" / "mlflow.db").write_bytes(b"not a database" * 100)
    manager.update_workspace_metadata("remote", mlflow_tracking_uri="https://ann:secret@runs.example/x")
    manager.update_workspace_metadata("unset", mlflow_tracking_uri="${NO_SUCH_SERVER}")

    shown = {entry.slug: entry.description for entry in stores.projects.entries()}
    assert "cannot be opened" in shown["badfile"]
    assert shown["remote"] == "[runs are on https://runs.example/x]"
    assert "NO_SUCH_SERVER" in shown["unset"]
    assert shown["fine"] == shown["baddatabase"] == ""

    with pytest.raises(WorkspaceCorruptError, match="badfile"):
        stores.get("badfile", writing=False)
    with pytest.raises(IntegrationError, match=r"baddatabase.*cannot be read"):
        stores.get("baddatabase", writing=False)
    with pytest.raises(IntegrationError, match=r"https://runs\.example/x"):
        stores.get("remote", writing=False)
    with pytest.raises(IntegrationError, match="cannot be read"):
        delete(stores.projects, "baddatabase")
    assert (base / "baddatabase").is_dir(), "what cannot be read may hold something"
    assert run_ids(stores, "fine") == []


def test_an_old_database_is_not_touched_and_the_error_says_how_to_upgrade(
    manager: WorkspaceManager, opener: Callable[..., OpenStores]
) -> None:
    import sqlite3

    stores = opener()
    workspace = manager.create_workspace("churn")
    start_run(stores, "churn")
    stores.close()
    with sqlite3.connect(store.database_path(workspace)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'bd07f7e963c5'")
    connection.close()
    with pytest.raises(IntegrationError, match="out-of-date database schema") as caught:
        stores.get("churn", writing=False)
    assert "mlflow db upgrade" in str(caught.value.hint)


def test_a_ui_of_one_project_knows_no_other(manager: WorkspaceManager, base: Path) -> None:
    manager.create_workspace("churn")
    manager.create_workspace("fraud")
    projects = Projects(Scope(base, base, "churn"))
    assert [entry.slug for entry in projects.entries()] == ["churn"]
    with pytest.raises(WorkspaceNotFoundError):
        projects.entry("fraud")


def test_a_link_out_of_the_base_is_not_followed(
    manager: WorkspaceManager, opener: Callable[..., OpenStores], base: Path, tmp_path: Path
) -> None:
    from mlops.errors import IsolationError

    elsewhere = WorkspaceManager(tmp_path / "elsewhere")
    elsewhere.create_workspace("churn")
    (base / "churn").symlink_to(tmp_path / "elsewhere" / "churn")
    with pytest.raises(IsolationError):
        opener().get("churn", writing=True)
