from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import MLOpsClient
from mlops.errors import ConfigError, DataNotFoundError
from mlops.lineage import drawing
from mlops.lineage.trace import Trace
from tests.lineage.conftest import COMMIT, Chain


def references(trace: Trace) -> set[str]:
    return {node.ref.within("churn") for node in trace.nodes}


def expected(chain: Chain) -> set[str]:
    return {
        f"data:{chain.md5}",
        f"commit:{COMMIT}",
        f"run:{chain.run_id}",
        "model:churn.clf:1",
        "bento:churn.clf:1",
        f"reference:{chain.reference}",
        f"snapshot:{chain.snapshot}",
    }


def test_the_whole_chain_is_found_from_the_run_and_from_the_model(chain: Chain) -> None:
    client = chain.client()
    for ref in (chain.run_id, chain.run_id[:8], "churn.clf:1", "clf:1", "clf@production", "clf"):
        assert references(client.trace(ref)) == expected(chain), ref


def test_what_came_of_data_is_found_by_path_name_and_hash(chain: Chain) -> None:
    client = chain.client()
    (dataset,) = client.data.datasets()
    for ref in (chain.file, str(chain.file), dataset.name, chain.md5, chain.md5[:6], f"data:{chain.md5[:6]}"):
        found = client.trace(ref)
        assert found.root.ref.id == chain.md5, ref
        assert references(found) == expected(chain) - {f"commit:{COMMIT}"}
        assert found.upstream == ()


def test_what_a_bento_and_a_check_came_from_is_found(chain: Chain) -> None:
    client = chain.client()
    assert references(client.trace("bento:churn.clf:1")) == expected(chain)
    snapshot = client.trace(chain.snapshot)
    assert references(snapshot) == expected(chain) - {"bento:churn.clf:1"}
    assert snapshot.downstream == ()
    assert references(client.trace(COMMIT)) == expected(chain) - {f"data:{chain.md5}"}
    assert references(client.trace(chain.reference)) >= {f"run:{chain.run_id}", f"snapshot:{chain.snapshot}"}


def test_the_direction_and_the_facts_of_each_link_are_told(chain: Chain) -> None:
    values = chain.client().trace("clf").to_dict()
    json.dumps(values)
    assert values["schema_version"] == 1
    assert values["root"] == "model:churn.clf:1"
    links = {(each["source"], each["relation"], each["target"]): each for each in values["links"]}
    assert set(links) == {
        (f"data:{chain.md5}", "input-of", f"run:{chain.run_id}"),
        (f"commit:{COMMIT}", "code-of", f"run:{chain.run_id}"),
        (f"run:{chain.run_id}", "produced", "model:churn.clf:1"),
        ("model:churn.clf:1", "packaged-as", "bento:churn.clf:1"),
        ("model:churn.clf:1", "reference-of", f"reference:{chain.reference}"),
        ("model:churn.clf:1", "checked-by", f"snapshot:{chain.snapshot}"),
        (f"reference:{chain.reference}", "compared-in", f"snapshot:{chain.snapshot}"),
    }
    assert links[f"commit:{COMMIT}", "code-of", f"run:{chain.run_id}"]["attributes"] == {"dirty": True}
    nodes = {node["ref"]: node for node in values["nodes"]}
    assert all(node["present"] for node in nodes.values())
    assert nodes["model:churn.clf:1"]["details"]["aliases"] == ["production"]
    assert nodes[f"run:{chain.run_id}"]["details"]["metrics"] == {"accuracy": 0.9}
    assert nodes[f"run:{chain.run_id}"]["title"] == "train"


def test_what_nothing_knows_is_an_error_with_a_way_on(chain: Chain) -> None:
    client = chain.client()
    for ref in ("nothing", "0" * 32, "clf:9", "clf@nobody", "run:0000", "../x", ""):
        with pytest.raises(DataNotFoundError, match="is nothing that churn knows") as raised:
            client.trace(ref)
        assert raised.value.hint


def test_a_text_that_means_two_things_is_refused_with_both(chain: Chain, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    client = MLOpsClient.from_project("churn", base_path=base)
    tracking = client.tracking.client()
    tracking.set_tag(chain.run_id, "mlops.git_commit", chain.md5[:8] + "0" * 32)
    with pytest.raises(ConfigError, match="can mean 2 things") as raised:
        client.trace(chain.md5[:8])
    assert f"data:{chain.md5}" in raised.value.details["references"]
    assert client.trace(f"data:{chain.md5[:8]}").root.ref.id == chain.md5


def test_a_chain_is_still_told_after_its_run_and_its_bento_were_deleted(chain: Chain, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    client = MLOpsClient.from_project("churn", base_path=base)
    client.serving.delete("clf", "1")
    tracking = client.tracking.client()
    tracking.delete_model_version("churn.clf", "1")
    tracking.delete_run(chain.run_id)
    found = client.trace(chain.md5)
    assert references(found) >= {f"run:{chain.run_id}", "model:churn.clf:1", f"snapshot:{chain.snapshot}"}
    present = {node.ref.kind: node.present for node in found.nodes}
    assert present["data"] is True
    assert present["run"] is present["model"] is False
    assert "no longer stored" in drawing.to_tree(found)


def test_a_tool_that_cannot_be_read_is_told_and_hides_nothing_else(chain: Chain, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    (base / "churn" / "mlflow" / "mlflow.db").write_bytes(b"this is no database" * 100)
    found = MLOpsClient.from_project("churn", base_path=base).trace(chain.snapshot)
    assert list(found.errors) == ["churn/mlflow"]
    assert references(found) >= {f"run:{chain.run_id}", f"data:{chain.md5}", "model:churn.clf:1"}
    assert {node.ref.kind: node.present for node in found.nodes}["run"] is None


def test_hostile_names_stay_text_in_every_drawing(chain: Chain, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(chain.base, base)
    client = MLOpsClient.from_project("churn", base_path=base)
    name = 'a"] --> x\\n; <script>[bold]\n\x1b[31m}'
    client.tracking.client().update_run(chain.run_id, name=name)
    found = client.trace("clf")
    dot, mermaid = drawing.to_dot(found), drawing.to_mermaid(found)
    assert mermaid.count("-->") == len(found.edges)
    assert "<script>" not in mermaid
    assert dot.count(" -> ") == len(found.edges)
    assert '\\"] --> x' in dot
    tree = drawing.to_tree(found)
    assert len(tree.splitlines()) == len(found.nodes) + 3  # two headings, and the snapshot is there twice
    assert "\x1b" not in tree


def test_graphviz_and_mermaid_name_every_thing_once(chain: Chain) -> None:
    found = chain.client().trace("clf")
    for text, head in ((drawing.to_dot(found), "digraph"), (drawing.to_mermaid(found), "flowchart")):
        assert text.startswith(head)
        for number in range(len(found.nodes)):
            assert text.count(f"  n{number}[") + text.count(f"  n{number} [") == 1


def test_tracing_imports_none_of_the_tools(chain: Chain) -> None:
    code = (
        "import sys; from mlops import MLOpsClient;"
        "c = MLOpsClient.from_project('churn', base_path=sys.argv[1]); t = c.trace('clf'); c.passport('clf');"
        "assert len(t.nodes) == 7, t; heavy = {'mlflow', 'dvc', 'bentoml', 'evidently', 'pandas'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(chain.base)], check=True)


def test_tracing_writes_nothing(chain: Chain) -> None:
    def state() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in (chain.base / "churn").rglob("*") if p.is_file()}

    before = state()
    chain.client().trace("clf")
    # SQLite's index of its write-ahead log is touched by reading.
    assert {k: v for k, v in state().items() if "-shm" not in k} == {
        k: v for k, v in before.items() if "-shm" not in k
    }
