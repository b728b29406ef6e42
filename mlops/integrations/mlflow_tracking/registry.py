"""The project's part of the model registry: names, versions, aliases and tags."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import yaml

from mlops import names
from mlops.errors import IntegrationError, IsolationError, ModelNotFoundError
from mlops.integrations.mlflow_tracking import packaging, server, store, versions
from mlops.integrations.mlflow_tracking.flavors import MLMODEL
from mlops.integrations.mlflow_tracking.versions import ModelVersion
from mlops.workspace.model import METADATA_FILE

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

# mlflow/utils/validation.py; `latest` and `v3` would be read as versions.
ALIAS: Final = re.compile(r"\A[\w-]+\Z")
RESERVED_ALIAS: Final = re.compile(r"\A(?:latest|v\d+)\Z", re.IGNORECASE)
LOCK: Final = "mlflow-models"
# MLflow's own limit for one page of registered models; versions allow more.
PAGE: Final = 1000


class Registry:
    """Reads and labels what is registered; nothing is created in a store that does not exist.

    Args:
        tracking: The project's MLflow adapter.
    """

    def __init__(self, tracking: MLflowTracking) -> None:
        self._tracking = tracking

    @property
    def project(self) -> str:
        """The project's name."""
        return self._tracking.project

    @property
    def prefix(self) -> str:
        """What the registered names of the project start with."""
        settings = self._tracking.context.settings
        return settings.bentoml_tag_prefix or names.default_tag_prefix(self.project)

    @property
    def embedded(self) -> bool:
        """Whether the store is the workspace's own, so that everything in it is the project's."""
        return self._tracking.embedded

    def exists(self) -> bool:
        """Say whether there is a store to read; a server counts as one."""
        path = self._tracking.database if self.embedded else server.sqlite_file(self._tracking.uri)
        return path is None or path.is_file()

    def full_name(self, name: str) -> str:
        """Return the registered name of a short or full name, unchecked."""
        return name if name.startswith(self.prefix) else f"{self.prefix}{name}"

    def short_name(self, full_name: str) -> str:
        """Return the short name; a name registered without the prefix is its own."""
        return full_name.removeprefix(self.prefix)

    def check_new_name(self, name: str, *, operation: str) -> str:
        """Return the short name for a model about to be stored.

        Raises:
            InvalidModelNameError: It breaks the naming rule.
            IsolationError: It is the full name of another project's model.
        """
        short = self.short_name(name) if isinstance(name, str) else name
        names.validate_model_name(short, project=self.project, operation=operation)
        owner = short.partition(".")[0]
        workspace = self._tracking.context.workspace
        sibling = workspace.root_path.parent / owner / METADATA_FILE
        if "." in short and owner != workspace.root_path.name and sibling.is_file():
            raise self.foreign(name, owner, operation=operation)
        return short

    def get(
        self,
        name: str,
        *,
        version: str | int | None = None,
        alias: str | None = None,
        operation: str = "get",
    ) -> ModelVersion:
        """Return one version, looked up exactly.

        Args:
            name: Short or full name.
            version: The version, such as ``3``; None with no alias for the newest.
            alias: An alias, instead of a version.
            operation: The calling method, for errors.

        Raises:
            ModelNotFoundError: There is no such model, version or alias; the message lists what there is.
            IsolationError: The name is another project's.
        """
        if version is not None and alias is not None:
            raise IntegrationError(
                f"Both version {str(version)!r} and alias {alias!r} were given for the model {name!r}",
                tool=store.TOOL,
                operation=operation,
                workspace=self.project,
                hint="give one of them",
            )
        with self.translated(operation):
            model = self._find(name, operation=operation)
            if alias is not None:
                version = self._aliases(model).get(alias)
                if version is None:
                    known = ", ".join(sorted(self._aliases(model))) or "none"
                    raise self._missing(
                        f"The model {name!r} has no alias {alias!r}; its aliases: {known}",
                        operation=operation,
                    )
            records = self._records(f"name = '{model.name}'")
            if version is None and records:
                return self._present(records[0], self._aliases(model))
            for record in records:
                if str(record.version) == str(version):
                    return self._present(record, self._aliases(model))
        known = ", ".join(str(record.version) for record in records) or "none"
        raise self._missing(
            f"The model {name!r} has no version {str(version)!r}; its versions: {known}"
            if version is not None
            else f"The model {name!r} has no versions",
            operation=operation,
        )

    def search(self, name: str | None = None, *, operation: str = "list") -> list[ModelVersion]:
        """Return the versions of one model or of all, newest first.

        Raises:
            ModelNotFoundError: There is no model of that name.
            IsolationError: The name is another project's.
        """
        if name is None and not self.exists():
            return []
        with self.translated(operation):
            if name is not None:
                model = self._find(name, operation=operation)
                aliases = self._aliases(model)
                return [self._present(record, aliases) for record in self._records(f"name = '{model.name}'")]
            known = {model.name: self._aliases(model) for model in self.models()}
            records = self._records("" if self.embedded else f"name LIKE '{self.prefix}%'")
            return [self._present(record, known[record.name]) for record in records if record.name in known]

    def models(self) -> list[Any]:
        """Return MLflow's records of the project's registered models."""
        if not self.exists():
            return []
        client = self._tracking.client()
        query = "" if self.embedded else f"name LIKE '{self.prefix}%'"
        found: list[Any] = []
        token = None
        while True:
            page = client.search_registered_models(filter_string=query, max_results=PAGE, page_token=token)
            # `_` in a LIKE pattern matches any character.
            found.extend(m for m in page if self.embedded or m.name.startswith(self.prefix))
            token = page.token
            if not token:
                return found

    def aliases(self, name: str, *, operation: str = "aliases") -> dict[str, str]:
        """Return the version each alias of a model points to."""
        with self.translated(operation):
            return dict(sorted(self._aliases(self._find(name, operation=operation)).items()))

    def promote(self, name: str, alias: str, *, version: str | int | None = None) -> ModelVersion:
        """Point an alias to a version, and note on that version when, and which version it replaced.

        Args:
            name: Short or full name.
            alias: Letters, digits, ``_`` and ``-``; ``latest`` and ``v<number>`` are MLflow's own.
            version: The version; None for the newest.

        Raises:
            ModelNotFoundError: There is no such model or version.
            IntegrationError: MLflow refuses the alias.
        """
        operation = "promote"
        if not isinstance(alias, str) or not ALIAS.match(alias) or RESERVED_ALIAS.match(alias):
            raise IntegrationError(
                f"Invalid alias {alias!r}: use letters, digits, '_' and '-'; 'latest' and 'v<number>' are "
                "reserved",
                tool=store.TOOL,
                operation=operation,
                workspace=self.project,
                hint="use a name such as 'production'",
            )
        client = self._tracking.client()
        workspace = self._tracking.context.workspace
        with workspace.lock(LOCK, timeout=self._tracking.context.settings.lock_timeout, operation=operation):
            chosen = self.get(name, version=version, operation=operation)
            previous = self.aliases(chosen.full_name, operation=operation).get(alias)
            if previous == chosen.version:
                return chosen
            entry = {"at": datetime.now(UTC).isoformat(timespec="microseconds"), "previous": previous}
            noted = [*json.loads(chosen.tags.get(versions.PROMOTED + alias, "[]")), entry]
            with self.translated(operation):
                # The alias itself is what counts, so it is set last: a note without effect is harmless.
                client.set_model_version_tag(
                    chosen.full_name, chosen.version, versions.PROMOTED + alias, json.dumps(noted)
                )
                client.set_registered_model_alias(chosen.full_name, alias, chosen.version)
            return self.get(name, version=chosen.version, operation=operation)

    def history(self, name: str, alias: str) -> list[dict[str, Any]]:
        """Return the promotions to an alias, newest first: ``version``, ``previous`` and ``at`` of each."""
        entries = [
            {"version": version.version, **entry}
            for version in self.search(name, operation="history")
            for entry in json.loads(version.tags.get(versions.PROMOTED + alias, "[]"))
        ]
        return sorted(entries, key=lambda entry: str(entry["at"]), reverse=True)

    def set_tags(self, name: str, version: str | int, tags: Mapping[str, Any]) -> ModelVersion:
        """Set tags on a version; keys that start with ``mlops.`` are this library's own."""
        operation = "set_tags"
        plain = check_tags(tags, operation=operation, project=self.project)
        found = self.get(name, version=version, operation=operation)
        client = self._tracking.client()
        with self.translated(operation):
            for key, value in plain.items():
                client.set_model_version_tag(found.full_name, found.version, key, value)
        return self.get(found.full_name, version=found.version, operation=operation)

    def note_copy(self, version: ModelVersion, copy: str) -> None:
        """Note on a version that another project has a copy of it; each copy has a tag of its own."""
        key = versions.COPIED_TO + copy.replace("/", ".").replace(":", ".")
        with self.translated("copy_model"):
            self._tracking.client().set_model_version_tag(version.full_name, version.version, key, copy)

    def register(self, short: str, logged: Any, *, tags: Mapping[str, str]) -> ModelVersion:
        """Add a version to a model, which is created if it is the first.

        Args:
            short: The model's short name.
            logged: MLflow's record of the logged model, with its files in place.
            tags: The version's tags.
        """
        from mlflow.exceptions import MlflowException

        client = self._tracking.client()
        full = f"{self.prefix}{short}"
        try:
            client.create_registered_model(full, tags={versions.PROJECT: self.project, versions.NAME: short})
        except MlflowException as error:
            # A prompt may have the name: MLflow keeps both in one table, and says so in this error.
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or "prompt" in str(error):
                raise
        # A server finds the model by its id and checks it; a database would look for it in MLflow's global
        # store, so it is told the location.
        is_server = self._tracking.uri.startswith(("http://", "https://"))
        record = client.create_model_version(
            full,
            source=f"models:/{logged.model_id}" if is_server else logged.artifact_location,
            run_id=logged.source_run_id,
            tags=dict(tags),
            model_id=logged.model_id if is_server else None,
            # The files are in place, so the version is ready at once.
            await_creation_for=0,
        )
        return self._present(record, {})

    def of_logged(self, model: Any, *, operation: str) -> ModelVersion:
        """Return the newest version registered from a logged model, or the logged model itself."""
        with self.translated(operation):
            made = self._records(f"run_id = '{model.source_run_id}'") if model.source_run_id else []
        found = [self._present(r, {}) for r in made if self.embedded or r.name.startswith(self.prefix)]
        match = next((version for version in found if version.model_id == model.model_id), None)
        if match is None:
            full = self.full_name(versions.logged_name(model))
            return versions.from_logged(model, project=self.project, full_name=full)
        return self.get(match.full_name, version=match.version, operation=operation)

    def foreign(self, name: str, owner: str, *, operation: str) -> IsolationError:
        """Return the error for a name that leaves the project."""
        return IsolationError(
            f"{name!r} is not a model of the project {self.project!r}: "
            f"with a dot it names a model of {owner!r}",
            operation=operation,
            workspace=self.project,
            details={"tool": store.TOOL},
            hint=f"open the project {owner!r} to use its models",
        )

    @contextlib.contextmanager
    def translated(self, operation: str) -> Iterator[None]:
        """Turn MLflow's errors into this library's."""
        with self._tracking.translated(operation):
            yield

    def _find(self, name: str, *, operation: str) -> Any:
        from mlflow.exceptions import MlflowException

        candidates = [self.full_name(name)] if isinstance(name, str) and name else []
        if self.embedded and candidates and candidates[0] != name:
            # Registered by plain MLflow code, which knows no prefix.
            candidates.append(name)
        for candidate in candidates if self.exists() else ():
            try:
                return self._tracking.client().get_registered_model(candidate)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        known = [self.short_name(model.name) for model in self.models()]
        owner, dot, _ = name.partition(".") if isinstance(name, str) else ("", "", "")
        own = any(short.startswith(f"{owner}.") for short in known)
        if dot and names.PROJECT_NAME.match(owner) and owner != self.project and not own:
            raise self.foreign(name, owner, operation=operation)
        listed = ", ".join(sorted(known)) or "none"
        raise self._missing(
            f"The project {self.project!r} has no model {name!r}; its models: {listed}", operation=operation
        )

    def _records(self, query: str) -> list[Any]:
        client = self._tracking.client()
        found: list[Any] = []
        token = None
        while True:
            page = client.search_model_versions(filter_string=query, max_results=PAGE, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                break
        return sorted(found, key=lambda r: (r.creation_timestamp, int(r.version)), reverse=True)

    def _aliases(self, model: Any) -> dict[str, str]:
        return {alias: str(version) for alias, version in model.aliases.items()}

    def _present(self, record: Any, aliases: Mapping[str, str]) -> ModelVersion:
        own = [alias for alias, version in aliases.items() if version == str(record.version)]
        version = versions.from_registry(
            record, project=self.project, name=self.short_name(record.name), aliases=own
        )
        # Registered by plain MLflow code: the model's own file says what it is.
        return version if version.flavor else self._described(version)

    def _described(self, version: ModelVersion) -> ModelVersion:
        uri = self._tracking.client().get_model_version_download_uri(version.full_name, version.version)
        path = versions.local_path(uri)
        root = self._tracking.context.workspace.root_path.resolve()
        if path is None or root not in path.resolve().parents or not (path / MLMODEL).is_file():
            return version
        try:
            facts = packaging.describe(path)
        except (OSError, yaml.YAMLError):
            # One damaged model must not hide the others; loading it says what is wrong.
            return version
        return dataclasses.replace(
            version,
            flavor=facts.flavor,
            framework=facts.framework,
            signature=facts.signature,
            size_bytes=facts.size_bytes,
            model_id=version.model_id or versions.model_id_in(uri),
        )

    def _missing(self, message: str, *, operation: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            message,
            tool=store.TOOL,
            operation=operation,
            workspace=self.project,
            hint="use one of those listed, or log the model with client.log_model(...)",
        )


def check_tags(tags: Mapping[str, Any] | None, *, operation: str, project: str) -> dict[str, str]:
    """Return tags as text, or raise if one uses a key of this library's own.

    Raises:
        IntegrationError: A key starts with ``mlops.``, or is not text.
    """
    for key in tags or {}:
        if not isinstance(key, str) or not key or key.startswith(versions.PREFIX):
            raise IntegrationError(
                f"The tag {key!r} cannot be set: keys are text and do not start with 'mlops.'",
                tool=store.TOOL,
                operation=operation,
                workspace=project,
                hint="use another key",
            )
    return {key: str(value) for key, value in (tags or {}).items()}
