"""The same pipeline on the workers of a Dask cluster: two processes that are started once for all tests."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops import MLOpsClient, Pipeline, PipelineError, StepError, step
from mlops.cli import main
from mlops.errors import IntegrationNotInstalledError, IntegrationUnavailableError
from mlops.pipelines import cluster, worker
from mlops.pipelines.progression import Progress

# One worker may die under a call; that two do is an error.
CLUSTER = """
import sys, dask
dask.config.set({"distributed.scheduler.allowed-failures": 1, "temporary-directory": sys.argv[1]})
from distributed import LocalCluster
cluster = LocalCluster(
    n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, memory_limit=0
)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
cluster.close()
"""


@pytest.fixture(scope="module")
def address(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("dask")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_", "DASK_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"XDG_CACHE_HOME": str(shared_cache)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin, process.stdout:
        yield process.stdout.readline().strip()


@pytest.fixture
def other(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient("other", base_path=base) as opened:
        yield opened


class StoreError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"the store said {code}")
        self.code = code


def load(rows: int) -> list[int]:
    return list(range(rows))


def many_kinds(client: MLOpsClient, scratch: Path) -> Pipeline:
    """Return a pipeline with every kind of step, which leaves in ``scratch`` who did what."""

    def note(what: str) -> int:
        with (scratch / what).open("a") as stream:
            return stream.write(f"{os.getpid()}\n")

    @step(cache=True)
    def fit(load: list[int], rate: float) -> dict[str, float]:
        import mlflow

        note("fit")
        mlflow.log_metric("plain", 1.0)
        client.log_metrics({"ours": 2.0})
        client.log_text("fitted", "notes.txt")
        mlflow.start_run(run_name="left open", nested=True)
        return {"score": sum(load) * rate}

    @step(retry=2, backoff=0.01)
    def flaky(load: list[int]) -> int:
        note("flaky")
        if len((scratch / "flaky").read_text().split()) < 3:
            raise StoreError(503)
        return len(load)

    @step(map="item", inputs={"item": "load"})
    def square(item: int) -> int:
        client.log_metric(f"seen{item}", item)
        return item * item

    @step(when=lambda fit: fit["score"] > 1e6)
    def deploy(fit: dict[str, float]) -> str:
        return "deployed"

    def report(fit: dict[str, float], flaky: int, square: list[int]) -> str:
        note("report")
        return f"<html>{fit} {flaky} {square}</html>"

    pipeline = client.create_pipeline("training", params={"rows": 3, "rate": 0.5})
    for each in (load, fit, flaky, square, deploy, report):
        pipeline.add_step(each)
    return pipeline


def records(client: MLOpsClient, run_id: str) -> dict[str, Any]:
    """Return what is recorded of a run and its steps, without what differs from one run to the next."""
    found: dict[str, Any] = {}
    for run in client.tracking.list_runs(limit=None):
        tags = run["tags"]
        if run_id in (run["run_id"], tags.get("mlflow.parentRunId")):
            artifacts = client.tracking.client().list_artifacts(run["run_id"], "mlops/outputs")
            kept = {
                key: value
                for key, value in tags.items()
                if key.startswith(("mlops.step", "mlops.output", "mlops.pipeline", "mlops.defined"))
                and key not in ("mlops.pipeline_engine", "mlops.step_reused_from")
            }
            found[tags.get("mlops.step", "")] = (
                run["status"],
                run["params"],
                run["metrics"],
                kept,
                sorted(item.path for item in artifacts),
            )
    return found


def test_what_is_recorded_is_the_same_and_so_is_the_cache(
    client: MLOpsClient, other: MLOpsClient, address: str, tmp_path: Path
) -> None:
    scratches = [tmp_path / name for name in ("local", "remote")]
    for scratch in scratches:
        scratch.mkdir()
    local, remote = many_kinds(client, scratches[0]), many_kinds(other, scratches[1])
    first = local.run()
    told: list[Progress] = []
    second = remote.run(engine="dask", address=address, progress=told.append)
    assert dict(second.outputs) == dict(first.outputs)
    expected = records(client, first.run_id)
    assert set(expected) == {"", "load", "fit", "flaky", "square", "deploy", "report"}
    assert expected["fit"][2] == {"plain": 1.0, "ours": 2.0}
    assert expected["flaky"][3]["mlops.step_attempts"] == "3"
    assert expected["deploy"][3]["mlops.step_status"] == "SKIPPED"
    assert records(other, second.run_id) == expected
    for each, run in ((client, first), (other, second)):
        (left,) = [r for r in each.tracking.list_runs(limit=None) if r["run_name"] == "left open"]
        assert left["tags"]["mlflow.parentRunId"] == run.steps["fit"].run_id
        assert left["status"] == "FINISHED"
    assert other.get_run(second.run_id)["tags"]["mlops.pipeline_engine"] == "dask"
    assert [told[0].step, told[-1].done, told[-1].total] == ["load", 6, 6]
    for what in ("fit", "flaky", "report"):
        assert set((scratches[0] / what).read_text().split()) == {str(os.getpid())}
        assert str(os.getpid()) not in (scratches[1] / what).read_text().split()

    # A step cached by one engine is a hit on the other.
    for pipeline, before, options in (
        (local, first, {"engine": "dask", "address": address}),
        (remote, second, {}),
    ):
        again = pipeline.run(**options)
        assert again.steps["fit"].reused_from == before.steps["fit"].run_id
        assert again.outputs["fit"] == {"score": 1.5}
    assert not list((client.workspace.state_path / "staging").glob("*"))


def test_the_users_exception_comes_back_and_the_run_goes_on_from_there(
    client: MLOpsClient, address: str, tmp_path: Path
) -> None:
    import distributed

    broken = tmp_path / "broken"
    broken.touch()

    def count(load: list[int]) -> int:
        if broken.exists():
            raise StoreError(404)
        return len(load)

    pipeline = client.create_pipeline("p", params={"rows": 4}).add_step(load).add_step(count)
    with pytest.raises(StepError, match="The step 'count' failed: StoreError: the store said 404") as caught:
        pipeline.run(engine="dask", address=address)
    cause = caught.value.__cause__
    assert type(cause) is StoreError
    assert cause.code == 404
    assert "in count" in "".join(cause.__notes__)
    broken.unlink()
    with distributed.Client(address, set_as_default=False) as open_client:
        run = pipeline.run(engine="dask", address=open_client, resume=caught.value.details["run_id"])
        assert open_client.status == "running"
    assert run.outputs["count"] == 4
    assert (run.steps["load"].cached, run.steps["count"].cached) == (True, False)


def test_a_step_that_takes_too_long_is_stopped_on_its_worker(
    client: MLOpsClient, address: str, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"

    @step(timeout=0.3)
    def endless() -> None:
        mark.write_text(str(os.getpid()))
        while True:
            pass

    pipeline = client.create_pipeline("p").add_step(endless)
    with pytest.raises(StepError, match=r"The step 'endless' was stopped after 0\.3 s") as caught:
        pipeline.run(engine="dask", address=address)
    assert type(caught.value.__cause__) is TimeoutError
    assert not psutil.pid_exists(int(mark.read_text()))


def test_ctrl_c_ends_the_run_at_once(
    client: MLOpsClient,
    address: str,
    tmp_path: Path,
    interrupt_when: Callable[[Callable[[], bool]], None],
) -> None:
    going = tmp_path / "going"
    going.touch()

    def endless(name: str) -> Any:
        def work() -> None:
            (tmp_path / name).touch()
            while going.exists():
                time.sleep(0.05)

        return step(work, name=name, inputs=[], retry=3, backoff=0)

    pipeline = client.create_pipeline("p").add_step(endless("a")).add_step(endless("b"))
    interrupt_when(lambda: all((tmp_path / name).exists() for name in "ab"))
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(engine="dask", address=address)
    going.unlink()
    assert {run["status"] for run in client.tracking.list_runs(limit=None)} == {"KILLED"}


def test_a_saved_version_runs_on_a_cluster_by_command(
    client: MLOpsClient, base: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_pipeline("p", params={"rows": 2}).add_step(load).save_version("v1")
    for options, code, text in (
        (["--engine", "dask", "--address", address], 0, "p v1: FINISHED"),
        (["--address", address], 1, "the engine 'local' takes no options"),
        (["--engine", "ray"], 1, "engines are: local, dask"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["--base-path", str(base), "pipeline", "run", "p", "--project", "churn", *options])
        assert done.value.code == code
        captured = capsys.readouterr()
        assert text in captured.out + captured.err
    (run,) = client.list_runs("p")
    assert run["tags"]["mlops.pipeline_engine"] == "dask"


def test_what_cannot_run_is_refused_before_anything_is_recorded(
    client: MLOpsClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    pipeline = client.create_pipeline("p", params={"rows": 2}).add_step(load)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.3)
    before = set(threading.enumerate())
    with pytest.raises(IntegrationUnavailableError, match=r"tcp://127\.0\.0\.1:1 cannot be reached"):
        pipeline.run(engine="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(PipelineError, match="'gopher://x:1' is no address of a Dask scheduler"):
        pipeline.run(engine="dask", address="gopher://x:1")
    assert not [each for each in set(threading.enumerate()) - before if each.name == "IO loop"]
    with pytest.raises(PipelineError, match="cannot be run with 'adress'"):
        pipeline.run(engine="dask", adress=address)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 10)

    async def with_an_asynchronous_client() -> None:
        async with distributed.Client(address, asynchronous=True, set_as_default=False) as connected:
            pipeline.run(engine="dask", address=connected)

    with pytest.raises(PipelineError, match="The Dask client is asynchronous"):
        asyncio.run(with_an_asynchronous_client())
    with pytest.raises(PipelineError, match="does not see /elsewhere/staging"):
        worker.carry_out("/elsewhere/staging/x.step", "load", False, None, "churn")

    # Another project at the same path, as a worker on another machine may see it.
    file = client.workspace.metadata_file
    text = file.read_text()
    file.write_text(text.replace(client.workspace.id, "0" * 8 + client.workspace.id[8:]))
    with pytest.raises(
        PipelineError, match="cannot reach the project 'churn': another project is at"
    ) as caught:
        pipeline.run(engine="dask", address=address)
    assert "workers must see" in (caught.value.hint or "")
    file.write_text(text)

    real = distributed.Client.get_versions

    def elsewhere(self: Any, **options: Any) -> Any:
        versions = real(self, **options)
        for each in versions["workers"].values():
            each["packages"]["python"] = "3.9.1.final.0"
        return versions

    with monkeypatch.context() as patch:
        patch.setattr(distributed.Client, "get_versions", elsewhere)
        with pytest.raises(PipelineError, match=r"has Python 3\.9, and this process has"):
            pipeline.run(engine="dask", address=address)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        with pytest.raises(IntegrationNotInstalledError) as missing:
            pipeline.run(engine="dask")
        assert 'pip install "mlops-workspaces[dask]"' in (missing.value.hint or "")
    assert client.list_runs("p") == []


def test_a_worker_that_is_killed_in_mid_run_is_replaced(
    client: MLOpsClient, address: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    @step(inputs=[])
    def die() -> str:
        known = pids.read_text().split() if pids.exists() else []
        pids.write_text(" ".join([*known, str(os.getpid())]))
        if not known:
            os.kill(os.getpid(), signal.SIGKILL)
        client.log_metric("done", 1.0)
        return "alive"

    @step(inputs=[])
    def beside() -> str:
        return "untouched"

    def join(die: str, beside: str) -> str:
        return f"{die} {beside}"

    pipeline = client.create_pipeline("p").add_step(die).add_step(beside).add_step(join)
    run = pipeline.run(engine="dask", address=address)
    assert run.outputs["join"] == "alive untouched"
    assert len(set(pids.read_text().split())) == 2
    found = client.get_run(run.steps["die"].run_id or "")
    assert (found["status"], found["metrics"]) == ("FINISHED", {"done": 1.0})
    assert found["tags"]["mlops.step_attempts"] == "1"

    @step(name="die")
    def die_always() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    doomed = client.create_pipeline("doomed").add_step(die_always)
    with pytest.raises(StepError, match="workers that called the step 'die' died, 2 in a row") as caught:
        doomed.run(engine="dask", address=address)
    assert isinstance(caught.value.__cause__, PipelineError)
    assert client.list_runs("doomed")[0]["status"] == "FAILED"


def test_without_an_address_a_cluster_is_started_and_closed(
    client: MLOpsClient, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    threads = set(threading.enumerate())

    @step(map="item")
    def look(item: int) -> tuple[int, set[str], str]:
        children = psutil.Process(int(item)).children(recursive=True)
        listening = {
            connection.laddr.ip
            for process in children
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        return os.getpid(), listening, str(Path.cwd())

    handlers = {name: list(logging.getLogger(name).handlers) for name in ("", "distributed", "tornado")}
    pipeline = client.create_pipeline("p", max_workers=1).add_step(look)
    run = pipeline.run(engine="dask", params={"item": [os.getpid()] * 2})
    seen = run.outputs["look"]
    assert os.getpid() not in {pid for pid, _, _ in seen}
    assert {ip for _, listening, _ in seen for ip in listening} == {"127.0.0.1"}
    assert {cwd for _, _, cwd in seen} == {str(Path.cwd())}
    out, err = capfd.readouterr()
    assert out == ""
    assert "look" in err
    assert {p.pid for p in psutil.Process().children(recursive=True)} == before
    left = {t.name for t in set(threading.enumerate()) - threads if not t.daemon}
    assert {name for name in left if "Dask-Callback" not in name} == set()
    assert handlers == {name: list(logging.getLogger(name).handlers) for name in handlers}
    assert not list((client.workspace.state_path / "staging").iterdir())
    assert not list(Path.cwd().iterdir())
