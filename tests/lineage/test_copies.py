from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops import MLOpsClient
from mlops.errors import ConfigError, DataNotFoundError, ModelNotFoundError, WorkspaceNotFoundError
from mlops.workspace import links
from tests.lineage.conftest import Chain, frame


@pytest.fixture
def churn(chain: Chain, tmp_path: Path) -> MLOpsClient:
    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    MLOpsClient.from_project("retail", base_path=base)
    return MLOpsClient.from_project("churn", base_path=base)


def test_a_model_is_copied_and_both_lineages_tell(churn: MLOpsClient, chain: Chain) -> None:
    copy = churn.copy_model("clf", "retail", alias="production", name="borrowed")
    assert (copy.full_name, copy.version) == ("retail.borrowed", "1")
    retail = MLOpsClient.from_project("retail", workspace_manager=churn.manager)
    rows = frame(5)[["a"]]
    assert (retail.load_model("borrowed").predict(rows) == churn.load_model("clf").predict(rows)).all()
    assert retail.passport("borrowed").copied_from == "churn/model:churn.clf:1"
    assert churn.passport("clf").copied_to == ("retail/model:retail.borrowed:1",)
    upstream = {str(node.ref) for node in retail.trace("borrowed").nodes}
    assert {"churn/model:churn.clf:1", f"churn/run:{chain.run_id}", f"churn/data:{chain.md5}"} <= upstream
    assert "retail/model:retail.borrowed:1" in {str(node.ref) for node in churn.trace(chain.md5).nodes}
    links.log_file(retail.workspace).unlink()
    assert retail.passport("borrowed").copied_from == "churn/model:churn.clf:1"


def test_copying_again_gives_the_copy_that_is_there(churn: MLOpsClient) -> None:
    one, other = churn.copy_model("clf", "retail"), churn.copy_model("clf:1", "retail")
    assert (one.full_name, one.version) == (other.full_name, other.version)


def test_nothing_is_shared_on_disk(churn: MLOpsClient) -> None:
    copy = churn.copy_model("clf", "retail")
    retail = MLOpsClient.from_project("retail", workspace_manager=churn.manager)
    here, there = churn.tracking.models.download("clf"), retail.tracking.models.download(copy)
    inodes = [{p.stat().st_ino for p in root.rglob("*") if p.is_file()} for root in (here, there)]
    assert not inodes[0] & inodes[1]
    assert churn.project_name not in str(there.relative_to(retail.workspace_path))


def test_a_copy_still_leads_to_a_project_that_is_gone(churn: MLOpsClient) -> None:
    churn.copy_model("clf", "retail")
    churn.close()
    churn.manager.delete_workspace("churn", force=True)
    retail = MLOpsClient.from_project("retail", workspace_manager=churn.manager)
    found = {str(node.ref): node.present for node in retail.trace("clf").nodes}
    assert found["churn/model:churn.clf:1"] is None
    assert found["retail/model:retail.clf:1"] is True


def test_bad_copies_are_refused_before_anything_is_written(churn: MLOpsClient) -> None:
    with pytest.raises(WorkspaceNotFoundError):
        churn.copy_model("clf", "retial")
    assert not (churn.workspace_path.parent / "retial").exists()
    with pytest.raises(ConfigError, match="cannot be copied to itself"):
        churn.copy_model("clf", "churn")
    with pytest.raises(ModelNotFoundError):
        churn.copy_model("nothing", "retail")
    retail = MLOpsClient.from_project("retail", workspace_manager=churn.manager)
    assert retail.list_runs() == []


def test_data_is_copied_and_both_lineages_tell(churn: MLOpsClient, chain: Chain, tmp_path: Path) -> None:
    place = tmp_path / "theirs.csv"
    copy = churn.copy_data(chain.md5, "retail", path=place)
    assert copy.md5 == chain.md5
    assert place.read_bytes() == chain.file.read_bytes()
    retail = MLOpsClient.from_project("retail", workspace_manager=churn.manager)
    assert f"churn/run:{chain.run_id}" not in {str(n.ref) for n in retail.trace(place).nodes}
    assert f"churn/data:{chain.md5}" in {str(n.ref) for n in retail.trace(place).nodes}
    assert f"retail/data:{chain.md5}" in {str(n.ref) for n in churn.trace(chain.run_id).nodes} | {
        str(n.ref) for n in churn.trace(f"data:{chain.md5}").nodes
    }
    with pytest.raises(DataNotFoundError):
        churn.copy_data("nothing.csv", "retail")
