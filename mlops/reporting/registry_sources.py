"""What the tools of one project say of its models, version by version; none of them is imported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from mlops.errors import DataNotFoundError, MLOpsError
from mlops.integrations.bentoml_serving import BentoServing, entries
from mlops.integrations.bentoml_serving.bento_model import MLFLOW_FOLDER
from mlops.integrations.evidently_monitoring.history import HISTORY_FILE
from mlops.integrations.evidently_monitoring.latest import latest
from mlops.integrations.mlflow_tracking import MLflowTracking, packaging, store, versions
from mlops.integrations.mlflow_tracking.flavors import MLMODEL
from mlops.reporting.facts import CheckFacts
from mlops.reporting.reading.checks import check_facts
from mlops.reporting.reading.packaged import head
from mlops.reporting.reading.serving import urls_by_tag
from mlops.reporting.registry_entry import PACKAGED, REGISTERED, RegistryEntry, signature_fields

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import StoreEntry
    from mlops.integrations.mlflow_tracking.queries import ModelRow
    from mlops.workspace.tools import ToolContext

# The alias of the version that is in use.
_IN_USE: Final = "production"
_DATA_LABEL: Final = "data."
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Version:
    """What is known of one version, from whichever tool says it first."""

    framework: str = ""
    flavor: str = ""
    size_bytes: int | None = None
    # Text as a tag has it, or what that text says.
    signature: str | Mapping[str, Any] | None = None
    run_id: str = ""
    data: Mapping[str, str] = field(default_factory=dict)


class RegistrySources:
    """The models of one project.

    A tool that cannot be read is told in ``errors`` and hides nothing that the others say.

    Args:
        context: The project.
    """

    def __init__(self, context: ToolContext) -> None:
        self.errors: list[str] = []
        self._workspace = context.workspace
        self._tracking = MLflowTracking(context)
        self._serving = BentoServing(context)
        self._rows: dict[tuple[str, str], ModelRow] = {}
        self._packages: dict[tuple[str, str], StoreEntry] = {}
        self._bentos: set[str] = set()
        self._urls: dict[str, tuple[str, ...]] = {}
        self._runs: dict[str, dict[str, Any] | None] = {}

    def entries(self) -> list[RegistryEntry]:
        """Return the versions, newest first."""
        with store.reading_at_once():
            return self._entries()

    def _entries(self) -> list[RegistryEntry]:
        for read in (self._read_registry, self._read_packages):
            try:
                read()
            except (MLOpsError, OSError) as error:
                self.errors.append(str(error))
        checks = self._checks()
        found = [
            self._entry(model, version, checks.get((model, version)))
            for model, version in {**self._rows, **self._packages}
        ]
        return sorted(found, key=lambda e: (e.created_at or _NEVER, e.model, e.version), reverse=True)

    def _read_registry(self) -> None:
        prefix = self._tracking.model_prefix
        self._rows = {
            (row.name.removeprefix(prefix), row.version): row for row in self._tracking.model_versions()
        }

    def _read_packages(self) -> None:
        for entry in self._serving.models():
            if entry.error:
                self.errors.append(entry.error)
            else:
                self._packages[entry.model, entry.version] = entry
        bentos = self._serving.store
        found = entries.scan(bentos.root("bento"), kind="bento", prefix=bentos.prefix, load=head)
        self._bentos = {entry.tag for entry in found if not entry.error}
        self._urls = urls_by_tag(self._workspace)

    def _run(self, run_id: str) -> dict[str, Any] | None:
        if run_id and run_id not in self._runs:
            self._runs[run_id] = None
            try:
                self._runs[run_id] = self._tracking.get_run(run_id)
            except DataNotFoundError:
                # Models outlive the runs that made them, and may come from elsewhere.
                pass
            except (MLOpsError, OSError) as error:
                self.errors.append(str(error))
        return self._runs.get(run_id)

    def _checks(self) -> dict[tuple[str, str], CheckFacts]:
        """Return the latest check of each version."""
        try:
            records = latest(self._workspace.monitoring_path / HISTORY_FILE)
        except OSError as error:
            self.errors.append(str(error))
            return {}
        in_use = self._in_use()
        found: dict[tuple[str, str], CheckFacts] = {}
        for (model, version), record in records.items():
            if model is not None and (of := version or in_use.get(model)):
                try:
                    check = check_facts(record)
                except (KeyError, TypeError, ValueError) as error:
                    self.errors.append(f"a check of {model} cannot be understood ({error!r})")
                    continue
                known = found.get((model, of))
                if known is None or known.checked_at < check.checked_at:
                    found[model, of] = check
        return found

    def _in_use(self) -> dict[str, str]:
        """Return the version of each model that a check without one is about."""
        found = {
            model: version
            for (model, version), _ in sorted(
                self._packages.items(), key=lambda each: each[1].created_at or _NEVER
            )
        }
        by_number = sorted(self._rows.items(), key=lambda each: int(each[1].version))
        found |= {model: version for (model, version), _ in by_number}
        return found | {model: row.version for (model, _), row in by_number if _IN_USE in row.aliases}

    def _entry(self, model: str, version: str, check: CheckFacts | None) -> RegistryEntry:
        row, package = self._rows.get((model, version)), self._packages.get((model, version))
        known = self._known(row, package)
        run = self._run(known.run_id)
        framework, _, number = known.framework.partition("==")
        tag = package.tag if package is not None else None
        created = row.created_at if row is not None else package.created_at if package is not None else None
        return RegistryEntry(
            project=self._workspace.project_name,
            model=model,
            version=version,
            kind=REGISTERED if row is not None else PACKAGED,
            framework=framework,
            framework_version=number,
            flavor=known.flavor,
            size_bytes=known.size_bytes,
            aliases=row.aliases if row is not None else (),
            tags=row.tags if row is not None else {},
            signature=self._fields(known.signature, f"{model}:{version}"),
            run_id=known.run_id,
            metrics=run["metrics"] if run else {},
            data=known.data or (_data(run["tags"], versions.DATA) if run else {}),
            packaged=package is not None,
            bento=tag if tag in self._bentos else None,
            serving=self._urls.get(tag or "", ()),
            last_check=check,
            created_at=created,
        )

    def _known(self, row: ModelRow | None, package: StoreEntry | None) -> _Version:
        """Return what is known of a version: from the registry first, then from its own files."""
        sources = []
        if row is not None:
            sources.append(_of_tags(row))
        if package is not None:
            sources.append(_of_labels(package))
        if row is None or versions.FLAVOR not in row.tags:
            # Plain MLflow code registers versions without these tags.
            sources += self._of_files(row, package)
        found = _Version()
        for source in sources:
            for name in _Version.__slots__:
                if not getattr(found, name):
                    setattr(found, name, getattr(source, name))
        return found

    def _of_files(self, row: ModelRow | None, package: StoreEntry | None) -> Iterator[_Version]:
        directory = package.path / MLFLOW_FOLDER if package is not None else self._directory(row)
        if directory is None or not (directory / MLMODEL).is_file():
            return
        try:
            facts = packaging.describe(directory)
        except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
            self.errors.append(f"{directory / MLMODEL} cannot be read: {' '.join(str(error).split())}")
            return
        yield _Version(facts.framework, facts.flavor, facts.size_bytes, facts.signature)

    def _directory(self, row: ModelRow | None) -> Path | None:
        """Return where this workspace keeps a version's files, or None if it does not."""
        if row is None:
            return None
        root = self._tracking.artifact_root
        if model_id := versions.model_id_in(row.source):
            # Where that is says the id, whatever place the database had been told before it came here.
            return next(iter(root.glob(f"*/models/{model_id}/artifacts")), None)
        path = versions.local_path(row.source)
        return path if path is not None and root in path.resolve().parents else None

    def _fields(self, signature: str | Mapping[str, Any] | None, label: str) -> dict[str, Any] | None:
        try:
            return signature_fields(json.loads(signature) if isinstance(signature, str) else signature)
        except ValueError as error:
            self.errors.append(f"{label}: {error}")
            return None


def _of_tags(row: ModelRow) -> _Version:
    size = row.tags.get(versions.SIZE, "")
    return _Version(
        framework=row.tags.get(versions.FRAMEWORK, ""),
        flavor=row.tags.get(versions.FLAVOR, ""),
        size_bytes=int(size) if size.isdigit() else None,
        signature=row.tags.get(versions.SIGNATURE),
        run_id=row.run_id or "",
        data=_data(row.tags, versions.DATA),
    )


def _of_labels(package: StoreEntry) -> _Version:
    return _Version(
        framework=package.labels.get("framework", ""),
        flavor=package.labels.get("flavor", ""),
        size_bytes=package.size,
        run_id=package.labels.get("run_id", ""),
        data=_data(package.labels, _DATA_LABEL),
    )


def _data(facts: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): md5 for key, md5 in facts.items() if key.startswith(prefix)}
