"""How a process was started: its command line in words that mean the same in another checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

# What takes the place of a secret; a command that has it cannot be run again as it stands.
MASK: Final = "********"
PYTHON: Final = "python"
# MLflow refuses tag values of more than 8000 characters; half a command would be of no use.
MAX_COMMAND: Final = 7500
_SHELLS: Final = frozenset({"sh", "bash", "dash", "fish", "ksh", "zsh", "tmux", "screen", "ipython"})
_SERVERS: Final = frozenset({"lab", "notebook", "server", "console"})
_INTERPRETER: Final = re.compile(r"(?:python|pypy)[\d.]*")
# The last word of an option's or variable's name. The tokens of language models are no secrets.
_WORDS: Final = (
    r"[\w.-]*(?<!(?:pad|eos|bos|unk|sep|cls|max|min|num)[-_])"
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|(?:api|access|private|secret|auth)[-_]?key)"
)
_SECRET: Final = re.compile(rf"[-+]*{_WORDS}", re.IGNORECASE)
_SECRETS_IN_TEXT: Final = re.compile(
    rf"(?<![\w.-])({_WORDS}=|-{_WORDS}\s+)(\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE
)
_URL_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line.

    Args:
        arguments: The program and its arguments, without secrets.
        directory: The working directory it was started in.
    """

    arguments: tuple[str, ...]
    directory: Path

    def to_text(self) -> str:
        """Return it for an environment variable of the processes it starts."""
        return json.dumps({"arguments": self.arguments, "directory": str(self.directory)})

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Return what ``to_text`` wrote, or None for anything else."""
        try:
            values = json.loads(text)
            arguments = tuple(map(str, values["arguments"]))
            return cls(arguments, Path(values["directory"])) if arguments else None
        except (ValueError, KeyError, TypeError):
            return None

    def portable(self, root: Path | None) -> tuple[str, str]:
        """Return the command as a shell would be given it, and its working directory relative to ``root``.

        The interpreter is ``python``, an installed program goes by its name, and an absolute path below the
        root becomes relative to the working directory. A working directory outside the root counts as the
        root.

        Args:
            root: The top directory of the repository, or None.

        Returns:
            The command line, empty if it is too long to be kept, and the directory with ``/``.
        """
        inside = root is not None and self.directory.is_relative_to(root)
        directory = self.directory if inside or root is None else root
        arguments = _without_interpreter(self.arguments)
        if root is not None:
            if not inside:
                arguments = [_absolute(argument, self.directory) for argument in arguments]
            arguments = [_relative(argument, root, directory) for argument in arguments]
        line = shlex.join(arguments)
        where = directory.relative_to(root).as_posix() if root is not None else "."
        return line if len(line) <= MAX_COMMAND else "", where


def invocation(started_by: str | None) -> Invocation | None:
    """Return the command that does again what this process does.

    Args:
        started_by: What ``Invocation.to_text`` gave for a command that this process is part of. A shell or a
            notebook server in which a person works does not count.

    Returns:
        That command, else the process's own; None if there is none, as in an interactive session.
    """
    outer = Invocation.from_text(started_by) if started_by else None
    return outer if outer is not None and not _is_session(outer.arguments) else own_invocation()


def own_invocation() -> Invocation | None:
    """Return how this process was started.

    Returns:
        None for an interactive session, a program read from standard input, and a worker process that the
        program started, whose command line means nothing on its own.
    """
    given = sys.orig_argv
    script = sys.argv[0] if sys.argv else ""
    if hasattr(sys, "ps1") or sys.flags.interactive or script in ("", "-") or len(given) < 2:
        return None
    if "ipykernel" in sys.modules or any("multiprocessing" in argument for argument in given[1:4]):
        return None
    return Invocation(masked(given), _start_directory(script))


def masked(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return arguments with what looks like a secret replaced by ``MASK``.

    That is the value of an option or assignment whose name ends in a word such as password, token or api-key,
    and the credentials of a URL.

    Args:
        arguments: The program and its arguments.
    """
    result: list[str] = []
    expected = False
    for argument in arguments:
        name, separator, _ = argument.partition("=")
        secret = _SECRET.fullmatch(name) is not None
        if expected and not argument.startswith("-"):
            result.append(MASK)
        elif separator and secret:
            result.append(f"{name}={MASK}")
        else:
            text = _SECRETS_IN_TEXT.sub(rf"\1{MASK}", argument) if " " in argument else argument
            result.append(_URL_CREDENTIALS.sub(MASK, text))
        expected = secret and not separator and argument.startswith("-")
    return tuple(result)


def split(line: str) -> list[str]:
    """Return the arguments of a recorded command line, with this interpreter for ``python``.

    Args:
        line: What ``Invocation.portable`` returned.
    """
    arguments = shlex.split(line)
    return [sys.executable, *arguments[1:]] if arguments[:1] == [PYTHON] else arguments


def _is_session(arguments: Sequence[str]) -> bool:
    program, rest = Path(arguments[0]).name, arguments[1:]
    if program.startswith("jupyter"):
        return not rest or rest[0] in _SERVERS or program.removeprefix("jupyter-") in _SERVERS
    shell = program in _SHELLS or _INTERPRETER.fullmatch(program) is not None
    return shell and all(argument.startswith("-") for argument in rest)


def _start_directory(script: str) -> Path:
    """Return where the process was started, although it may have changed its directory since."""
    here = Path.cwd()
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    started = os.environ.get("PWD")
    if main is None or started is None or Path(script).is_absolute():
        return here
    for candidate in (here, Path(started)):
        if candidate.is_absolute() and (candidate / script).resolve() == Path(main).resolve():
            return candidate
    return here


def _without_interpreter(arguments: Sequence[str]) -> list[str]:
    first, *others = arguments
    scripts = Path(sysconfig.get_path("scripts"))
    if first == sys.executable or _INTERPRETER.fullmatch(Path(first).name):
        # `torchrun` and the like are started by their first line as `python .../bin/torchrun`.
        if others and Path(others[0]).parent == scripts:
            return [Path(others[0]).name, *others[1:]]
        return [PYTHON, *others]
    return [Path(first).name if Path(first).parent == scripts else first, *others]


def _absolute(argument: str, directory: Path) -> str:
    """Return the relative path of a file as an absolute one, because its directory will not be kept."""
    path = directory / argument
    return os.path.normpath(path) if not argument.startswith("-") and path.is_file() else argument


def _relative(argument: str, root: Path, directory: Path) -> str:
    head, separator, tail = argument.rpartition("=")
    if not tail.startswith("/"):
        return argument
    path = Path(os.path.normpath(tail))
    inside = path.is_relative_to(root) and not path.is_relative_to(Path(sys.prefix))
    return f"{head}{separator}{os.path.relpath(path, directory)}" if inside else argument
