"""What is wrong with the saved versions of a project's pipelines."""

from __future__ import annotations

from collections.abc import Iterator

from mlops.errors import DataIntegrityError
from mlops.pipelines.versions import VersionStore
from mlops.reporting.doctor.finding import Check, Finding
from mlops.reporting.doctor.subject import Subject


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield versions that cannot be read, or whose code is not what was saved."""
    store = VersionStore(subject.workspace)
    for pipeline in store.pipelines():
        try:
            for version in store.list(pipeline):
                store.code(version, operation="doctor")
        except DataIntegrityError as error:
            yield subject.finding(
                Check.PIPELINE, str(error), error.hint or "save the version again", pipeline=pipeline
            )
