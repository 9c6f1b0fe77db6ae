"""Time and memory of `status`, `report` and `verify` on ledgers of 5,000 and 20,000 finished runs: `make bench`.

The ledgers are invented: 50 evaluations of four domains a run, and in half of the runs 101 annealed steps. The numbers
are random. Their files are those of a sweep that keeps no weights; the larger ledger takes 2.5 GB of the temporary
folder. Every command is a process of its own, timed from its start to its end, with its peak memory. `report` runs once
as the first reader of the ledger and once as a later one. The HTML page is timed on a ledger of 1,000 runs.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

from gga_sweep.ledger.json_codec import digest, dump, dump_lines
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_header import RunHeader, dump_header
from gga_sweep.ledger.stored_sweep import write_sweep
from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    DomainScores,
    Record,
    RunState,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)
from gga_sweep.spec import Contents, PlannedRun, load, plan_sweep

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
STEPS, EVALUATE_EVERY = 4901, 100
WINDOW = range(100, 201)
AIMS = {
    (5, "report"): "5 s",
    (5, "status"): "5 s",
    (20, "report"): "20 s, 1.5 GB",
    (20, "status"): "6 s",
    (20, "verify"): "120 s, 1 GB",
}
"""By thousands of runs and command."""

CONTENTS = Contents(dataset="d" * 32)


def content(name: str, trial_seeds: int) -> dict[str, object]:
    """Ten arms, half of them annealed, on four test domains, 25 draws: 1,000 runs a trial seed."""
    return {
        "name": name,
        "dataset": {"name": "PACS"},
        "protocol": "domainbed",
        "arms": [
            {"algorithm": "ERM", "vary": {"weight_decay": [0.0, 1e-6, 1e-5, 1e-4, 1e-3]}},
            {"algorithm": "ERM", "annealing": {}, "vary": {"annealing.radius": [1e-7, 1e-6, 1e-5, 1e-4, 1e-3]}},
        ],
        "trial_seeds": list(range(trial_seeds)),
        "draws": 25,
        "training": {"steps": STEPS, "evaluate_every": EVALUATE_EVERY},
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as storage:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = f"{storage}/bytecode"  # as wherever the commands ran before
        small = make_ledger(Path(storage), content("small", trial_seeds=1))
        for command in (["status"], ["report"], ["report", "--format", "html"], ["verify"]):  # compiles, and indexes
            _run(*command, str(small))
        print(f"finished runs, {os.cpu_count()} CPUs{'':23}{'seconds':>9}{'MiB':>7}   aim")
        _measure("1,000: report --format html", "report", small, "--format", "html")
        for thousands in (5, 20):
            large = make_ledger(Path(storage), content(f"large-{thousands}", trial_seeds=thousands))
            _measure(f"{thousands},000: report, the first: makes the index", "report", large)
            for command in ("report", "status", "verify"):
                _measure(f"{thousands},000: {command}", command, large, aim=AIMS.get((thousands, command), ""))
            shutil.rmtree(large)


def make_ledger(storage: Path, sweep_file: dict[str, object]) -> Path:
    """A sweep's folder whose runs are all DONE."""
    sweep = load(sweep_file, storage=storage)
    write_sweep(Ledger(sweep.folder), sweep, CONTENTS)
    runs = {run.folder: run for run in plan_sweep(sweep, CONTENTS).runs}
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(partial(_write_run, sweep.folder), runs.values(), chunksize=50):
            pass
    return sweep.folder


def _write_run(sweep_folder: Path, run: PlannedRun) -> None:
    """The files of a finished run, not synced one by one as `RunFolder` does: these may be lost."""
    numbers = random.Random(run.key)
    annealed = run.config.annealing is not None
    evaluated = range(0, STEPS, EVALUATE_EVERY)
    recorded = {"records.jsonl": dump_lines(_record(step, run, numbers) for step in evaluated)}
    if annealed:
        recorded["annealing.jsonl"] = dump_lines(_annealed(step, numbers) for step in WINDOW)
    digests = {name: digest(written) for name, written in recorded.items()}
    files = {
        **recorded,
        "run.json": dump_header(_header(run)),
        "timings.jsonl": dump_lines(_timing(step, annealed, numbers) for step in evaluated),
        "status.json": dump(RunState(RunStatus.DONE, None, STEPS - 1, 1, digests, written=1.7e9)).encode(),
        "attempts/000001": b"{}",
    }
    for name, written in files.items():
        path = sweep_folder / "runs" / run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written)


def _header(run: PlannedRun) -> RunHeader:
    return RunHeader(
        key=run.key,
        config=run.config,
        dataset_digest=CONTENTS.dataset,
        classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
        input_shape=(3, 224, 224),
        normalise=True,
        fingerprint={"gga-sweep": metadata.version("gga-sweep"), "torch": "2.9", "device": "cpu"},
        start_time=1.7e9,
        split_digests={},
    )


def _record(step: int, run: PlannedRun, numbers: random.Random) -> Record:
    tests = run.cell.test_domains
    scores = {name: DomainScores(_score(numbers), _score(numbers)) for name in DOMAINS}
    return Record(
        ValidationRecord(
            step,
            {name: scores[name] for name in DOMAINS if name not in tests},
            numbers.uniform(0, 2),
            _agreement(numbers),
            _agreement(numbers),
        ),
        TestRecord({name: scores[name] for name in tests}, {name: numbers.uniform(-1, 1) for name in tests}),
    )


def _score(numbers: random.Random) -> Score:
    return Score(numbers.random(), numbers.uniform(0, 2))


def _agreement(numbers: random.Random) -> Agreement:
    one, two, three = (numbers.uniform(-1, 1) for _ in range(3))
    norms = tuple(numbers.uniform(0, 4) for _ in range(3))
    cosines = ((1.0, one, two), (one, 1.0, three), (two, three, 1.0))
    return Agreement(cosines, norms, min(one, two, three), (one + two + three) / 3)


def _annealed(step: int, numbers: random.Random) -> AnnealedStep:
    return AnnealedStep(step, 250, numbers.randrange(9), numbers.randrange(250), *(numbers.random() for _ in range(10)))


def _timing(step: int, annealed: bool, numbers: random.Random) -> dict[str, object]:
    phases = ("training", "evaluation", *(("search", "diagnostics") if annealed else ()))
    return {"step": step, "attempt": 1, "seconds": {phase: numbers.uniform(0, 9) for phase in phases}}


def _measure(label: str, command: str, folder: Path, *options: str, aim: str = "") -> None:
    seconds, memory = _run(command, str(folder), *options)
    print(f"{label:46}{seconds:9.1f}{memory:7.0f}   {aim}".rstrip(), flush=True)


def _run(*arguments: str) -> tuple[float, float]:
    """Seconds of wall time and MiB at the peak of one command."""
    started = time.perf_counter()
    silence = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    command = [sys.executable, "-m", "gga_sweep.cli", *arguments]
    process = os.posix_spawn(sys.executable, command, os.environ, file_actions=[silence])
    _, status, usage = os.wait4(process, 0)  # unlike `subprocess`, tells the memory of this process alone
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024  # KiB on Linux


if __name__ == "__main__":
    main()
