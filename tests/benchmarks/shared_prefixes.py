"""A window ablation with shared prefixes against the same without: `make bench`.

    python tests/benchmarks/shared_prefixes.py
    python tests/benchmarks/shared_prefixes.py --candidates 25 --steps 300

ERM, and GGA with windows that end 10, 25, 50 and 100 steps after their start, on RotatedDigits. Told are the steps and
annealed steps that were saved beside what `plan` foretold, the device time by the ledgers, and whether all files that
must not differ are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

ENDS = (10, 25, 50, 100)
AIM = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=250)
    parser.add_argument("--steps", type=int, default=1000)
    chosen = parser.parse_args()

    from gga_sweep import LaunchOptions, load, run_sweep
    from gga_sweep.scheduling.savings import savings_of

    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for name, unshared in (("apart", True), ("shared", False)):
            sweep = load(content(chosen.candidates, chosen.steps), storage=Path(folder) / name)
            results[name] = run_sweep(sweep, LaunchOptions(unshared=unshared))
        apart, shared = results["apart"], results["shared"]
        foretold = savings_of(shared.plan, None, {})
        inherited, annealed = inherited_by(shared)
        saved = 1 - shared.device_seconds / apart.device_seconds
        print(f"{len(shared.records)} runs of {chosen.steps} steps, {chosen.candidates} candidates, on RotatedDigits")
        for what, done in (("steps", inherited), ("annealed", annealed)):
            whole, left = (getattr(work, what) for work in (foretold.without, foretold.shared_prefixes))
            print(f"  {what} saved: {done:,} of {whole:,.0f}, foretold {whole - left:,.0f}")
        print(f"  device time: {shared.device_seconds:.1f} s, without sharing {apart.device_seconds:.1f} s: ", end="")
        print(f"{100 * saved:.1f} % saved (aim {100 * AIM:.0f} %)")
        print(f"  bit-identical: {digests(shared) == digests(apart)}; same table: {shared.table() == apart.table()}")


def content(candidates: int, steps: int) -> dict[str, Any]:
    annealing = {"method": "gga", "variant": "paper", "start_step": 100, "radius": 1e-3, "num_candidates": candidates}
    return {
        "name": "windows",
        "dataset": {"name": "RotatedDigits"},
        "arms": [
            {"algorithm": "ERM"},
            {"algorithm": "ERM", "annealing": annealing, "vary": {"annealing.num_steps": list(ENDS)}},
        ],
        "test_domains": ["75"],
        "trial_seeds": [0],
        "training": {"steps": steps, "evaluate_every": 100},
        "resources": {"cpus": 1, "max_concurrent": 2},
    }


def inherited_by(result: Any) -> tuple[int, int]:
    """Steps that runs did not train themselves, and annealed ones among them, by their ledgers."""
    steps = annealed = 0
    for run in result.records:
        lines = (result.ledger.run(run.folder).read_file("timings.jsonl") or b"").splitlines()
        begun = [line["step"] + 1 for line in map(json.loads, lines) if line["inherited"]]
        if begun:
            steps += begun[-1]
            annealed += sum(line.step < begun[-1] for line in run.annealed)
    return steps, annealed


def digests(result: Any) -> dict[str, Any]:
    return {run.key: (run.status, result.ledger.run(run.folder).digests()) for run in result.records}


if __name__ == "__main__":
    main()
