from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlops import MLOpsClient
from mlops.errors import ModelNotFoundError
from mlops.workspace import links
from tests.lineage.conftest import COMMIT, Chain


def test_a_passport_ties_everything_to_one_version(chain: Chain) -> None:
    passport = chain.client().passport("clf@production")
    assert passport.model == "churn.clf:1"
    assert passport.run_id == chain.run_id
    assert [use.md5 for use in passport.data] == [chain.md5]
    assert (passport.commit, passport.dirty) == (COMMIT, True)
    assert passport.framework is not None
    assert passport.framework.startswith("scikit-learn==")
    assert passport.signature is not None
    assert passport.signature["inputs"][0]["name"] == "a"
    assert passport.aliases == ("production",)
    assert passport.bento == "churn.clf:1"
    assert passport.references == (chain.reference,)
    assert passport.snapshots == (chain.snapshot,)
    assert passport.errors == {}
    json.dumps(passport.to_dict())


def test_the_tools_themselves_have_the_passport(chain: Chain) -> None:
    client = chain.client()
    version = client.tracking.models.get("clf")
    assert version.tags["mlops.git_commit"] == COMMIT
    assert version.tags["mlops.git_dirty"] == "true"
    assert chain.md5 in version.tags.values()
    labels = client.serving.get("clf", "1").labels
    assert {COMMIT, chain.run_id, chain.md5} <= set(labels.values())
    (bento,) = client.serving.bentos()
    assert {COMMIT, chain.run_id, chain.md5} <= set(bento.labels.values())
    (check,) = client.monitoring.history()
    assert (check["model"], check["model_version"]) == ("clf", "1")


def test_the_log_can_be_lost_and_rebuilt(chain: Chain, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    client = MLOpsClient.from_project("churn", base_path=base)
    before = client.passport("clf")
    links.log_file(client.workspace).unlink()
    assert client.passport("clf") == before
    links.rebuild(client._context)
    logged, damaged = links.logged(client.workspace)
    assert damaged == []
    ends = {end for link in logged for end in (link.source, link.target)}
    assert ends >= {
        f"data:{chain.md5}",
        "model:churn.clf:1",
        f"snapshot:{chain.snapshot}",
        "bento:churn.clf:1",
    }


def test_a_model_that_is_not_there_is_named_with_those_that_are(chain: Chain) -> None:
    with pytest.raises(ModelNotFoundError, match="no model version 'other'") as raised:
        chain.client().passport("other")
    assert "churn.clf:1" in str(raised.value.hint)


def test_a_check_is_linked_to_the_version_that_was_meant(chain: Chain, tmp_path: Path) -> None:
    from tests.lineage.conftest import frame

    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    client = MLOpsClient.from_project("churn", base_path=base)
    version = client.tracking.models.get("clf")
    batch = frame(60).assign(prediction=1)
    for model in (version, client.serving.get("clf", "1"), "clf:1", "churn.clf:1", "clf@production"):
        assert client.monitor_predictions(batch, model=model).to_dict()["model_version"] == "1"
    with pytest.raises(ModelNotFoundError, match="alias 'champion'"):
        client.monitor_predictions(batch, model="clf@champion")
    assert len(client.passport("clf").snapshots) == 6
