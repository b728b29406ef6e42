"""Pipelines: what a step costs beside MLflow's own calls, and the quick-start beside the earlier system's.

The earlier system is the package ``flowyml`` 1.x. With its defaults every run waits for a web server that it
starts and leaves behind; that was measured once, by hand. Name the interpreter of an environment that has the
package in ``MLOPS_BENCH_FLOWYML`` to measure it here without the server.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.benchmarks.measure import Ratio, interleaved

# What the design allows for a step beside MLflow's calls, and how much faster the quick-start must be.
STEP_SECONDS = 0.002
FASTER = 10.0
# Its quick-start with its defaults, the second run of a process: 8.56 s and 8.8 s on two machines.
EARLIER_SECONDS = 8.56
# A warm run, after one that imports and creates what is missing; its cache is on, as it is by default.
EARLIER = """
import os, sys, time
os.chdir(sys.argv[1])
from flowyml import Project, step
@step(outputs=["data"])
def load_data():
    return [1, 2, 3]
@step(inputs=["data"], outputs=["model"])
def train_model(data):
    return {"mean": sum(data) / len(data)}
pipeline = Project("bench").create_pipeline("training_v1")
pipeline.add_step(load_data)
pipeline.add_step(train_model)
pipeline.run(auto_start_ui=False)
start = time.perf_counter()
pipeline.run(auto_start_ui=False)
print("seconds", time.perf_counter() - start)
os._exit(0)
"""


def load_data() -> list[int]:
    return [1, 2, 3]


def train_model(data: list[int]) -> dict[str, float]:
    return {"mean": sum(data) / len(data)}


def run(scratch: Path) -> list[Ratio]:
    from mlflow.entities import Param, RunTag

    from mlops import MLOpsClient

    client = MLOpsClient.from_project("ours", base_path=scratch)
    steps = 10
    pipeline = client.create_pipeline("many", params={"rate": 0.1})

    def numbered(number: int) -> object:
        from mlops import step

        return step(lambda rate: {"number": number * rate}, name=f"step{number}")

    for number in range(steps):
        pipeline.add_step(numbered(number))  # type: ignore[arg-type]

    def bare() -> None:
        """What MLflow itself does for the same records."""
        tags = {f"mlops.tag{n}": "x" * 64 for n in range(4)}
        ended = [RunTag("mlops.attempts", "1"), RunTag("mlops.output", "x" * 160)]
        with client.start_run("many", tags=tags, params={"rate": 0.1}):
            for number in range(steps):
                with client.start_run(f"step{number}", nested=True, tags=dict(list(tags.items())[:2])) as run:
                    store = client.tracking.client()
                    store.log_batch(run.run_id, params=[Param("rate", "0.1")], tags=ended)

    quick = client.create_pipeline("training_v1")
    quick.add_step(load_data).add_step(train_model)
    bare(), pipeline.run(), quick.run()
    # Less than the clock can tell counts as 10 µs.
    theirs, ours = interleaved(bare, pipeline.run, repeats=11)
    overhead = max((ours - theirs) / steps, 1e-5)
    _, warm = interleaved(lambda: None, quick.run, repeats=11)
    ratios = [
        Ratio("overhead of a step beside MLflow's calls | 2 ms", STEP_SECONDS, overhead, 1.0),
        Ratio("two-step quick-start, warm | flowyml with its defaults", EARLIER_SECONDS, warm, FASTER),
    ]
    if (earlier := _earlier(scratch)) is not None:
        ratios.append(Ratio("two-step quick-start, warm | flowyml without its server", earlier, warm))
    return ratios


def _earlier(scratch: Path) -> float | None:
    """Return the seconds of the earlier system's warm run, or None if it is not here."""
    interpreter = os.environ.get("MLOPS_BENCH_FLOWYML")
    if interpreter is None:
        return None
    scratch.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [interpreter, "-c", EARLIER, str(scratch)], check=True, capture_output=True, text=True, timeout=120
    )
    return float(done.stdout.rpartition("seconds ")[2])
