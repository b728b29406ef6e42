"""What is wrong with a project's packaged models: entries that are incomplete or refer to what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops import plain_yaml
from mlops.errors import IntegrationUnavailableError
from mlops.files import measure
from mlops.integrations.bentoml_serving import BentoServing, model_card
from mlops.integrations.bentoml_serving.bento_model import MLFLOW_FOLDER
from mlops.integrations.bentoml_serving.entries import BENTO_FILE, StoreEntry
from mlops.integrations.bentoml_serving.store import REPLACED
from mlops.reporting.doctor.finding import Check, Finding
from mlops.reporting.doctor.subject import Subject


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the store.

    Raises:
        IntegrationUnavailableError: It cannot be read.
    """
    serving = BentoServing(subject.context)
    if problem := serving.store.problem():
        raise IntegrationUnavailableError(problem, hint="move it away, or restore the directory")
    if (serving.store.home / REPLACED).is_dir():
        # What else seems to be missing now is in there.
        yield _interrupted_restore(subject, serving)
        return
    for entry in (*serving.models(), *serving.bentos()):
        problem = entry.error or (_content(entry, deep=subject.deep) if entry.kind == "model" else None)
        if problem is not None:
            yield subject.finding(
                Check.BENTO,
                f"The stored {entry.kind} {entry.tag} is damaged: {problem}",
                "remove it and deploy the model again: "
                f"client.serving.delete({entry.model!r}, {entry.version!r})",
                tag=entry.tag,
                path=str(entry.path),
            )
        elif entry.kind == "bento" and (gone := sorted(set(_missing_models(serving, entry)))):
            yield subject.finding(
                Check.BENTO_MODEL,
                f"The Bento {entry.tag} cannot be served: the model {gone[0]} is not in the store",
                "deploy the model again under that version, or delete the Bento",
                tag=entry.tag,
                models=gone,
            )


def _content(entry: StoreEntry, *, deep: bool) -> str | None:
    if entry.digest is None:
        return None  # stored by another program, of which nothing is known
    content = entry.path / MLFLOW_FOLDER
    if not (content / model_card.MODEL_FILE).is_file():
        return f"{content / model_card.MODEL_FILE} is missing"
    if entry.size is not None and (size := measure(content).bytes) != entry.size:
        return f"{content} has {size} bytes instead of {entry.size}"
    if deep and model_card.digest(content) != entry.digest:
        return f"the content of {content} is not what was deployed"
    return None


def _missing_models(serving: BentoServing, bento: StoreEntry) -> Iterator[str]:
    for tag in _models_of(bento.path / BENTO_FILE):
        name, _, version = tag.partition(":")
        if not (serving.store.root("model") / name / version).is_dir():
            yield tag


def _models_of(path: Path) -> Iterator[str]:
    values: Any = plain_yaml.load(path.read_bytes())
    # Those of the whole Bento, and those that single services of it name.
    groups = (values, *(values.get("services") or ()))
    for model in (each for group in groups for each in group.get("models") or ()):
        # One of Hugging Face's is downloaded by whoever serves it.
        if isinstance(model, dict) and model.get("registry", "bentoml") == "bentoml":
            yield str(model.get("tag"))


def _interrupted_restore(subject: Subject, serving: BentoServing) -> Finding:
    replaced = serving.store.home / REPLACED

    def recover() -> str | None:
        with serving.store.lock("doctor"):
            if not replaced.is_dir():
                return None
            serving.store.recover()
            return "the former store is back"

    return subject.finding(
        Check.RESTORE,
        f"A restore of the packaged models was cut off; what it was replacing is in {replaced}",
        "the next deployment, or mlops doctor --fix, puts it back",
        repair=recover,
        path=str(replaced),
    )
