from __future__ import annotations

from pathlib import Path

import pytest

from mlops.ui.projects import workspace_slug
from mlops.ui.scope import Scope


@pytest.mark.parametrize("name", ["plain", "with space", "ha#sh", "que?ry", "per%41cent", "ünï", "a&b=c+d"])
def test_a_scope_survives_the_trip_through_a_uri(name: str) -> None:
    scope = Scope(Path("/data") / name / "base", Path("/data") / name, "churn_model")
    assert Scope.parse(scope.uri) == scope


def test_a_uri_typed_by_a_person_needs_only_the_base() -> None:
    assert Scope.parse("mlops-base:///data/base") == Scope(Path("/data/base"), Path("/data/base"))


def test_slugs_are_names_that_mlflow_takes_and_never_another_projects() -> None:
    from mlflow.store.workspace.abstract_store import WorkspaceNameValidator

    names = ["churn", "churn_model", "a", "x9", "ajax-api", "static_files", "a" * 40, "a__b"]
    slugs = [workspace_slug(name) for name in names]
    for slug in slugs:
        WorkspaceNameValidator.validate(slug)
    assert len(set(slugs)) == len(slugs)
    assert slugs[:2] == ["churn", "churn-model"]
    assert len(workspace_slug("a")) > 40, "it would be the slug of a project of that name"
