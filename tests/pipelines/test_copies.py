from __future__ import annotations

from pathlib import Path

import pytest

from mlops import MLOpsClient, PipelineError, PipelineVersionError, Project, WorkspaceNotFoundError
from mlops.workspace import links


def load() -> list[int]:
    return [1, 2, 3]


def train(load: list[int], rate: float = 0.5) -> float:
    return sum(load) * rate


def other_train(load: list[int]) -> float:
    return max(load)


def copied(client: MLOpsClient) -> set[tuple[str, str]]:
    return {
        (link.source, link.target)
        for link in links.collect(client.tracking.context).links
        if link.relation == links.COPIED_TO
    }


@pytest.fixture
def other(base: Path) -> MLOpsClient:
    return MLOpsClient("other", base_path=base)


def test_a_copy_has_the_versions_and_both_projects_tell_of_it(
    client: MLOpsClient, other: MLOpsClient
) -> None:
    pipeline = client.create_pipeline("training", params={"rate": 2.0}, description="Nightly")
    pipeline.add_step(load).add_step(train)
    pipeline.save_version("v1.0.0", {"a": 1})
    pipeline.params["rate"] = 3.0
    pipeline.save_version("v1.1.0")
    pipeline.run()

    copy = pipeline.copy_to(other)
    assert [v.version for v in copy.list_versions()] == ["v1.0.0", "v1.1.0"]
    assert copy.get_version("v1.0.0").metadata == {"a": 1}
    assert copy.get_version("v1.0.0").copied_from == "churn/pipeline:training@v1.0.0"
    assert (copy.version, copy.description, len(other.list_runs())) == ("v1.1.0", "Nightly", 0)
    assert copy.run().outputs["train"] == 18.0
    restored = other.create_pipeline("training").checkout("v1.0.0").run()
    assert (restored.outputs["train"], restored.version) == (12.0, "v1.0.0")
    assert (len(client.list_runs()), len(other.list_runs())) == (1, 2)

    versions = [f"pipeline:training@{number}" for number in ("v1.0.0", "v1.1.0")]
    assert copied(client) == {(each, f"other/{each}") for each in versions}
    assert copied(other) == {(f"churn/{each}", each) for each in versions}
    # What the copy does later is its own.
    copy.params["rate"] = 4.0
    copy.save_version("v2.0.0")
    assert [v.version for v in pipeline.list_versions()] == ["v1.0.0", "v1.1.0"]


def test_copying_again_brings_only_what_is_new(client: MLOpsClient, base: Path) -> None:
    pipeline = client.create_pipeline("training").add_step(load)
    pipeline.save_version("v1")
    target = Project("target", projects_dir=base)
    pipeline.copy_to(target)
    pipeline.add_step(train).save_version("v2")
    copy = pipeline.copy_to(target)
    assert [v.version for v in copy.list_versions()] == ["v1", "v2"]
    assert copy.compare_with("v1", "v2").added == ("train",)


def test_another_version_of_the_same_name_is_never_replaced(client: MLOpsClient, other: MLOpsClient) -> None:
    pipeline = client.create_pipeline("training").add_step(load)
    pipeline.save_version("v0.9")
    pipeline.add_step(train).save_version("v1")
    there = other.create_pipeline("training").add_step(load).add_step(other_train)
    kept = there.save_version("v1")
    with pytest.raises(
        PipelineVersionError, match=r"'other' has another version v1 .*added train"
    ) as refused:
        pipeline.copy_to(other)
    assert (refused.value.operation, refused.value.workspace) == ("copy_to", "other")
    assert there.list_versions() == [kept]
    assert copied(client) == copied(other) == set()


def test_a_pipeline_without_versions_is_told_of_by_its_definition(
    client: MLOpsClient, other: MLOpsClient
) -> None:
    pipeline = client.create_pipeline("training").add_step(load)
    pipeline.copy_to(other)
    reference = f"pipeline:training@{pipeline.definition_hash()[:12]}"
    assert copied(client) == {(reference, f"other/{reference}")}


def test_a_pipeline_is_not_copied_to_where_it_is_or_to_nowhere(
    client: MLOpsClient, other: MLOpsClient, base: Path
) -> None:
    pipeline = client.create_pipeline("training").add_step(load)
    with pytest.raises(PipelineError, match="'churn', where it is"):
        pipeline.copy_to(MLOpsClient("churn", base_path=base))
    other.manager.delete_workspace("other", force=True)
    with pytest.raises(WorkspaceNotFoundError):
        pipeline.copy_to(other)
    assert not (base / "other").exists()
