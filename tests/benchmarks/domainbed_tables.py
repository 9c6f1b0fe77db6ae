"""What DomainBed's tables cost: `gga-sweep report --domainbed DIR` on an invented tree of its size.

    python tests/benchmarks/domainbed_tables.py                # 240,000 records
    python tests/benchmarks/domainbed_tables.py --large        # ten times as many: 2.9 GB of temporary files

Every file is read once before the clock starts, so that the disk is not what is measured. `--diverged 0.1`: that share
of the runs has a loss of NaN in its second half, which only Python's json reads. Peak memory is that of the largest
process; the sum over all of them is at most (1 + processes) times as much.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECORDS, LARGE = 240_000, 2_400_000
EVALUATIONS = 50  # of a run
AIMS = {RECORDS: (4.0, 1024), LARGE: (30.0, 2048)}  # seconds, MiB
DATASETS = {"VLCS": 4, "PACS": 4, "OfficeHome": 4, "TerraIncognita": 4}
TRIALS, DRAWS = 3, 20

HPARAMS = {
    "batch_size": 32,
    "class_balanced": False,
    "data_augmentation": True,
    "lars": False,
    "linear_steps": 500,
    "lr": 5.432109876543211e-05,
    "nonlinear_classifier": False,
    "resnet18": False,
    "resnet50_augmix": True,
    "resnet_dropout": 0.1,
    "dinov2": False,
    "vit": False,
    "vit_attn_tune": False,
    "vit_dropout": 0.0,
    "weight_decay": 1.2345678901234567e-05,
    "freeze_bn": False,
}


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "gga_sweep.cli", "report", "--domainbed", str(folder)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--large", action="store_true", help=f"{LARGE} records")
    parser.add_argument("--diverged", type=float, default=0.0, help="share of runs whose loss becomes NaN")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--show", action="store_true", help="print the tables too")
    options = parser.parse_args()
    records = LARGE if options.large else options.records
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = make_tree(folder, records, options.diverged)
        for file in folder.glob("*/results.jsonl"):
            file.read_bytes()
        seconds, text = zip(*(_timed(folder) for _ in range(options.repeats)), strict=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if options.show:
        print(text[-1])
    print(f"{records:,} records of {records // EVALUATIONS:,} runs, {size / 2**20:,.0f} MiB, {os.cpu_count()} CPUs")
    aim_seconds, aim_peak = AIMS.get(records, (None, None))
    print(f"  wall, process start included: {', '.join(f'{one:.2f}' for one in seconds)} s (aim: {aim_seconds} s)")
    print(f"  peak memory: {peak:.0f} MiB (aim: {aim_peak} MiB)")


def _timed(folder: Path) -> tuple[float, str]:
    started = time.perf_counter()
    text = subprocess.run(command(folder), check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - started, text


def make_tree(folder: Path, records: int, diverged: float) -> int:
    """Runs of as many algorithms as it takes, each with every single test domain and every pair; returns its bytes."""
    size = 0
    chance = random.Random(0)
    for number, args in zip(range(records // EVALUATIONS), _runs(), strict=False):
        run = folder / f"{number:032x}"
        run.mkdir()
        text = "".join(_lines(args, chance, chance.random() < diverged))
        size += (run / "results.jsonl").write_text(text)
        (run / "done").write_text("done")
    return size


def _runs():  # type: ignore[no-untyped-def]
    for number in itertools.count():
        for dataset, n in DATASETS.items():
            envs = range(n)
            for test_envs in (*((env,) for env in envs), *itertools.combinations(envs, 2)):
                for trial, draw in itertools.product(range(TRIALS), range(DRAWS)):
                    yield {
                        "algorithm": "ERM" if number == 0 else f"ERM{number}",
                        "checkpoint_freq": 100,
                        "data_dir": "/some/folder/with/the/images/of/all/datasets",
                        "dataset": dataset,
                        "holdout_fraction": 0.2,
                        "hparams": None,
                        "hparams_seed": draw,
                        "output_dir": "sweeps/of/some/name/" + "0" * 32,
                        "save_model_every_checkpoint": False,
                        "seed": 1234567890,
                        "skip_model_save": False,
                        "steps": 5001,
                        "task": "domain_generalization",
                        "test_envs": list(test_envs),
                        "trial_seed": trial,
                        "uda_holdout_fraction": 0,
                    }


def _lines(args, chance: random.Random, diverged: bool):  # type: ignore[no-untyped-def]
    n = DATASETS[args["dataset"]]
    rest = f'"hparams": {json.dumps(HPARAMS, sort_keys=True)}, '
    head = f'{{"args": {json.dumps(args, sort_keys=True)}, '
    for i in range(EVALUATIONS):
        loss = "NaN" if diverged and i > EVALUATIONS // 2 else repr(chance.random())
        accuracies = "".join(
            f'"env{env}_{split}_acc": {chance.random()!r}, ' for env in range(n) for split in ("in", "out")
        )
        yield (
            f'{head}{accuracies}"epoch": {i * 0.7!r}, {rest}"loss": {loss}, "mem_gb": 12.345678806304932, '
            f'"step": {100 * i}, "step_time": {chance.random()!r}}}\n'
        )


if __name__ == "__main__":
    main()
