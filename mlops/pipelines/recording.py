"""How runs of pipelines are recorded: an MLflow run of the project, with one nested run per step.

The run and its steps are told apart by tags, which are all that is needed to list, resume and trace them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlops.errors import DataNotFoundError, PipelineError
from mlops.integrations.dvc_data.ledger import FILE_NAME as LEDGER
from mlops.integrations.mlflow_tracking.lineage import DEFINED_BY, data_link
from mlops.integrations.mlflow_tracking.provenance import RECORDS
from mlops.integrations.mlflow_tracking.queries import STEP_TAG
from mlops.integrations.mlflow_tracking.run_record import PARENT_TAG, PIPELINE_TAG
from mlops.pipelines.cache import Record
from mlops.pipelines.outputs import Held, OutputStore, StoredOutput
from mlops.workspace import links
from mlops.workspace.tools import Link

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking, Run
    from mlops.pipelines.results import StepResult

# Of the run of a pipeline.
VERSION_TAG: Final = "mlops.pipeline_version"
DEFINITION_TAG: Final = "mlops.pipeline_definition"
PARAMS_TAG: Final = "mlops.pipeline_params"
ENGINE_TAG: Final = "mlops.pipeline_engine"
RESUMES_TAG: Final = "mlops.resumes"
# Of the run of a step.
STATUS_TAG: Final = "mlops.step_status"
REASON_TAG: Final = "mlops.step_reason"
ATTEMPTS_TAG: Final = "mlops.step_attempts"
KEY_TAG: Final = "mlops.step_key"
REUSED_TAG: Final = "mlops.step_reused_from"
OUTPUT_TAG: Final = "mlops.output."
# A definition's hash stands for the version of a pipeline that was never given one.
DEFINITION_LENGTH: Final = 12
# Long texts are there to be recognised, not to be read.
MAX_TEXT: Final = 500


def shown(value: Any) -> str:
    """Return a value as text for a tag or parameter, cut where it would only fill the page."""
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def pipeline_run(
    tracking: MLflowTracking,
    name: str,
    *,
    reference: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str | None],
) -> contextlib.AbstractContextManager[Run]:
    """Open the run of a pipeline.

    Args:
        tracking: The project's adapter.
        name: The pipeline.
        reference: ``<name>@<version>``.
        params: The run's parameters.
        tags: Its tags; those that are None are left out.
    """
    kept = {key: value for key, value in tags.items() if value is not None}
    return tracking.start_run(
        name,
        nested=True,
        tags={PIPELINE_TAG: name, DEFINED_BY: reference, **kept},
        params={key: shown(value) for key, value in params.items()},
    )


def step_run(
    tracking: MLflowTracking,
    name: str,
    *,
    parent_id: str,
    reference: str,
    key: str | None,
    tags: Mapping[str, str] | None = None,
) -> contextlib.AbstractContextManager[Run]:
    """Open the run of a step, in whatever thread or process.

    Args:
        tracking: The project's adapter.
        name: The step.
        parent_id: The run of the pipeline.
        reference: The pipeline, as ``<name>@<version>``.
        key: Hash of what the step's result depends on.
        tags: Further tags.
    """
    known = {
        STEP_TAG: name,
        PARENT_TAG: parent_id,
        DEFINED_BY: reference,
        **({KEY_TAG: key} if key else {}),
        **(tags or {}),
    }
    return tracking.start_run(name, nested=True, tags=known)


def finish_step(run: Run, *, params: Mapping[str, Any], tags: Mapping[str, str], store: OutputStore) -> None:
    """Write what is known when a step ends, in one call.

    Args:
        run: The step's run.
        params: Its parameters, without what other steps gave it.
        tags: Its tags, outputs included.
        store: Where the outputs are, which the run's artifacts show too.
    """
    from mlflow.entities import Param, RunTag

    with run.tracking.calling("run", run.run_id) as client:
        client.log_batch(
            run.run_id,
            params=[Param(key, shown(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
    uri = urlsplit(str(run.info.artifact_uri))
    directory = Path(url2pathname(uri.path)) / RECORDS / "outputs"
    if uri.scheme == "file" and directory.is_relative_to(run.tracking.artifact_root):
        for key, text in tags.items():
            if key.startswith(OUTPUT_TAG):
                store.link(StoredOutput.from_text(text), directory, key.removeprefix(OUTPUT_TAG))


def output_tags(outputs: Mapping[str, Held]) -> dict[str, str]:
    """Return the tags that name a step's stored outputs."""
    return {f"{OUTPUT_TAG}{name}": h.stored.to_text() for name, h in outputs.items() if h.stored is not None}


def outputs_of(tags: Mapping[str, str]) -> dict[str, StoredOutput]:
    """Return the stored outputs that a step run's tags name."""
    found: dict[str, StoredOutput] = {}
    for key, text in tags.items():
        if key.startswith(OUTPUT_TAG):
            with contextlib.suppress(ValueError):
                found[key.removeprefix(OUTPUT_TAG)] = StoredOutput.from_text(text)
    return found


def has_data_versions(tracking: MLflowTracking) -> bool:
    """Say whether the project ever had any data versions, without asking DVC."""
    return (tracking.context.workspace.dvc_path / LEDGER).exists()


def data_versions(tracking: MLflowTracking, run_id: str) -> tuple[dict[str, Any], ...]:
    """Return the data versions that a run read; a project without any is not asked for them.

    Args:
        tracking: The project's adapter.
        run_id: The run.
    """
    if not has_data_versions(tracking):
        return ()
    return tuple(use for use in tracking.datasets(run_id) if use["source"].get("tool") == "dvc")


def carry_over(run: Run, data: Iterable[Mapping[str, Any]]) -> None:
    """Record data versions that another run read with this one too."""
    for use in data:
        run.log_dataset(
            use["name"],
            digest=use["digest"],
            source=use["source"],
            context=use["context"] or "training",
            source_type=use["source_type"],
        )


def record_links(
    tracking: MLflowTracking,
    run_id: str,
    *,
    reference: str,
    cause: str | None,
    steps: Iterable[StepResult],
    operation: str,
) -> None:
    """Write into the project's log what defined and started the runs, and which data they read.

    Args:
        tracking: The project's adapter.
        run_id: The run of the pipeline.
        reference: The pipeline, as ``<name>@<version>``.
        cause: What made it run, or None.
        steps: Its steps.
        operation: The calling method, for errors.
    """
    found = [Link(f"pipeline:{reference}", f"run:{run_id}", links.DEFINED)]
    if cause is not None:
        found.append(Link(cause, f"run:{run_id}", links.STARTED))
    for step in steps:
        if step.run_id is not None:
            found += [
                Link(f"pipeline:{reference}", f"run:{step.run_id}", links.DEFINED, {"step": step.name}),
                Link(f"run:{run_id}", f"run:{step.run_id}", links.HAS_STEP, {"step": step.name}),
            ]
        for use in step.data:
            runs = {run_id} if step.reused_from is None else {run_id, step.run_id or run_id}
            found += [
                data_link(use["digest"], each, name=use["name"], context=use["context"] or "")
                for each in runs
            ]
    links.record(tracking.context.workspace, found, operation=operation)


def earlier_run(tracking: MLflowTracking, run_id: str, pipeline: str, *, operation: str) -> dict[str, Any]:
    """Return a run of a pipeline, to be resumed.

    Raises:
        DataNotFoundError: The project has no such run.
        PipelineError: It is no run of this pipeline.
    """
    found = tracking.get_run(run_id)
    if found["pipeline_name"] != pipeline:
        raise PipelineError(
            f"The run {run_id} is not one of the pipeline {pipeline!r}"
            + (f" but of {found['pipeline_name']!r}" if found["pipeline_name"] else ""),
            operation=operation,
            workspace=tracking.project,
            hint=f"see list_runs({pipeline!r}) for its runs",
        )
    return found


def earlier_steps(tracking: MLflowTracking, run_id: str) -> dict[str, Record]:
    """Return the results of a run's finished steps by key.

    Args:
        tracking: The project's adapter.
        run_id: The run of a pipeline.
    """
    found: dict[str, Record] = {}
    for child in _children(tracking, run_id):
        tags = child.data.tags
        if child.info.status == "FINISHED" and KEY_TAG in tags and STATUS_TAG not in tags:
            data = data_versions(tracking, child.info.run_id)
            found[tags[KEY_TAG]] = Record(child.info.run_id, outputs_of(tags), data)
    return found


def earlier_params(tracking: MLflowTracking, run: Mapping[str, Any], store: OutputStore) -> dict[str, Any]:
    """Return the parameters a run had, as they were.

    Args:
        tracking: The project's adapter.
        run: The run of a pipeline.
        store: The project's stored values.

    Raises:
        DataNotFoundError: They could not be stored, or are stored no more.
    """
    if not run["params"]:
        return {}
    try:
        stored = StoredOutput.from_text(run["tags"][PARAMS_TAG])
    except (KeyError, ValueError):
        raise DataNotFoundError(
            f"The parameters of the run {run['run_id']} are not stored",
            tool="pipelines",
            operation="run",
            workspace=tracking.project,
            hint=f"pass them: run(resume={run['run_id']!r}, params={{...}})",
        ) from None
    return dict(store.get(stored))


def _children(tracking: MLflowTracking, run_id: str) -> Iterator[Any]:
    client = tracking.client(operation="run")
    token = None
    while True:
        with tracking.translated("run"):
            page = client.search_runs(
                [tracking.experiment_id], f"tags.`{PARENT_TAG}` = '{run_id}'", page_token=token
            )
        yield from page
        token = page.token
        if not token:
            return
