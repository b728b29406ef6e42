from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops.errors import IntegrationError, IntegrationUnavailableError, ModelNotFoundError
from mlops.integrations.bentoml_serving import BentoServing, Deployment, Server, prediction_log
from mlops.workspace.tools import ToolContext
from tests.integrations.serving_children import CHILD, project_in, start

COLUMN = "petal length (cm)"


@pytest.fixture(scope="module")
def model() -> Any:
    """A fitted classifier of two flowers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from sklearn.tree import DecisionTreeClassifier

        frame = pd.DataFrame({COLUMN: [1.0, 1.5, 4.0, 5.0], "count": [1, 2, 3, 4]})
        return DecisionTreeClassifier(random_state=0).fit(frame, [0, 0, 1, 1])


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier as a model directory that carries the id of its run."""
    path = tmp_path_factory.mktemp("saved") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn
        import pandas as pd
        from mlflow.models import infer_signature

        frame = pd.DataFrame({COLUMN: [1.0, 4.0], "count": [1, 3]})
        mlflow.sklearn.save_model(
            model,
            path,
            pip_requirements=["scikit-learn"],
            signature=infer_signature(frame, model.predict(frame)),
            skops_trusted_types=["sklearn.tree._tree.Tree"],
        )
    with (path / "MLmodel").open("a") as stream:
        stream.write("run_id: 0123abcd\n")
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> BentoServing:
    """One project that most tests here only read."""
    return project_in(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def deployment(shared: BentoServing, saved: Path) -> Deployment:
    return shared.deploy(saved, model="iris", version="1", labels={"stage": "test"})


@pytest.fixture(scope="module")
def server(shared: BentoServing, deployment: Deployment) -> Iterator[Server]:
    with shared.serve(deployment) as running:
        yield running


def post(server: Server, path: str, body: object, kind: str = "application/json") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": kind})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def fetch(server: Server, path: str) -> str:
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


def family(pid: int) -> list[psutil.Process]:
    """The processes of a server, each known by its start time as well as its id."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def gone(processes: list[psutil.Process], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.1)
    return False


# Building


def test_a_bento_of_the_models_own_tag_is_built(shared: BentoServing, deployment: Deployment) -> None:
    assert deployment.bento_tag == deployment.model_tag == "churn.iris:1"
    assert deployment.labels["run_id"] == "0123abcd"
    (bento,) = shared.bentos()
    assert (bento.tag, bento.error) == ("churn.iris:1", None)
    assert bento.labels == deployment.labels
    requirements = (bento.path / "env" / "python" / "requirements.txt").read_text()
    assert "scikit-learn" in requirements
    assert "mlflow==" in requirements
    summary = shared.summary()
    assert (summary["models"], summary["bentos"]) == (1, 1)
    assert summary["deployments"] == ["churn.iris:1"]
    # A path of this machine in the Bento would break it in a moved workspace.
    for file in bento.path.rglob("*"):
        assert not file.is_file() or str(shared.workspace.root_path).encode() not in file.read_bytes()


def test_links_lead_from_the_run_to_the_bento(shared: BentoServing, deployment: Deployment) -> None:
    links = {(link.source, link.relation, link.target) for link in shared.links()}
    assert links == {
        ("run:0123abcd", "produced", "model:churn.iris:1"),
        ("model:churn.iris:1", "packaged-as", "bento:churn.iris:1"),
    }


def test_building_writes_only_into_the_workspace(
    make_context: Callable[..., ToolContext],
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    adapter = BentoServing(make_context())
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(home))
        # A home and a server that some shell profile exports.
        patch.setenv("BENTOML_HOME", str(tmp_path / "foreign"))
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        adapter.deploy(saved, model="iris", version="1")
    assert list(Path.cwd().iterdir()) == []
    assert not (tmp_path / "foreign").exists()
    assert not (home / "bentoml").exists()
    assert list((adapter.workspace.models_path / "staging").iterdir()) == []


DEPLOY = "print(serving.deploy(sys.argv[2], model='iris', version='1').bento_tag)"


def test_a_kill_while_a_bento_is_built_and_then_two_builds_at_once(context: ToolContext, saved: Path) -> None:
    adapter = BentoServing(context)
    root = context.workspace.root_path
    staging = context.workspace.models_path / "staging"
    process = start(DEPLOY, root, saved)
    while not list(staging.glob("build-*/home/models")):
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    summary = adapter.summary()
    assert (summary["models"], summary["bentos"], summary["errors"]) == (1, 0, [])
    assert adapter.get("iris", "1").bento_tag is None

    both = [start(DEPLOY, root, saved) for _ in range(2)]
    outputs = [each.communicate(timeout=120)[0] for each in both]
    assert outputs == ["churn.iris:1\n"] * 2
    assert [entry.error for entry in adapter.bentos()] == [None]
    assert list(staging.iterdir()) == []


def test_a_failed_build_says_why_and_keeps_the_model(
    context: ToolContext, saved: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(saved, broken)
    card = broken / "MLmodel"
    # A column without a type: the typed service cannot be made from it.
    card.write_text(re.sub(r'"type":\s+"long",', "", card.read_text()))
    adapter = BentoServing(context)
    with pytest.raises(IntegrationError, match=r"The Bento churn\.iris:1 could not be built: ") as e:
        adapter.deploy(broken, model="iris", version="1")
    assert "KeyError: 'type'" in e.value.details["output"]
    assert (adapter.summary()["models"], adapter.summary()["bentos"]) == (1, 0)


# Serving


def test_served_predictions_are_the_local_ones(server: Server, model: Any) -> None:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({COLUMN: [1.0, 1.4, 4.1, 6.0, math.nan], "count": [1, 2, 3, 4, 5]})
    expected = model.predict(frame).tolist()
    answer = server.predict(frame)
    assert answer == expected
    assert all(type(value) is int for value in answer)
    assert server.predict(frame.to_dict("records")) == expected
    assert server.predict(frame.to_numpy().tolist()) == expected
    assert server.predict(frame.to_numpy()) == expected
    assert server.predict([{COLUMN: np.float32(1.0), "count": np.int64(1)}]) == expected[:1]
    status, body = post(server, "/predict", {"rows": [{COLUMN: 1.0, "count": 1}]})
    assert (status, body) == (200, {"predictions": [0], "model": "churn.iris:1", "version": "1"})


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({COLUMN: "long", "count": 1}, COLUMN),
        ({COLUMN: "1.0", "count": 1}, COLUMN),
        ({COLUMN: True, "count": 1}, COLUMN),
        ({COLUMN: 1.0, "count": 1.5}, "count"),
        ({COLUMN: 1.0, "count": None}, "count"),
        ({COLUMN: 1.0, "count": 2**63}, "count"),
        ({"count": 1}, COLUMN),
        ({COLUMN: 1.0, "count": 1, "extra": 1}, "extra"),
        ([1.0], COLUMN),
    ],
)
def test_a_bad_row_is_refused_by_its_column(server: Server, row: Any, named: str) -> None:
    good = {COLUMN: 1.0, "count": 1}
    assert post(server, "/predict", {"rows": [good, row]})[0] == 400
    with pytest.raises(IntegrationError) as caught:
        server.predict([good, row])
    assert "row 1" in str(caught.value)
    assert named in str(caught.value)
    assert caught.value.operation == "predict"
    assert caught.value.details["status"] == 400
    assert caught.value.workspace == "churn"


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[1]", b'{"rows": []}', b'{"row": [1]}', b'{"rows": [1]}', b'{"rows": null}']
)
def test_a_request_that_is_no_request_is_the_clients_error(server: Server, body: bytes) -> None:
    assert post(server, "/predict", body)[0] == 400


def test_rows_that_are_no_rows_are_refused_here(server: Server) -> None:
    for rows in ("text", 5, {COLUMN: 1.0}, [{COLUMN: object()}]):
        with pytest.raises(IntegrationError, match="cannot be sent"):
            server.predict(rows)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": [COLUMN, "count"], "data": [[1.0, 1], [5.0, 4]]}},
        {"dataframe_records": [{COLUMN: 1.0, "count": 1}, {COLUMN: 5.0, "count": 4}]},
        {"instances": [{COLUMN: 1.0, "count": 1}, {COLUMN: 5.0, "count": 4}]},
        {"inputs": {COLUMN: [1.0, 5.0], "count": [1, 4]}},
    ],
)
def test_mlflows_own_protocol(server: Server, body: dict[str, Any]) -> None:
    assert post(server, "/invocations", body) == (200, {"predictions": [0, 1]})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": [1], "inputs": [1]},
        {"inputs": {"other": [1]}},
        {"dataframe_split": {"rows": 1}},
        {"dataframe_records": [{COLUMN: "x", "count": 1}]},
    ],
)
def test_mlflows_own_protocol_refuses_with_400(server: Server, body: dict[str, Any]) -> None:
    assert post(server, "/invocations", body)[0] == 400


def test_mlflows_own_protocol_in_csv(server: Server) -> None:
    def send(text: bytes, kind: str = "text/csv; charset=utf-8") -> tuple[int, Any]:
        return post(server, "/invocations", text, kind)

    assert send(f"{COLUMN},count\n1.0,1\n5.0,4\n".encode()) == (200, {"predictions": [0, 1]})
    for bad in (b"other\n1\n", f"{COLUMN},count\nlong,1\n".encode(), b"", b"\xff\xfe"):
        assert send(bad)[0] == 400
    # Neither is a form, whatever a client such as curl calls it.
    form = "application/x-www-form-urlencoded"
    assert send(b'{"instances": [{"petal length (cm)": 1.0, "count": 1}]}', form)[0] == 200
    rows = b'{"rows": [{"petal length (cm)": 1.0, "count": 1}]}'
    assert post(server, "/predict", rows, form)[0] == 200


def test_the_server_says_which_model_it_is(server: Server, deployment: Deployment) -> None:
    description = json.loads(fetch(server, "/model"))
    assert post(server, "/model", {}) == (200, description)
    assert server.call("model") == description
    assert (description["name"], description["version"]) == ("churn.iris", "1")
    assert (description["tag"], description["run_id"]) == ("churn.iris:1", "0123abcd")
    assert description["labels"] == deployment.labels
    assert [column["name"] for column in description["signature"]["inputs"]] == [COLUMN, "count"]
    assert "/model" in json.loads(fetch(server, "/docs.json"))["paths"]


def test_what_was_asked_and_answered_is_logged(shared: BentoServing, server: Server) -> None:
    begun = datetime.now(UTC)
    rows = [{COLUMN: 1.0, "count": 1}, {COLUMN: 5.0, "count": 4}]
    request = urllib.request.Request(  # noqa: S310
        server.url + "/predict", json.dumps({"rows": rows}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        number = answer.headers["X-BentoML-Request-ID"]
    server.predict([[1.0, 1]])
    post(server, "/invocations", {"dataframe_records": rows})
    post(server, "/predict", {"rows": [{COLUMN: "refused", "count": 1}]})
    deadline = time.monotonic() + 3
    while len(found := [*shared.predictions("iris", since=begun)]) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(record["rows"], record["predictions"]) for record in found] == [
        (rows, [0, 1]),
        (rows[:1], [0]),
        (rows, [0, 1]),
    ]
    assert found[0]["request_id"] == number
    assert len({record["request_id"] for record in found}) == 3
    assert {(record["model"], record["version"]) for record in found} == {("churn.iris:1", "1")}
    assert all(0 < record["latency_ms"] < 5000 for record in found)
    assert [*prediction_log.to_rows(found)][1] == rows[1] | {"prediction": 1}


def test_health_metrics_and_a_typed_description(server: Server) -> None:
    assert server.healthy()
    for path in ("/livez", "/readyz", "/healthz"):
        fetch(server, path)

    def asked() -> float:
        counted = re.findall(
            r'^bentoml_service_request_total\{endpoint="/predict",http_response_code="200".*'
            r'service_name="churn.iris",service_version="1"\} (.*)$',
            fetch(server, "/metrics"),
            re.MULTILINE,
        )
        return sum(map(float, counted))

    before = asked()
    for _ in range(3):
        server.predict([[1.0, 1]])
    assert asked() == before + 3
    assert COLUMN in fetch(server, "/docs.json")


def test_threads_may_ask_at_the_same_time(server: Server) -> None:
    answers: list[list[Any]] = []
    threads = [
        threading.Thread(target=lambda at=at: answers.append(server.predict([[float(at), at]])))
        for at in (1, 5) * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [[0]] * 4 + [[1]] * 4


def test_another_process_sees_what_is_served(shared: BentoServing, server: Server) -> None:
    code = "import json; print(json.dumps(serving.summary()['serving']))"
    output, _ = start(code, shared.workspace.root_path).communicate(timeout=60)
    (record,) = json.loads(output)
    assert (record["tag"], record["url"], record["pid"]) == ("churn.iris:1", server.url, server.pid)
    assert record["owner_pid"] == os.getpid()


def test_a_model_that_is_served_is_not_deleted(shared: BentoServing, server: Server) -> None:
    with pytest.raises(IntegrationError, match=rf"is being served at {server.url}"):
        shared.delete("iris", "1")
    assert shared.get("iris", "1").bento_tag


def test_what_cannot_be_served_is_refused_at_once(shared: BentoServing, saved: Path, server: Server) -> None:
    shared.deploy(saved, model="stored", version="1", build_bento=False)
    for target, match in (("stored", "without a Bento"), ("nothing", "no deployed model 'nothing'")):
        with pytest.raises(ModelNotFoundError, match=match):
            shared.serve(target)
    shared.delete("stored", "1")
    with pytest.raises(IntegrationUnavailableError, match=f"Port {server.port} of 127.0.0.1 is in use"):
        shared.serve("iris", port=server.port)
    with pytest.raises(IntegrationError, match=r"'example\.com' is not an IP address"):
        shared.serve("iris", host="example.com")
    for options in ({"sample_rate": 1.5}, {"workers": 0}, {"timeout": 0}):
        with pytest.raises(IntegrationError, match=next(iter(options))):
            shared.serve("iris", **options)
    with pytest.raises(IntegrationError, match="another version"):
        shared.serve("iris:1", version="2")


def test_a_server_that_dies_at_the_start_shows_its_log(
    context: ToolContext, saved: Path, tmp_path: Path
) -> None:
    adapter = BentoServing(context)
    made = adapter.deploy(saved, model="iris", version="1", build_bento=True)
    (bento,) = adapter.bentos()
    service = bento.path / "src" / "mlops_service" / "service.py"
    service.write_text("raise SystemError('a package is missing')\n")
    with pytest.raises(IntegrationError, match="a package is missing") as caught:
        adapter.serve(made, timeout=60)
    assert "iris-1-" in str(caught.value.hint)
    assert adapter.servers() == []
    assert list((context.workspace.state_path / "serving" / "churn").iterdir()) == []


def test_every_way_to_end_a_server_ends_all_of_it(
    shared: BentoServing, deployment: Deployment, server: Server, saved: Path
) -> None:
    root = shared.workspace.root_path
    serving = shared.workspace.state_path / "serving" / "churn"
    code = """
server = serving.serve("iris", version="1", timeout=110)
print(server.pid, server.port, flush=True)
sys.stdin.read()
"""
    # Two owners: one ends in order without a thought for its server, one is killed.
    owners = []
    for _ in range(2):
        owner = subprocess.Popen(
            [sys.executable, "-c", CHILD + code, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        owners.append(owner)
    families = []
    for owner in owners:
        assert owner.stdout is not None
        pid, port = map(int, owner.stdout.readline().split())
        assert port != server.port
        # The launcher, BentoML's supervisor and its worker.
        families.append(family(pid))
        assert len(families[-1]) == 3
    assert len(shared.servers()) == 3
    owners[0].communicate("", timeout=30)
    assert owners[0].returncode == 0
    assert gone(families[0], seconds=0.2)
    owners[1].kill()
    owners[1].communicate()
    assert gone(families[1])
    assert [record["pid"] for record in shared.servers()] == [server.pid]
    # Homes of the two are gone as well; that of the server which still runs is not.
    assert len(list(serving.iterdir())) == 1

    # The rest is done to the module's own server, which is the last to be used.
    port, launcher, *rest = server.port, *family(server.pid)
    rest[0].kill()
    assert gone([launcher, *rest])
    assert not server.healthy()
    with pytest.raises(IntegrationUnavailableError, match=r"churn\.iris:1 at .* is not running") as caught:
        server.predict([[1.0, 1]])
    assert caught.value.tool == "bentoml"
    shared.close()
    server.stop()
    server.stop()
    assert repr(server).endswith("stopped>")
    assert shared.servers() == []
    assert list(serving.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert list(Path.cwd().iterdir()) == []
