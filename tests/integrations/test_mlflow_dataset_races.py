from __future__ import annotations

import threading

from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.workspace.tools import ToolContext


def test_one_dataset_recorded_by_many_runs_at_once_is_an_input_of_each(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.ensure()
    rounds, threads = 6, 4
    barrier = threading.Barrier(threads)
    errors: list[BaseException] = []

    def record() -> None:
        try:
            for n in range(rounds):
                with tracking.start_run(f"round-{n}"):
                    barrier.wait(60)
                    tracking.log_dataset("train.csv", digest=f"{n:032x}", source={"n": n})
        except BaseException as error:  # noqa: BLE001 - reported by the assertion below
            errors.append(error)

    workers = [threading.Thread(target=record) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []
    runs = tracking.list_runs(limit=None)
    assert len(runs) == rounds * threads
    assert all(len(tracking.datasets(run["run_id"])) == 1 for run in runs)
