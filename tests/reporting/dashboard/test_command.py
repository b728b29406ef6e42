"""``mlops dashboard`` as it is typed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mlops.cli import main

# What takes seconds to import, and is no business of pages that only read.
HEAVY = ("mlflow", "evidently", "bentoml", "dvc", "pandas")
COMMAND = f"""
import atexit, sys
atexit.register(lambda: print("imported:", [name for name in {HEAVY} if name in sys.modules]))
from mlops.cli import main
main()
"""
PATHS = ("/", "/registry", "/search?q=churn", "/analytics", "/projects/churn", "/report.json")


def test_it_serves_every_page_until_ctrl_c(demo: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--base-path", str(demo), "dashboard", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"Dashboard: (http://127\.0\.0\.1:\d+)/ \(Ctrl-C stops it\)", line)
            assert found, line
            for path in PATHS:
                with urllib.request.urlopen(found[1] + path, timeout=60) as answer:  # noqa: S310 - ours
                    assert answer.status == 200
            process.send_signal(signal.SIGINT)
            said, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, complaints) == (0, "")
    assert said == "imported: []\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--host", "0.0.0.0"], 1, "without a token\nHint: set MLOPS_DASHBOARD_TOKEN"),  # noqa: S104
        (["--token-file", "no-such-file"], 1, "no-such-file cannot be read"),
        (["--mlflow-ui", "javascript:alert(1)"], 2, "is not an address"),
        (["--port", "70000"], 2, "--port"),
    ],
)
def test_what_it_refuses(
    base: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--base-path", str(base), "dashboard", "--no-browser", *arguments])
    assert caught.value.code == code
    assert said in capsys.readouterr().err


def test_a_token_file_holds_the_token(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.write_text("short\n")
    with pytest.raises(SystemExit):
        main(["--base-path", str(base), "dashboard", "--no-browser", "--token-file", str(token)])
    assert "The dashboard's token has 5 characters" in capsys.readouterr().err
