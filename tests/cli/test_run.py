"""``mlops run`` and ``mlops env``: exit codes, streams, signals, quoting; with real processes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceManager

# A process started by a shell in the background ignores Ctrl-C, and so would its children.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from mlops.cli import main
main()
"""


def command(base: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", MAIN, "--base-path", str(base), *arguments]


def mlops(base: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(base, *arguments), capture_output=True, text=True, check=False, **options)


@pytest.fixture
def churn(base: Path) -> MLOpsClient:
    return MLOpsClient("churn", base_path=base)


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [
        (("sh", "-c", "exit 7"), 7, ""),
        (("sh", "-c", "kill -TERM $$"), 143, ""),
        (("no-such-program",), 127, "'no-such-program' cannot be run"),
        (("./plain.txt",), 126, "'./plain.txt' cannot be run"),
        ((), 2, "put it behind --"),
    ],
)
def test_the_exit_code_is_the_commands(
    base: Path, churn: MLOpsClient, program: tuple[str, ...], code: int, message: str
) -> None:
    Path("plain.txt").write_text("no program")
    done = mlops(base, "run", "churn", "--", *program)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_project_is_refused_unless_it_may_be_created(base: Path) -> None:
    refused = mlops(base, "run", "churn", "--", "touch", "ran")
    assert refused.returncode == 1
    assert "Workspace does not exist" in refused.stderr
    assert "add --create" in refused.stderr
    assert not Path("ran").exists()
    assert not (base / "churn").exists()
    assert mlops(base, "run", "churn", "--create", "--", "touch", "ran").returncode == 0
    assert Path("ran").exists()
    assert mlops(base, "env", "fraud").returncode == 1
    assert not (base / "fraud").exists()


def test_missing_data_stops_the_command_before_it_starts(base: Path, churn: MLOpsClient) -> None:
    done = mlops(base, "run", "churn", "--data", "nothing.csv", "--", "touch", "ran")
    assert done.returncode == 1
    assert "nothing.csv" in done.stderr
    assert not Path("ran").exists()


def test_the_command_has_the_streams_and_every_argument_to_itself(base: Path, churn: MLOpsClient) -> None:
    Path("pyproject.toml").write_text('[tool.mlops]\nproject = "churn"\n')
    script = 'cat; echo err >&2; printf "%s|" "$@"'
    done = mlops(
        base, "run", "-q", "--", "sh", "-c", script, "sh", "--quiet", "--", "a b", input="from here\n"
    )
    assert done.stdout == "from here\n--quiet|--|a b|"
    assert done.stderr == "err\n"


def test_what_would_lead_elsewhere_is_not_inherited(base: Path, churn: MLOpsClient) -> None:
    foreign = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_EXPERIMENT_NAME": "theirs",
        "MLFLOW_RUN_ID": "abc",
        "MLOPS_DATA": '{"x": "1"}',
        "MLOPS_RUN_GROUP": "theirs",
        "BENTOML_HOME": "/elsewhere",
        "PYTHONPATH": "/mine",
    }
    done = mlops(base, "run", "churn", "-q", "--", "env", "-0", env={**os.environ, **foreign})
    assert done.returncode == 0, done.stderr
    seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert seen["MLFLOW_TRACKING_URI"] == seen["MLFLOW_REGISTRY_URI"] == f"mlops://{base / 'churn'}"
    assert seen["BENTOML_HOME"] == str(base / "churn" / "models")
    assert seen["MLOPS_EVIDENTLY_WORKSPACE"] == str(base / "churn" / "monitoring")
    assert (seen["MLOPS_PROJECT"], seen["MLOPS_BASE_PATH"]) == ("churn", str(base))
    assert seen["PYTHONPATH"] == "/mine"
    assert {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLOPS_DATA"} & set(seen) == set()
    assert seen["MLOPS_RUN_GROUP"] != "theirs"


def test_inside_another_project_the_users_own_dvc_settings_are_kept(base: Path, churn: MLOpsClient) -> None:
    WorkspaceManager(base).create_workspace("fraud")
    inner = [*command(base, "run", "fraud", "-q", "--"), "sh", "-c"]
    script = 'cat "$DVC_GLOBAL_CONFIG_DIR/config"; echo; echo "$DVC_SYSTEM_CONFIG_DIR $MLOPS_PROJECT"'
    mine = {**os.environ, "DVC_GLOBAL_CONFIG_DIR": "/mine/dvc"}
    done = mlops(base, "run", "churn", "-q", "--", *inner, script, env=mine)
    assert done.stdout.splitlines()[-1] == "/mine/dvc fraud", done.stderr
    assert 'url = "../../../remote"' in done.stdout


SLEEPER = """
import mlflow, time
with mlflow.start_run(run_name="early"):
    pass
with mlflow.start_run(run_name="cut off"):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_an_interrupt_reaches_the_command_and_its_run_is_killed(base: Path, churn: MLOpsClient) -> None:
    Path("train.py").write_text(SLEEPER)
    child = subprocess.Popen(
        command(base, "run", "churn", "--", sys.executable, "train.py"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors
    statuses = {run["run_name"]: run["status"] for run in churn.list_runs()}
    assert statuses == {"early": "FINISHED", "cut off": "KILLED"}
    assert "2 runs in churn (1 FINISHED, 1 KILLED)" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_everything_the_command_started(
    base: Path, churn: MLOpsClient, number: signal.Signals
) -> None:
    script = "(trap 'echo grandchild; exit 0' TERM HUP; echo ready; while :; do sleep 0.05; done) & wait"
    child = subprocess.Popen(
        command(base, "run", "churn", "-q", "--", "sh", "-c", script),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    assert child.communicate(timeout=120)[0] == "grandchild\n"
    assert child.returncode == 128 + number


GOES_ON = """
import os, time, mlflow
mlflow.start_run()
pid = os.fork()
if pid:
    print(pid, flush=True)
    os._exit(0)
os.close(1)
os.close(2)
time.sleep(60)
"""


def test_runs_of_processes_that_go_on_are_left_alone(base: Path, churn: MLOpsClient) -> None:
    Path("train.py").write_text(GOES_ON)
    done = mlops(base, "run", "churn", "--", sys.executable, "train.py")
    os.kill(int(done.stdout), signal.SIGKILL)
    assert done.returncode == 0
    assert "1 run in churn (1 RUNNING)" in done.stderr
    assert "processes of the command go on" in done.stderr


COUNTER = """
import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("hello", input(), flush=True)
while not seen:
    time.sleep(0.02)
time.sleep(0.5)
print("interrupts:", len(seen), flush=True)
"""


def test_at_a_terminal_the_command_can_be_typed_to_and_gets_ctrl_c_once(
    base: Path, churn: MLOpsClient
) -> None:
    Path("ask.py").write_text(COUNTER)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command(base, "run", "churn", "--", sys.executable, "ask.py"))  # noqa: S606
    try:
        os.write(terminal, b"Ada\n")
        assert "hello Ada" in _read(terminal, "hello Ada")
        os.write(terminal, b"\x03")
        assert "interrupts: 1" in _read(terminal, "0 runs in churn")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)


def _read(terminal: int, until: str) -> str:
    text, deadline = "", time.monotonic() + 120
    while until not in text and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 4096).decode()
    return text


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_env_is_what_a_shell_reads_whatever_the_path(tmp_path: Path, shell: str) -> None:
    base = tmp_path / "it's $HOME ${x} `a` ü #1"
    client = MLOpsClient("churn", base_path=base)
    script = f"""{shell} -c 'eval "$1"; env -0' {shell} "$EXPORTS" """
    exports = mlops(base, "env", "churn")
    assert exports.returncode == 0, exports.stderr
    inherited = {**os.environ, "EXPORTS": exports.stdout, "MLFLOW_RUN_ID": "abc"}
    done = subprocess.run(["sh", "-c", script], env=inherited, capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    expected = client.environment(inherit=False)
    assert expected.items() <= seen.items()
    assert expected["BENTOML_HOME"] == str(base / "churn" / "models")
    assert "MLFLOW_RUN_ID" not in seen
    printed = json.loads(mlops(base, "env", "churn", "--json").stdout)
    assert printed["set"] == expected
    assert "MLFLOW_RUN_ID" in printed["unset"]


def test_env_prints_no_secret_and_the_shell_puts_it_in(base: Path) -> None:
    WorkspaceManager(base).create_workspace("churn", mlflow_tracking_uri="https://u:${ML_TOKEN}@ml.example")
    secret = {**os.environ, "ML_TOKEN": "s3cret"}
    exports = mlops(base, "env", "churn", env=secret)
    assert exports.returncode == 0, exports.stderr
    assert "s3cret" not in exports.stdout
    assert "s3cret" not in mlops(base, "env", "churn", "--json", env=secret).stdout
    script = f"{exports.stdout}\necho $MLFLOW_TRACKING_URI $MLFLOW_EXPERIMENT_NAME $MLOPS_TRACKING_STORE"
    done = subprocess.run(["sh", "-c", script], env=secret, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["https://u:s3cret@ml.example", "churn", "https://ml.example"]
    from_environment = {**os.environ, "MLOPS_MLFLOW_TRACKING_URI": "https://u:s3cret@other.example"}
    assert "s3cret" not in mlops(base, "env", "churn", env=from_environment).stdout
    missing = mlops(base, "env", "churn")
    assert missing.returncode == 1
    assert "export ML_TOKEN" in missing.stderr


def test_env_for_fish(base: Path, churn: MLOpsClient) -> None:
    lines = mlops(base, "env", "churn", "--shell", "fish").stdout.splitlines()
    assert f"set -gx BENTOML_HOME '{base}/churn/models'" in lines
    assert "set -e MLFLOW_RUN_ID" in lines


def test_environment_in_python_is_whole_and_changes_nothing(
    base: Path, churn: MLOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_EXPERIMENT_ID", "7")
        patch.setenv("KEPT", "yes")
        environment = churn.environment()
        assert os.environ["MLFLOW_EXPERIMENT_ID"] == "7"
    assert environment["KEPT"] == "yes"
    assert "MLFLOW_EXPERIMENT_ID" not in environment
    settings = Path(environment["DVC_GLOBAL_CONFIG_DIR"]) / "config"
    written = settings.stat()
    churn.environment()
    assert settings.stat().st_mtime_ns == written.st_mtime_ns
    assert str(base) not in settings.read_text(), "a copied workspace must not lead to the original"
    # The project's own is there first, so one that the code makes beside it is not taken for it.
    evidently = Path(environment["MLOPS_EVIDENTLY_WORKSPACE"])
    assert json.loads(next(evidently.glob("*/metadata.json")).read_text())["name"] == "churn"


def test_plain_dvc_gets_the_remotes_options_but_no_secret(base: Path) -> None:
    client = MLOpsClient("churn", base_path=base, dvc_remote_path="s3://bucket/data")
    client.environment()
    (client.workspace.dvc_path / ".dvc" / "config.local").write_text(
        "['remote \"project\"']\n    endpointurl = http://127.0.0.1:9000\n    secret_access_key = s3cret\n"
        "['remote \"other\"']\n    region = elsewhere\n"
    )
    environment = client.environment()
    text = (Path(environment["DVC_GLOBAL_CONFIG_DIR"]) / "config").read_text()
    assert "s3cret" not in text
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list", "--global"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert listed["remote.project.url"] == "s3://bucket/data/churn"
    assert listed["remote.project.endpointurl"] == "http://127.0.0.1:9000"
    assert "remote.project.region" not in listed


def test_a_database_of_ones_own_keeps_artifacts_in_the_workspace(base: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/shared.db"
    environment = MLOpsClient("churn", base_path=base, mlflow_tracking_uri=uri).environment()
    assert environment["MLFLOW_TRACKING_URI"] == environment["MLOPS_TRACKING_STORE"] == uri
    assert environment["MLFLOW_EXPERIMENT_NAME"] == "churn"
    artifacts = (base / "churn" / "mlflow" / "artifacts").resolve().as_uri()
    assert environment["_MLFLOW_SERVER_ARTIFACT_ROOT"] == artifacts
