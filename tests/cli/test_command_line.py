"""What holds for every command: where its options may stand, what it prints where, and how it fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import mlops.cli
from mlops import WorkspaceManager
from mlops.cli import COMMANDS, main, tell_error
from mlops.errors import MLOpsError
from tests.reporting.demo import HOSTILE, build_demo

EXPECTED = (
    "init list show status report models runs artifacts data deploy serve monitor alerts usage quota trace "
    "reproduce doctor config env run ui dashboard pipeline schedule export import delete restore purge "
    "rename clone version"
)
SCHEMA = Path(mlops.cli.__file__).with_name("json_schema.md")


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A copy of the demo base of this file's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        patch.chdir(tmp_path_factory.mktemp("work"))
        return build_demo(tmp_path_factory.mktemp("own") / "base", cache=shared_cache)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, where the tools are imported already."""

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as caught:
            main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return Done(int(caught.value.code or 0), out, err)

    return run


def child(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "from mlops.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def complete(run: Callable[..., Done], line: str) -> list[str]:
    """Ask as bash does when the tabulator key is pressed behind this line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLOPS_COMPLETE", "complete_bash")
        patch.setenv("COMP_WORDS", line)
        patch.setenv("COMP_CWORD", str(len(words) - 1))
        done = run()
    assert done.code == 0, done.err
    return done.out.split()


def leaves(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that is no group, with the words that name it."""
    if command is None:
        root = typer.main.get_group(mlops.cli.app)
        for name in COMMANDS:
            module = __import__(f"mlops.cli.{COMMANDS[name][0]}", fromlist=["app"])
            yield from leaves(typer.main.get_group(module.app).commands[name], (name,))
        assert list(root.commands) == list(COMMANDS)
    elif subcommands := getattr(command, "commands", None):
        for name, subcommand in subcommands.items():
            yield from leaves(subcommand, (*path, name))
    else:
        yield path, command


def test_every_command_is_there_and_helps(run: Callable[..., Done]) -> None:
    assert sorted(COMMANDS) == sorted(EXPECTED.split())
    for path in {(name,) for name in COMMANDS} | {path for path, _ in leaves()}:
        done = run(*path, "--help")
        assert (done.code, done.err) == (0, ""), path
        usage, description = done.out.split("\n\n")[:2]
        assert usage.startswith("Usage: mlops " + " ".join(path))
        assert description.startswith("  "), path
        assert "--base-path" in done.out
    assert run("models", "-h").out == run("models", "--help").out
    options = {
        (path, option) for path, command in leaves() for each in command.params for option in each.opts
    }
    assert {path for path, option in options if option == "--project"} == {
        path for path, option in options if option == "-p"
    }


# What each reading command is asked here; the others ask nothing or the project alone.
ASKED = {
    "artifacts": "churn",
    "data diff": "{old} {new} --project churn",
    "data history": "--project churn",
    "data status": "--project churn",
    "data verify": "--project forecast",
    "env": "churn",
    "quota": "churn",
    "models show": "churn classifier:1",
    "pipeline compare": "retrain v1.0.0 v1.0.0 --project churn",
    "pipeline list": "--project churn",
    "pipeline runs": "retrain --project churn",
    "pipeline show": "retrain --project churn",
    "pipeline versions": "retrain --project churn",
    "runs": "churn",
    "schedule history": "churn",
    "show": "churn",
    "trace": "churn.classifier:1",
}
# These print JSON of what they did, or found out by doing it.
WRITING = {
    *("alerts ack", "clone", "data add", "data gc", "data pull", "data push", "deploy", "export", "import"),
    *("init", "monitor", "pipeline run", "rename", "reproduce", "schedule run"),
}
# Gates and examinations: here there is something to be found.
FOUND = {"doctor": 1}


Keys = dict[str, tuple[bool, bool, str]]


def documented() -> dict[str, Keys]:
    """Return the keys of what each command prints and of each object in it.

    Each with whether it may be missing, whether it holds objects by name, and what object that is.
    """
    rows = {}
    for line in SCHEMA.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| `([a-z -]+)` \|.*\| (`.*) \|$", line):
            keys = re.findall(r"`([^`]+)`(\?)?(?: \((each )?([a-z ]+)\))?", found[2])
            rows[found[1]] = {key: (bool(may), bool(each), kind) for key, may, each, kind in keys}
    return rows


def agree(value: Any, name: str, rows: dict[str, Keys]) -> None:
    for each in value if isinstance(value, list) else [value]:
        if each is None:
            continue
        required = {key for key, (optional, _, _) in rows[name].items() if not optional}
        assert required <= set(each) <= set(rows[name]), (name, set(each) ^ set(rows[name]))
        for key, (_, by_name, kind) in rows[name].items():
            if kind and key in each:
                agree(list(each[key].values()) if by_name else each[key], kind, rows)


def test_what_reading_commands_print_as_json_is_what_is_documented(
    run: Callable[..., Done], base: Path
) -> None:
    rows = documented()
    printing = {
        " ".join(path) for path, command in leaves() if any("--json" in each.opts for each in command.params)
    }
    printing = {"models" if name == "models list" else name for name in printing}
    assert printing <= rows.keys()
    history = json.loads(run("data", "history", "--project", "churn", "--base-path", base, "--json").out)
    old, new = (version["md5"] for version in history)
    for name in sorted(printing - WRITING):
        asked = ASKED.get(name, "").format(old=old, new=new).split()
        done = run("--base-path", base, *name.split(), *asked, "--json")
        assert done.code == FOUND.get(name, 0), (name, done.err)
        value = json.loads(done.out)
        assert value, name
        agree(value, name, rows)


def test_global_options_stand_anywhere(run: Callable[..., Done], base: Path) -> None:
    listed = run("--base-path", base, "list", "--json").out
    assert "churn" in listed
    assert run("list", "--json", "--base-path", base).out == listed
    assert run("list", f"--base-path={base}", "--json").out == listed
    # The last one counts.
    assert run("--base-path", base.parent, "list", "--base-path", base, "--json").out == listed
    deep = run("pipeline", "list", "--base-path", base, "--project", "churn", "--json")
    assert json.loads(deep.out)[0]["name"] == "retrain"
    assert json.loads(run("models", "--base-path", base, "--json").out)
    with pytest.raises(LookupError, match="Workspace does not exist"):
        main(["runs", "nothing", "--debug", "--base-path", str(base)])


def test_what_a_command_runs_keeps_its_own_options(
    run: Callable[..., Done], base: Path, tmp_path: Path
) -> None:
    done = run(
        *("--base-path", base, "run", "quiet", "-q", "--", sys.executable, "-c"),
        *("import sys; sys.exit(len(sys.argv))", "--base-path", "x", "--debug"),
    )
    assert done.code == 4, done.err


def test_a_base_path_that_leads_nowhere_is_an_error_unless_the_command_makes_it(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    for command in ("list", "status", "models", "doctor"):
        done = run("--base-path", nowhere, command)
        assert (done.code, done.out) == (1, ""), command
        assert f"Error: There is no directory {nowhere}" in done.err
        assert "Hint: check --base-path" in done.err
    assert not nowhere.exists()
    assert run("--base-path", nowhere, "init", "churn").code == 0
    assert run("--base-path", nowhere, "list").code == 0
    file = tmp_path / "file"
    file.touch()
    assert run("--base-path", file, "init", "churn").code == 1


def test_completion_of_commands_projects_and_options(run: Callable[..., Done], base: Path) -> None:
    assert set(complete(run, "mlops ")) == set(COMMANDS)
    assert complete(run, "mlops sta") == ["status"]
    assert complete(run, "mlops data p") == ["push", "pull"]
    assert {"--json", "--limit", "--base-path"} <= set(complete(run, "mlops runs churn --"))
    at = f"mlops --base-path {base} "
    assert complete(run, f"{at}runs ") == ["broken", "churn", "forecast", "hostile", "quiet", "torn"]
    assert complete(run, f"{at}runs ch") == ["churn"]
    assert complete(run, f"mlops runs --base-path {base} ch") == ["churn"]
    assert complete(run, f"{at}data status --project f") == ["forecast"]
    assert complete(run, f"{at}schedule list churn qu") == ["quiet"]
    assert complete(run, f"{at}models p") == ["promote"]
    assert {"show", "promote", "list", "churn"} <= set(complete(run, f"{at}models "))
    assert complete(run, f"{at}models show ch") == ["churn"]
    assert "--drift" in complete(run, f"{at}models --")
    assert complete(run, f"{at}trace x --format d") == ["dot"]
    assert complete(run, f"{at}restore ") == []


def test_every_argument_that_names_a_project_is_completed(run: Callable[..., Done], base: Path) -> None:
    checked = set()
    for path, command in leaves():
        for param in command.params:
            if param.name not in ("project", "projects", "old", "source"):
                continue
            option = [] if param.param_type_name == "argument" else [param.opts[0]]
            line = " ".join(["mlops --base-path", str(base), *path, *option, "chu"])
            deleted = path in (("restore",), ("purge",))
            assert complete(run, line) == ([] if deleted or path == ("init",) else ["churn"]), path
            checked.add(path)
    assert len(checked) > 25


def test_the_script_that_a_shell_loads() -> None:
    # Which shell it is for is found among the processes it was started by; `exit` keeps bash one of them.
    command = shlex.join([sys.executable, "-c", "from mlops.cli import main; main()", "--show-completion"])
    done = subprocess.run(["bash", "-c", f"{command}; exit $?"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_MLOPS_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("stauts", "No such command 'stauts'. Did you mean 'status'?", "mlops --help"),
        ("models show churn", "Missing argument", "mlops models show --help"),
        ("data pusch", "No such command 'pusch'. Did you mean 'push'?", "mlops data --help"),
        ("runs churn --limit 0", "Invalid value for '--limit'", "mlops runs --help"),
        ("runs churn --limti 3", "No such option: --limti", "mlops runs --help"),
        ("models --tag team", "'team' is not key=value", "mlops models list --help"),
        ("data", "", ""),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint(
    run: Callable[..., Done], base: Path, line: str, message: str, hint: str
) -> None:
    done = run("--base-path", base, *line.split())
    assert done.code == 2
    if message:
        error, said = done.err.splitlines()
        assert error.startswith("Error: ")
        assert message in error
        assert said == f"Hint: see: {hint}"
        assert done.out == ""
    else:
        # A group alone is asked for its help.
        assert "Usage: mlops data" in done.out
        assert done.err == ""


def test_an_unexpected_exception_is_one_line_too(
    run: Callable[..., Done], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_manager: object) -> list[object]:
        raise KeyError("first\nsecond \x1b[31m")

    monkeypatch.setattr(WorkspaceManager, "list_workspaces", broken)
    done = run("--base-path", base, "list")
    assert (done.code, done.out) == (1, "")
    error, hint = done.err.splitlines()
    assert error.startswith("Error: KeyError: ")
    assert "\x1b" not in error
    assert "--debug" in hint
    with pytest.raises(KeyError):
        main(["--base-path", str(base), "list", "--debug"])

    def refused(_manager: object) -> list[object]:
        raise PermissionError(13, "Permission denied", "/data/x")

    monkeypatch.setattr(WorkspaceManager, "list_workspaces", refused)
    done = run("--base-path", base, "list")
    assert done.code == 1
    assert done.err.startswith("Error: Permission denied: /data/x\nHint: check the path")


def test_hints_are_of_the_command_line(run: Callable[..., Done], base: Path) -> None:
    done = run("--base-path", base, "runs", "chrn")
    assert "did you mean 'churn'?" in done.err
    assert "Hint: create it with mlops init chrn, or pass another --base-path" in done.err
    assert (
        "Hint: add --force; it goes to the trash unless --purge"
        in run("--base-path", base, "delete", "churn").err
    )


def test_hostile_text_does_nothing_to_a_terminal(run: Callable[..., Done], base: Path) -> None:
    # The run and the dataset of that project are called so.
    done = run("--base-path", base, "runs", "hostile")
    assert "[red]pipe[/red]" in done.out
    assert "\u202e" not in done.out
    assert "\\u202e" in done.out
    (told,) = (
        each["description"]
        for each in json.loads(run("--base-path", base, "list", "--json").out)
        if each["project_name"] == "hostile"
    )
    assert told == HOSTILE


def test_a_pipe_gets_a_line_per_row_whatever_its_length_and_no_colour(
    run: Callable[..., Done], base: Path, tmp_path: Path
) -> None:
    manager = WorkspaceManager(tmp_path / "wide")
    manager.create_workspace("x" * 40, description="word " * 200)
    out = run("--base-path", manager.base_path, "list").out
    (line,) = [line for line in out.splitlines() if "x" * 40 in line]
    assert line.count("word") == 200
    for command in ("models", "alerts list", "schedule list"):
        done = run("--base-path", base, *command.split())
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "churn" in done.out


@pytest.mark.parametrize("columns", [50, 100, 200])
def test_a_terminal_of_any_width_shows_every_word_whole(
    run: Callable[..., Done], base: Path, columns: int
) -> None:
    runs = json.loads(run("--base-path", base, "runs", "churn", "--json").out)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("COLUMNS", str(columns))):
            patch.setenv(name, value)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", run("--base-path", base, "runs", "churn").out)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    for each in runs:
        (line,) = [line for line in lines if each["run_id"] in line]
        # A row each where there is room; else its cells one below the other.
        assert (each["run_name"] in line) == (columns > 50)
    assert "FINISHED" in shown


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path / "long")
    for name in ("one", "two"):
        manager.create_workspace(name, description="word " * 60_000)
    process = child("--base-path", manager.base_path, "list", "--json")
    assert process.stdout is not None
    assert process.stdout.readline() == b"[\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) in (0, 1)


def test_ctrl_c_ends_with_130_and_no_traceback(base: Path) -> None:
    code = (
        "import os, signal; from mlops import WorkspaceManager; from mlops.cli import main;"
        " WorkspaceManager.list_workspaces = lambda self: os.kill(os.getpid(), signal.SIGINT); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--base-path", str(base), "list"],
        capture_output=True,
        timeout=30,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_a_character_is_no_error(tmp_path: Path, encoding: str) -> None:
    manager = WorkspaceManager(tmp_path / "base")
    manager.create_workspace("churn", description="Ünïcode 数据")
    for arguments in ((), ("--json",)):
        process = child(
            *("--base-path", manager.base_path, "list", *arguments), PYTHONIOENCODING=encoding, LC_ALL="C"
        )
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, b"")
        if arguments:
            (project,) = json.loads(out)
            assert project["description"] == "Ünïcode 数据"
        else:
            assert b"churn" in out


def test_a_terminal_has_colours_unless_they_are_refused(run: Callable[..., Done], base: Path) -> None:
    def told(**environment: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"TERM": "xterm-256color", "FORCE_COLOR": "1", **environment}.items():
                patch.setenv(name, value)
            return run("--base-path", base, "status").out

    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    assert colour.search(told())
    assert not colour.search(told(NO_COLOR="1"))


def test_what_writing_commands_print_as_json_is_what_is_documented(
    run: Callable[..., Done], base: Path, tmp_path: Path
) -> None:
    rows = documented()
    data = tmp_path / "new.csv"
    data.write_text("a\n1\n")
    alert = json.loads(run("alerts", "list", "churn", "--base-path", base, "--json").out)[0]["id"]
    trained = json.loads(run("runs", "forecast", "--base-path", base, "--json").out)[0]["run_id"]
    for line in (
        "init other",
        f"data add {data} --project other",
        "data push --project other",
        f"data pull {data} --project other",
        "data gc --project other",
        f"alerts ack churn {alert} --note seen",
        f"export other -o {tmp_path / 'other.tar.zst'}",
        f"import {tmp_path / 'other.tar.zst'} --as imported",
        "clone other twin",
        "rename twin third",
        "deploy churn classifier:1",
        "pipeline run retrain --project churn",
        "schedule run churn night",
        f"reproduce {trained} --into {tmp_path / 'again'}",
    ):
        done = run("--base-path", base, *line.split(), "--json")
        assert done.code == 0, (line, done.err)
        name = next(name for name in sorted(WRITING, key=len, reverse=True) if line.startswith(name))
        agree(json.loads(done.out), name, rows)
    # The history of checks has what `monitor` prints.
    checks = (base / "churn" / "monitoring" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    for check in map(json.loads, checks):
        agree({key: value for key, value in check.items() if key != "schema_version"}, "monitor", rows)


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ("client.deploy_model('clf')", "mlops deploy churn clf"),
        ("client.deploy_model('clf', version='3')", "mlops deploy churn clf:3"),
        ("client.promote('clf', 'live')", "mlops models promote churn clf live"),
        ("run(resume='abc')", "mlops pipeline run PIPELINE -p churn --resume abc"),
    ],
)
def test_a_next_step_is_a_command_of_the_project(
    capsys: pytest.CaptureFixture[str], call: str, command: str
) -> None:
    tell_error(MLOpsError("no", workspace="churn", hint=f"try {call}, or not"))
    assert capsys.readouterr().err == f"Error: no\nHint: try {command}, or not\n"
