"""Models and Bentos under the project's present prefix, after it was renamed or copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import names, plain_yaml
from mlops.errors import InvalidModelNameError
from mlops.files import sync_directory, write_atomic
from mlops.integrations.bentoml_serving.entries import BENTO_FILE, MODEL_FILE
from mlops.integrations.bentoml_serving.store import BentoStore

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

_PROJECT_LABELS = ("project", "mlops.project")
_FILES = {"model": MODEL_FILE, "bento": BENTO_FILE}


def adopt_store(store: BentoStore, former: ProjectWorkspace) -> None:
    """Give every entry whose name starts with the former prefix the present one.

    An entry appears under its new name before the old one goes, so that a crash leaves both, and the next
    call finishes.

    Args:
        store: The project's store.
        former: The workspace as it was.

    Raises:
        InvalidModelNameError: A name would be too long for a tag; nothing is renamed.
    """
    names_now = _Names(store, former)
    if names_now.old == names_now.new or not any(True for kind in _FILES for _ in names_now.folders(kind)):
        return
    for kind in _FILES:
        for folder in names_now.folders(kind):
            _check(names_now.of(folder.name), store)
    with store.scratch("rename", "adopt") as (staging, _), store.lock("adopt"):
        # A Bento refers to its model: that is there before it, and goes after it.
        for kind in _FILES:
            for folder in names_now.folders(kind):
                _rename(folder, names_now, kind, staging)
        for kind in reversed(_FILES):
            for folder in names_now.folders(kind):
                folder.rename(staging / f"former-{kind}-{folder.name}")
            sync_directory(store.root(kind))


class _Names:
    """The former names and what they are now."""

    def __init__(self, store: BentoStore, former: ProjectWorkspace) -> None:
        self._store = store
        self._project = (former.project_name, store.workspace.project_name)
        self.old = former.bentoml_tag_prefix or names.default_tag_prefix(former.project_name)
        self.new = store.prefix

    def folders(self, kind: str) -> Iterator[Path]:
        """Yield the folders of entries that have the former prefix."""
        root = self._store.root(kind)
        if root.is_dir():
            yield from sorted(p for p in root.iterdir() if p.is_dir() and self._is_former(p.name))

    def _is_former(self, name: str) -> bool:
        # The new prefix may start with the old one.
        renamed = self.new.startswith(self.old) and name.startswith(self.new)
        return name.startswith(self.old) and not renamed

    def of(self, name: str) -> str:
        """Return what a name with the former prefix is now."""
        return f"{self.new}{name.removeprefix(self.old)}"

    def within(self, value: Any, key: str = "") -> Any:
        """Return a description's value with names, tags, model URIs and the project's label renamed."""
        if isinstance(value, dict):
            return {each: self.within(item, str(each)) for each, item in value.items()}
        if isinstance(value, list):
            return [self.within(item) for item in value]
        if not isinstance(value, str):
            return value
        if key in _PROJECT_LABELS:
            return self._project[1] if value == self._project[0] else value
        for scheme in ("", "models:/"):
            if value.startswith(scheme) and self._is_former(value.removeprefix(scheme)):
                return scheme + self.of(value.removeprefix(scheme))
        return value


def _rename(folder: Path, names_now: _Names, kind: str, staging: Path) -> None:
    import yaml

    target = folder.with_name(names_now.of(folder.name))
    target.mkdir(exist_ok=True)
    for version in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (target / version.name).exists():
            continue
        staged = staging / f"{kind}-{folder.name}-{version.name}"
        _link_tree(version, staged)
        description = staged / _FILES[kind]
        if description.is_file():
            values = names_now.within(plain_yaml.load(description.read_bytes()))
            # The link goes first: writing through it would change the entry under its former name too.
            description.unlink()
            write_atomic(description, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        staged.rename(target / version.name)
    latest = folder / "latest"
    if latest.is_file() and not (target / "latest").exists():
        write_atomic(target / "latest", latest.read_bytes())
    sync_directory(target)


def _link_tree(source: Path, target: Path) -> None:
    """Repeat a directory with hard links: the same project keeps both, and the former goes."""
    for folder, _, files in os.walk(source):
        inside = target / Path(folder).relative_to(source)
        inside.mkdir()
        for name in files:
            path = Path(folder, name)
            try:
                (inside / name).hardlink_to(path)
            except OSError:  # a file system without hard links
                shutil.copy2(path, inside / name)


def _check(name: str, store: BentoStore) -> None:
    if len(name) > names.MAX_FULL_MODEL_LENGTH:
        raise InvalidModelNameError(
            f"The model {name!r} would have {len(name)} characters, and project and model together may have "
            f"{names.MAX_FULL_MODEL_LENGTH}",
            tool="bentoml",
            operation="adopt",
            workspace=store.workspace.project_name,
            hint="choose a shorter project name",
        )
