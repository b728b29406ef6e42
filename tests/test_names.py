from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops import InvalidModelNameError, InvalidProjectNameError, WorkspaceManager, names

BAD = {
    "../x": "x",
    "/abs": "abs",
    ".": "my-project",
    "..": "my-project",
    "": "my-project",
    "A": "a",
    "a b": "a-b",
    "naïve": "naive",
    "a\0b": "a-b",
    "a\n": "a",
    "x" * 41: "x" * 40,
    "con": "con-project",
    "lpt1": "lpt1-project",
    "mlops": "mlops-project",
    "latest": "latest-project",
    "default": "default-project",
    "-a": "a",
    "a_": "a",
    "a/b": "a-b",
    "a\\b": "a-b",
    "a.b": "a-b",
    "日本": "my-project",
}


@pytest.mark.parametrize(("name", "nearest"), BAD.items())
@pytest.mark.parametrize("operation", ["create_workspace", "get_workspace", "get_or_create_workspace"])
def test_a_bad_name_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, nearest: str, operation: str
) -> None:
    manager = WorkspaceManager(tmp_path / "deep" / "base")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidProjectNameError) as caught:
        getattr(manager, operation)(name)
    assert sorted(tmp_path.rglob("*")) == before
    assert caught.value.operation in {operation, "get_or_create_workspace"}
    assert caught.value.details["suggestion"] == nearest
    assert repr(nearest) in str(caught.value)
    assert "1 to 40 characters" in str(caught.value) or "reserved" in str(caught.value)


@pytest.mark.parametrize("name", ["../victim", "/etc", ".", "a b"])
def test_nothing_outside_the_base_can_be_deleted(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "workspace.yaml").write_text("project_name: victim")
    with pytest.raises(InvalidProjectNameError):
        WorkspaceManager(tmp_path / "base").delete_workspace(name, force=True)
    assert (victim / "workspace.yaml").exists()


@pytest.mark.parametrize("name", ["a", "7", "churn", "lora-finetuning-mlx", "a_b", "x" * 40, "a--b"])
def test_good_names_pass_unchanged(name: str) -> None:
    assert names.validate_project_name(name) == name


def test_a_name_that_is_not_text_is_refused() -> None:
    with pytest.raises(InvalidProjectNameError, match="must be a string, not NoneType"):
        names.validate_project_name(None)


@given(st.text(max_size=60))
def test_every_suggestion_is_a_valid_name(name: str) -> None:
    assert names.validate_project_name(names.suggest_project_name(name))


@given(st.from_regex(names.PROJECT_NAME), st.from_regex(names.MODEL_NAME))
def test_project_and_model_can_be_read_back_from_the_full_name(project: str, model: str) -> None:
    assert names.split_model_name(names.full_model_name(project, model)) == (project, model)


@pytest.mark.parametrize("model", ["", "a/b", "A", "a:1", "x" * 63, None, "a\n"])
def test_a_bad_model_name_is_refused(model: object) -> None:
    with pytest.raises(InvalidModelNameError):
        names.validate_model_name(model, project="churn")


@pytest.mark.parametrize("version", ["latest", "", "a b", "V1", "1\n"])
def test_a_bad_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidModelNameError):
        names.validate_version(version, project="churn")


def test_a_number_is_a_version() -> None:
    assert names.validate_version(3, project="churn") == "3"
