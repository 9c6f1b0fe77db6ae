"""A sweep of thousands of runs that do not train, tracked in PostgreSQL: `make bench`.

    python tests/benchmarks/many_runs.py                       # 10,000 by the database's URI, then through a server
    python tests/benchmarks/many_runs.py --runs 2000 --only server

The whole way of a run is walked: plan, Tune, trial actors, ledger, MLflow, table. Told are the seconds of a run over
all, of the second and of the last tenth, by when the runs ended; what the launching process grew by, a run, from the
second tenth on; and whether MLflow shows every run with every point.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = str(HERE)  # trial actors must find no_training
sys.path[:0] = [str(HERE), str(HERE.parent)]

from no_training import dataset  # noqa: E402, F401  imported by name in the trial actors
from run_overhead import content  # noqa: E402
from services import mlflow_server, postgresql  # noqa: E402

DRAWS = 20
SECONDS_AIM = {"database": 0.15, "server": 0.3}
GROWTH_AIM = 50  # KiB
LAST_AIM = 1.2


class Memory(threading.Thread):
    """Samples this process's resident memory beside the number of runs that have ended."""

    def __init__(self, runs_folder: Path) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[int, float]] = []
        self.runs = runs_folder
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(5):
            self.samples.append((len(list(self.runs.iterdir())) if self.runs.exists() else 0, resident_kib()))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def kib_a_run(self, runs: int) -> float:
        """Slope of the straight line through the samples from the second tenth on, by least squares."""
        points = [(count, kib) for count, kib in self.samples if 0.2 * runs <= count < runs]
        mean_count = sum(count for count, _ in points) / len(points)
        mean_kib = sum(kib for _, kib in points) / len(points)
        spread = sum((count - mean_count) ** 2 for count, _ in points)
        return sum((count - mean_count) * (kib - mean_kib) for count, kib in points) / spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--only", choices=SECONDS_AIM)
    chosen = parser.parse_args()
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "120"  # two CPUs are shared by the sweep, the server and the database
    for way in SECONDS_AIM if chosen.only is None else (chosen.only,):
        with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder) / "pg") as database:
            if way == "database":
                measure(way, database, Path(folder), chosen.runs)
            else:
                with mlflow_server(database, Path(folder) / "artifacts") as server:
                    measure(way, server, Path(folder), chosen.runs)
            print(f"  the database has {database_bytes(database) / chosen.runs / 1024:.0f} KiB a run", flush=True)


def measure(way: str, uri: str, folder: Path, runs: int) -> None:
    from gga_sweep import LaunchOptions, load, run_sweep

    searched = {"draws": DRAWS, "search_space": {"lr": {"loguniform": [1e-4, 1e-2]}}}
    sweep = load({**content("many", runs // DRAWS), **searched}, storage=folder / "storage", tracking_uri=uri)
    memory = Memory(Path(str(sweep.folder)) / "runs")
    memory.start()
    started = time.time()
    result = run_sweep(sweep, LaunchOptions())
    seconds = time.time() - started
    memory.stop()
    if result.failed or len(result.records) != runs:
        raise SystemExit(f"{len(result.records)} runs, {len(result.failed)} failed")
    ends = sorted(
        (Path(str(sweep.folder)) / "runs" / run.folder / "status.json").stat().st_mtime for run in result.records
    )
    tenth = runs // 10
    second, last = ends[2 * tenth - 1] - ends[tenth - 1], ends[-1] - ends[-tenth - 1]
    lacking = lacking_in_mlflow(uri, sweep, result.records)
    print(f"{runs:,} runs without training, tracked in PostgreSQL by {way}, {os.cpu_count()} CPUs")
    print(f"  {seconds:.0f} s in all, {seconds / runs:.3f} s a run (aim {SECONDS_AIM[way]}); tracked: {result.tracked}")
    print(f"  {second / tenth:.3f} s a run in the second tenth, {last / tenth:.3f} in the last: ", end="")
    print(f"{last / second:.2f} times (aim {LAST_AIM})")
    print(f"  the launching process grew by {memory.kib_a_run(runs):.0f} KiB a run (aim {GROWTH_AIM})")
    print(f"  runs that MLflow lacks, or shows without a point: {lacking}", flush=True)


def lacking_in_mlflow(uri: str, sweep: object, records: tuple[object, ...]) -> int:
    """How many runs are not there once, FINISHED, with a validation accuracy for each of their evaluations."""
    from mlflow import MlflowClient

    from gga_sweep.tracking import names
    from gga_sweep.tracking.experiment import find_experiment

    client = MlflowClient(uri)
    experiment = find_experiment(client, sweep.folder)  # type: ignore[attr-defined]
    shown: dict[str, int] = {}
    token: str | None = None
    while token != "":
        page = client.search_runs(
            [experiment.experiment_id], f"tags.`{names.ROLE}` = 'run'", max_results=1000, page_token=token
        )
        for run in page:
            key = run.data.tags[names.RUN_KEY]
            whole = run.info.status == "FINISHED" and names.val_key("accuracy") in run.data.metrics
            shown[key] = shown.get(key, 0) + (1 if whole else 99)
        token = page.token or ""
    return sum(shown.get(run.key) != 1 for run in records)  # type: ignore[attr-defined]


def database_bytes(uri: str) -> float:
    import psycopg

    with psycopg.connect(uri) as connection:
        return float(connection.execute("select pg_database_size(current_database())").fetchone()[0])


def resident_kib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return float(line.split()[1])


if __name__ == "__main__":
    main()
