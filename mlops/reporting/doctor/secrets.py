"""Secrets that were written down: in configuration files, and in what runs recorded.

Only forms that are hardly ever anything else are looked for. A finding says where and of what kind, never the
secret or what is around it.
"""

from __future__ import annotations

import configparser
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlops.integrations.dvc_data.url_remote import SECRET_OPTIONS
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.mlflow_tracking import MLflowTracking, provenance, queries, store
from mlops.reporting.doctor.finding import SHOWN, Check, Finding
from mlops.reporting.doctor.subject import Subject
from mlops.reporting.wording import counted
from mlops.workspace import links
from mlops.workspace.model import ProjectWorkspace


@dataclass(frozen=True, slots=True)
class _Kind:
    """A form of secret.

    Args:
        name: What it is, with its article.
        pattern: What it looks like.
        globs: SQLite patterns, one of which whatever has it matches: SQLite is quicker at finding the few.
    """

    name: str
    pattern: re.Pattern[str]
    globs: tuple[str, ...]


# The prefixes and lengths are those that their issuers document. A reference to the environment, an asterisk,
# or a word in brackets stands for a password and is none.
_KINDS: Final = (
    _Kind(
        "a URL with a password",
        re.compile(
            r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@\"'<>]*:(?!\$|%|\*|<|\{|\[|x{3})[^\s@/\"'<>]{3,}@[\w\[]"
        ),
        ("*://*:*@*",),
    ),
    _Kind(
        "an AWS access key",
        re.compile(r"\b(?:AKIA|ASIA)(?!\w*EXAMPLE\b)[0-9A-Z]{16}\b"),
        ("*AKIA*", "*ASIA*"),
    ),
    _Kind(
        "a private key",
        re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
        ("*PRIVATE KEY*",),
    ),
    _Kind(
        "a GitHub token",
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
        ("*gh[pousr]_*", "*github_pat_*"),
    ),
    _Kind("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"), ("*glpat-*",)),
    _Kind("a Slack token", re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{20,}"), ("*xox[abeprs]-*",)),
    _Kind(
        "a Slack webhook",
        re.compile(r"hooks\.slack\.com/(?:services|workflows)/[A-Z0-9]+/[A-Z0-9]+/[A-Za-z0-9]{16,}"),
        ("*hooks.slack.com/*",),
    ),
    _Kind("a Hugging Face token", re.compile(r"\bhf_[A-Za-z]{30,}\b"), ("*hf_*",)),
    _Kind(
        "an API key of OpenAI or Anthropic",
        re.compile(r"\bsk-(?:proj-|svcacct-|ant-)[A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9]{48}\b"),
        ("*sk-*",),
    ),
    _Kind("a Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"), ("*AIza*",)),
    _Kind("a PyPI token", re.compile(r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"), ("*pypi-AgE*",)),
)
# What people call what is nobody else's business, and what such a name is followed by if that is the thing
# itself: not a reference, a placeholder or nothing.
_NAMES: Final = (
    r"(?:passw(?:or)?d|api[_-]?key|secret[_-]?key|secret[_-]access[_-]key|access[_-]token|auth[_-]token"
    r"|client[_-]secret)"
)
_VALUE: Final = r"[\"']?(?!\$|\*|<|\{|\[|%|none\b|null\b|true\b|false\b|redacted)[^\s\"',;]{6,}"
_NAMED: Final = re.compile(rf"^\s*[\"']?(?:[\w.-]*[^a-z0-9])?{_NAMES}[\"']?\s*:\s*{_VALUE}", re.IGNORECASE)
_OPTION: Final = re.compile(rf"(?:^|\s)--?(?:[\w-]*[_-])?{_NAMES}(?:=|\s+){_VALUE}", re.IGNORECASE)
_BY_NAME: Final = "what is named a password or key"
# What people type, and what a run records of its command: table, columns of key and text, and whose it is.
_TEXTS: Final = (
    ("params", "key", "value", "'the run ' || run_uuid"),
    ("tags", "key", "value", "'the run ' || run_uuid"),
    ("experiment_tags", "key", "value", "'the experiment ' || experiment_id"),
    ("registered_models", "'description'", "description", "'the model ' || name"),
    ("registered_model_tags", "key", "value", "'the model ' || name"),
    ("model_versions", "'description'", "description", "'the model ' || name || ':' || version"),
    ("model_version_tags", "key", "value", "'the model ' || name || ':' || version"),
    ("logged_model_tags", "tag_key", "tag_value", "'the logged model ' || model_id"),
    ("logged_model_params", "param_key", "param_value", "'the logged model ' || model_id"),
)
_LARGEST_FILE: Final = 10_000_000
_SHORTEST: Final = 6
_NAME_PARTS: Final = ("passw", "key", "token", "secret")
_CHANGE_IT: Final = (
    "change the secret where it is used, for it has been read by whoever could read this; then"
)
_REMOVE: Final = "overwrite it, or delete the run for good where it is a parameter, which nobody can change"


def of_file(workspace: ProjectWorkspace) -> Iterator[Finding]:
    """Yield the secrets in a ``workspace.yaml``, whether or not it can be understood."""
    path = workspace.metadata_file
    for number, kind in _in_file(path, named=True):
        yield _finding(
            workspace.project_name,
            f"{path}, line {number},",
            kind,
            "put ${NAME} in its place and the secret into that variable of the environment",
            path,
        )


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield the secrets in DVC's configuration, in the link log and in what runs recorded."""
    yield from _dvc(subject)
    places = _recorded(subject)
    log = links.log_file(subject.workspace)
    places += [(f"{log}, line {number},", kind, log) for number, kind in _in_file(log)]
    for place, kind, path in places[:SHOWN]:
        yield _finding(subject.project, place, kind, _REMOVE, path)
    if rest := places[SHOWN:]:
        kinds = ", ".join(sorted({kind for _, kind, _ in rest}))
        yield subject.finding(
            Check.SECRET,
            f"Secrets are in {counted(len(rest), 'more place')} of {subject.project}: {kinds}",
            f"{_CHANGE_IT} {_REMOVE}",
            places=[place for place, _, _ in rest],
        )


def kinds_in(text: str) -> list[str]:
    """Return what secrets a text has, each kind once, never the secrets themselves."""
    return [kind.name for kind in _KINDS if kind.pattern.search(text)]


def redacted(text: str) -> str:
    """Return a text without the secrets in it."""
    for kind in _KINDS:
        text = kind.pattern.sub("***", text)
    return text


def _dvc(subject: Subject) -> Iterator[Finding]:
    config = Vault(subject.context).config
    hint = f"move it to {config.with_name('config.local')}, which is neither exported nor told of"
    found = [(number, kind) for number, kind in _in_file(config)]
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(config, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return  # what is damaged is found where the vault is looked at
    for number, kind in found:
        yield _finding(subject.project, f"{config}, line {number},", kind, hint, config)
    for section in parser.sections():
        for option in sorted(set(SECRET_OPTIONS) & set(parser.options(section))):
            if parser.get(section, option).strip("\"' "):
                yield _finding(
                    subject.project, f"{config}, section {section},", f"the option {option}", hint, config
                )


def _recorded(subject: Subject) -> list[tuple[str, str, Path]]:
    tracking = MLflowTracking(subject.context)
    if not tracking.embedded or not tracking.database.exists() or not queries.known_schema(tracking.database):
        return []
    found: list[tuple[str, str, Path]] = []
    with store.reading(tracking.database) as connection:
        for texts in _TEXTS:
            for key, text, owner in _candidates(connection, *texts):
                kinds = [*kinds_in(text)] or [_BY_NAME] * _is_named(key, text)
                found += [(f"{key!r} of {owner}", kind, tracking.database) for kind in kinds]
    # The packages and the difference of the code, each stored once.
    for path in sorted(provenance.kept(tracking.artifact_root, "").glob("*")):
        found += [(f"{path}, line {number},", kind, path) for number, kind in _in_file(path)]
    return found


def _is_named(key: str, text: str) -> bool:
    return bool(_NAMED.search(f"{key}: {text}") or _OPTION.search(text))


def _candidates(
    connection: sqlite3.Connection, table: str, key: str, column: str, owner: str
) -> Iterator[tuple[str, str, str]]:
    globs = [glob for kind in _KINDS for glob in kind.globs]
    condition = " OR ".join(f"{column} GLOB ?" for _ in globs)
    named = " OR ".join(f"{each} LIKE '%{part}%'" for each in (key, column) for part in _NAME_PARTS)
    # Names from constants above, the patterns are bound. Most values are numbers: few patterns are tried.
    for row in connection.execute(
        f"SELECT {key}, {column}, {owner} FROM {table}"  # noqa: S608
        f" WHERE length({column}) >= {_SHORTEST} AND ({named} OR {condition}) ORDER BY 3, 1",
        globs,
    ):
        where, text, whose = map(str, row)
        yield where, text, whose


def _in_file(path: Path, *, named: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that have secrets, and their kinds; by name where the lines are settings."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return
        content = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return
    if not named and not kinds_in(content):
        return
    for number, line in enumerate(content.splitlines(), 1):
        kinds = kinds_in(line)
        if named and not kinds and _NAMED.search(line):
            kinds = [_BY_NAME]
        for kind in kinds:
            yield number, kind


def _finding(project: str, place: str, kind: str, what_to_do: str, path: Path) -> Finding:
    return Finding(
        project,
        Check.SECRET,
        f"{place} holds {kind}",
        f"{_CHANGE_IT} {what_to_do}",
        details={"path": str(path), "place": place.rstrip(","), "kind": kind},
    )
