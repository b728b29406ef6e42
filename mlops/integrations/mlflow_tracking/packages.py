"""What is installed where this process runs, as ``pip freeze`` would list it, in milliseconds."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mlops.integrations.mlflow_tracking.server import redact

_SUFFIXES: Final = (".dist-info", ".egg-info")
_NAME: Final = re.compile(r"[-_.]+")
_known: tuple[tuple[tuple[str, int], ...], str] | None = None


def freeze() -> str:
    """Return the installed packages as the text of a requirements file, sorted by name.

    The names of the metadata directories are read rather than the hundreds of files in them, and again only
    after something was installed or removed. What was installed from version control or a URL is named by
    it, without credentials. What is installed from a local directory for editing is a comment: there is
    nothing to install it from elsewhere but its own checkout.
    """
    global _known
    state = _state()
    if _known is None or _known[0] != state:
        _known = (state, _collected([path for path, _ in state]))
    return _known[1]


def python_version() -> str:
    """Return the version of this interpreter, such as ``3.11.9``."""
    return platform.python_version()


def platform_name() -> str:
    """Return the operating system and processor, such as ``Linux-x86_64``."""
    return f"{platform.system()}-{platform.machine()}"


def editable_directories() -> list[Path]:
    """Return the local directories from which packages are installed for editing."""
    found = []
    for path, _ in _state():
        for entry in _metadata(path):
            origin = _origin(entry)
            if origin.get("dir_info", {}).get("editable"):
                found.append(Path(urlsplit(str(origin["url"])).path))
    return found


def _state() -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for path in sys.path:
        try:
            found.setdefault(path or ".", os.stat(path or ".").st_mtime_ns)  # noqa: PTH116
        except OSError:
            continue
    return tuple(found.items())


def _collected(paths: list[str]) -> str:
    packages: dict[str, str] = {}
    for path in paths:
        for entry in _metadata(path):
            name, version = _name_and_version(entry)
            if name and name != "pip" and name not in packages:
                # The first on the path is the one that is imported.
                packages[name] = _requirement(name, version, _origin(entry))
    head = f"# Python {python_version()}, {platform_name()}\n"
    return head + "".join(f"{packages[name]}\n" for name in sorted(packages))


def _metadata(path: str) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry in entries if entry.name.endswith(_SUFFIXES)]
    except OSError:
        return []


def _name_and_version(entry: Path) -> tuple[str, str]:
    name, separator, version = entry.stem.partition("-")
    if entry.suffix != ".dist-info" or not separator or not entry.is_dir():
        # Older installers put less into the name.
        found = PathDistribution(entry)
        name, version = found.metadata["Name"] or "", found.version
    return _NAME.sub("-", name).lower(), version


def _origin(entry: Path) -> dict[str, dict[str, str]]:
    try:
        values = json.loads((entry / "direct_url.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and "url" in values else {}


def _requirement(name: str, version: str, origin: dict[str, dict[str, str]]) -> str:
    url = redact(str(origin.get("url", "")))
    if source := origin.get("vcs_info"):
        return f"{name} @ {source.get('vcs', 'git')}+{url}@{source.get('commit_id', '')}"
    if origin.get("dir_info", {}).get("editable"):
        return f"# {name}=={version} is installed from a local directory, for editing"
    if url.startswith(("http:", "https:")):
        return f"{name} @ {url}"
    return f"{name}=={version}"
