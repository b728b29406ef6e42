"""Results that are used again: what a step's result depends on as one key, and the results kept by key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlops.files import write_atomic
from mlops.pipelines.catalogue import DIRECTORY
from mlops.pipelines.outputs import Held, OutputStore, StoredOutput
from mlops.pipelines.source import code_hash
from mlops.pipelines.step import Step
from mlops.workspace.tools import ToolContext, create

# Part of every key: results of another way to make keys are never found.
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A result that can be used again.

    Args:
        run_id: The step run that made it.
        outputs: What it returned.
        data: The data versions it read, as dictionaries with ``name``, ``digest`` and ``source``.
    """

    run_id: str
    outputs: Mapping[str, StoredOutput]
    data: tuple[dict[str, Any], ...] = field(default=())


def step_key(step: Step, inputs: Mapping[str, Held]) -> str | None:
    """Return the hash of all that a step's result depends on; None if an input cannot be told from others.

    That is its code with the user's own code that it uses, its parameters and the content of its inputs.

    Args:
        step: The step.
        inputs: Its inputs by parameter; defaults are part of the code.
    """
    identities: dict[str, str] = {}
    for parameter, held in sorted(inputs.items()):
        if held.stored is None:
            return None
        identities[parameter] = held.stored.identity
    parts = [SCHEMA, code_hash(step.fn), step.output_names, step.map, identities]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class StepCache:
    """The results that one project keeps for steps with ``cache=True``.

    Args:
        context: The project.
        store: Its stored values.
    """

    def __init__(self, context: ToolContext, store: OutputStore) -> None:
        self._context = context
        self._store = store

    def find(self, key: str, names: Iterable[str]) -> Record | None:
        """Return the result kept for a key, if it is whole and nothing it was made of has changed.

        Args:
            key: The key.
            names: The outputs it must have.
        """
        try:
            content = json.loads(self._file(key).read_bytes())
            outputs = {name: StoredOutput.from_text(text) for name, text in content["outputs"].items()}
            record = Record(str(content["run_id"]), outputs, tuple(content["data"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            # Damaged by whatever; the step runs again and writes it anew.
            return None
        return record if self.usable(record, names) else None

    def keep(self, key: str, record: Record) -> None:
        """Keep a result; of two processes that do so at once the later one wins, whole.

        Args:
            key: The key.
            record: The result.
        """
        path = self._file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "created_at": datetime.now(UTC).isoformat(),
            "run_id": record.run_id,
            "outputs": {name: stored.to_text() for name, stored in record.outputs.items()},
            "data": list(record.data),
        }
        write_atomic(path, json.dumps(content, ensure_ascii=False, default=str))

    def usable(self, record: Record, names: Iterable[str]) -> bool:
        """Say whether a result has these outputs, they are intact, and what they were made of is unchanged.

        Args:
            record: The result.
            names: The outputs it must have.
        """
        return (
            set(record.outputs) == set(names)
            and all(self._is_same(stored) for stored in record.outputs.values())
            and self._data_is_same(record.data)
        )

    def _is_same(self, stored: StoredOutput) -> bool:
        if not self._store.is_intact(stored):
            return False
        if stored.identity == stored.digest:
            return True
        # A path: what it names may have changed since.
        return Held(self._store, stored).identity() == stored.identity

    def _data_is_same(self, data: Iterable[Mapping[str, Any]]) -> bool:
        wanted = {item["name"]: item["digest"] for item in data}
        if not wanted:
            return True
        status = {each.name: each for each in create("dvc", self._context).status()}  # type: ignore[attr-defined]
        return all(
            name in status and status[name].state == "clean" and status[name].on_disk == digest
            for name, digest in wanted.items()
        )

    def _file(self, key: str) -> Path:
        return self._context.workspace.root_path / DIRECTORY / "cache" / key[:2] / f"{key}.json"
