from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mlops import (
    ConfigError,
    ProjectWorkspace,
    WorkspaceCorruptError,
    WorkspaceManager,
    WorkspaceNotFoundError,
)
from mlops.workspace import metadata
from mlops.workspace.model import FIELDS
from mlops.workspace.schema import WorkspaceFile


def test_name_and_root_are_enough(tmp_path: Path) -> None:
    workspace = ProjectWorkspace("churn", tmp_path / "churn")
    assert workspace.bentoml_tag_prefix == "churn."
    assert workspace.mlflow_path == tmp_path / "churn" / "mlflow"
    assert workspace.dvc_path == tmp_path / "churn" / "dvc"
    assert workspace.monitoring_path == tmp_path / "churn" / "monitoring"
    assert workspace.models_path == tmp_path / "churn" / "models"
    assert workspace.outputs_path == tmp_path / "churn" / "outputs"
    assert workspace.metadata_file == tmp_path / "churn" / "workspace.yaml"
    assert workspace.created_at.utcoffset() == timedelta(0)
    assert not (tmp_path / "churn").exists()
    workspace.ensure_directories()
    assert sorted(p.name for p in (tmp_path / "churn").iterdir()) == [
        "dvc",
        "mlflow",
        "models",
        "monitoring",
        "outputs",
    ]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    workspace = ProjectWorkspace(
        "churn",
        tmp_path / "churn",
        description="Müller's churn: 'v2' # not a comment",
        mlflow_tracking_uri="https://${MLFLOW_USER}@mlflow.example",
        mlflow_experiment_id="7",
        tags={"team": "growth"},
        metadata={"owner": "ann", "n": 3, "nested": {"a": [1, 2]}},
    )
    workspace.save_metadata()
    loaded = ProjectWorkspace.load_metadata(tmp_path / "churn")
    assert loaded == workspace
    assert "${MLFLOW_USER}" in workspace.metadata_file.read_text()


def test_the_file_is_flat_ordered_and_has_no_absolute_path(tmp_path: Path) -> None:
    workspace = ProjectWorkspace("churn", tmp_path / "churn")
    workspace.save_metadata()
    values = yaml.safe_load(workspace.metadata_file.read_text())
    assert list(values)[:4] == ["schema_version", "id", "project_name", "description"]
    assert values["schema_version"] == 1
    assert values["mlflow_tracking_uri"] is values["dvc_remote_path"] is values["bentoml_tag_prefix"] is None
    assert str(tmp_path) not in workspace.metadata_file.read_text()
    assert datetime.fromisoformat(values["created_at"]).tzinfo is not None


def test_to_dict_is_plain_json_with_every_path(tmp_path: Path) -> None:
    values = ProjectWorkspace("churn", tmp_path / "churn").to_dict()
    for directory in ("mlflow", "dvc", "monitoring", "models", "outputs", "root"):
        assert isinstance(values[f"{directory}_path"], str)
    assert values["state"] == "ready"
    assert datetime.fromisoformat(values["created_at"]).tzinfo is not None


_MOMENTS = ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05", "2026-01-02", "20260102T030405Z")
_ODD = st.sampled_from(
    [
        None,
        "",
        "x",
        7,
        1.5,
        True,
        {},
        {"a": 1},
        {1: "a"},
        {"a": "b"},
        [],
        [{}],
        [{1: 2}],
        ["x"],
        [3],
        *_MOMENTS,
    ]
)


@given(changes=st.dictionaries(st.sampled_from([*FIELDS, "team"]), _ODD, max_size=3), removed=st.none())
@example(changes={}, removed="quota")
@example(changes={}, removed="id")
def test_what_is_read_without_pydantic_is_what_pydantic_reads(
    changes: dict[str, object], removed: str | None
) -> None:
    workspace = ProjectWorkspace(
        "churn", Path("churn"), tags={"team": "growth"}, metadata={"n": [1, {"a": 2}]}
    )
    values = yaml.safe_load(metadata.dump(workspace)) | changes
    del values["schema_version"]
    values.pop(removed, None)
    found = metadata.as_written(values)
    if not changes and removed is None:
        assert found is not None
    if found is not None:
        parsed = WorkspaceFile.model_validate(values)
        assert found == {**{name: getattr(parsed, name) for name in FIELDS}, "extra": {}}


def test_unknown_keys_survive_an_update(tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path)
    path = manager.create_workspace("churn").metadata_file
    path.write_text(path.read_text() + "team_extension:\n  cost_center: 42\n")
    manager.update_workspace_metadata("churn", description="new")
    assert yaml.safe_load(path.read_text())["team_extension"] == {"cost_center": 42}


def test_a_copied_directory_is_a_project_of_its_own(tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path)
    original = manager.create_workspace("churn", description="original")
    before = original.metadata_file.read_bytes()
    shutil.copytree(tmp_path / "churn", tmp_path / "churn-copy")
    copy = manager.get_workspace("churn-copy")
    assert (copy.root_path, copy.project_name, copy.bentoml_tag_prefix) == (
        tmp_path / "churn-copy",
        "churn-copy",
        "churn-copy.",
    )
    manager.update_workspace_metadata("churn-copy", description="copy")
    assert original.metadata_file.read_bytes() == before


CORRUPT = {
    "empty": (b"", "empty"),
    "torn": (b"schema_version: 1\nid: 'abc", "not valid YAML"),
    "binary": (b"\xff\xfe\x00\x01", "not valid YAML"),
    "list": (b"- a\n- b\n", "not a mapping"),
    "no-id": (b"schema_version: 1\nproject_name: bad\n", "id: Field required"),
    "naive-time": (
        b"schema_version: 1\nid: x\nproject_name: bad\ncreated_at: '2026-01-01T00:00:00'\n",
        "created_at",
    ),
    "wrong-type": (b"schema_version: 1\nid: x\nproject_name: bad\ntags: [a]\n", "tags"),
    "newer": (b"schema_version: 99\nid: x\nproject_name: bad\n", "schema version 99"),
    "odd-version": (b"schema_version: one\nid: x\nproject_name: bad\n", "not a version number"),
}


@pytest.mark.parametrize(("content", "reason"), CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_workspace_is_reported_and_never_overwritten(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    manager = WorkspaceManager(tmp_path)
    manager.create_workspace("good")
    (tmp_path / "bad").mkdir()
    path = tmp_path / "bad" / "workspace.yaml"
    path.write_bytes(content)

    for call in (
        lambda: manager.get_workspace("bad"),
        lambda: manager.get_or_create_workspace("bad", description="x"),
        lambda: manager.create_workspace("bad"),
        lambda: manager.create_workspace("bad", force=True),
        lambda: manager.update_workspace_metadata("bad", description="x"),
        lambda: ProjectWorkspace.load_metadata(tmp_path / "bad"),
    ):
        with pytest.raises(WorkspaceCorruptError, match=reason) as caught:
            call()
        assert str(caught.value).startswith("Failed to load workspace metadata")
        assert caught.value.hint
    assert path.read_bytes() == content

    listed = {workspace.project_name: workspace for workspace in manager.list_workspaces()}
    assert list(listed) == ["bad", "good"]
    assert (listed["bad"].state, listed["good"].state) == ("corrupt", "ready")
    assert reason in str(listed["bad"].error)
    statuses = {status["project_name"]: status for status in manager.get_all_workspaces_status()}
    assert statuses["bad"]["state"] == "corrupt"
    assert statuses["good"]["directory_stats"]["mlflow_exists"] is True
    with pytest.raises(WorkspaceCorruptError):
        listed["bad"].save_metadata()
    assert path.read_bytes() == content


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError, match=r"^Workspace metadata not found"):
        ProjectWorkspace.load_metadata(tmp_path / "nothing")


def test_a_value_yaml_cannot_hold_is_refused_before_writing(tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path / "base")
    with pytest.raises(ConfigError, match="unsupported value"):
        manager.create_workspace("churn", metadata={"model": object()})
    assert not (tmp_path / "base").exists()
    workspace = manager.create_workspace("churn")
    before = workspace.metadata_file.read_bytes()
    with pytest.raises(ConfigError):
        manager.update_workspace_metadata("churn", metadata={"model": object()})
    assert workspace.metadata_file.read_bytes() == before


def test_a_file_of_the_earlier_system_is_migrated_on_load(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "workspace.yaml").write_text(
        "project_name: churn\n"
        "root_path: /somewhere/else/churn\n"
        "mlflow_tracking_uri: file:///tmp/mlflow\n"
        "mlflow_experiment_id: '3'\n"
        "bentoml_tag_prefix: 'churn:'\n"
        "metadata: {owner: ann}\n"
        "created_at: '2025-10-23T10:00:00'\n"
    )
    manager = WorkspaceManager(tmp_path)
    workspace = manager.get_workspace("churn")
    assert workspace.root_path == tmp_path / "churn"
    assert workspace.mlflow_tracking_uri is None
    assert workspace.bentoml_tag_prefix == "churn."
    assert workspace.created_at == datetime(2025, 10, 23, 10, tzinfo=UTC)
    assert workspace.metadata == {"owner": "ann"}
    assert manager.get_workspace("churn").id == workspace.id
    manager.update_workspace_metadata("churn", description="migrated")
    assert "somewhere" not in workspace.metadata_file.read_text()
    assert manager.get_workspace("churn").id == workspace.id
