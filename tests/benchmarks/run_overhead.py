"""What a run costs beside its training: `make bench`.

Runs that do not train are swept (plan, reused trial actors, ledger, SQLite tracking, selection, report): 20, and 120 in
another sweep, so that the price of a run stands apart from that of starting Ray, the actors and the tracking store. A
few are trained as one process each (`gga-sweep train`), in the same run of this benchmark, on the same machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

FEW, MORE = 20, 100
ALONE = 5
AIM = 0.15  # seconds a run

HERE = Path(__file__).parent


def content(name: str, runs: int) -> dict[str, object]:
    return {
        "name": name,
        "dataset": {"name": "no_training:dataset"},
        "arms": [{"algorithm": "no_training:NoTraining"}],
        "test_domains": ["a"],
        "trial_seeds": list(range(runs)),
        "defaults": {"batch_size": 2},
        "training": {"steps": 1, "evaluate_every": 1},
    }


def main() -> None:
    os.environ["PYTHONPATH"] = str(HERE)  # trial actors and processes must find no_training
    sys.path.insert(0, str(HERE))
    from gga_sweep.spec import load, plan_sweep, read_contents

    with tempfile.TemporaryDirectory() as folder:
        _seconds_swept(folder, "warm-up", FEW)  # the first reads Ray, torch and MLflow from the disk
        few = _seconds_swept(folder, "few", FEW)
        many = _seconds_swept(folder, "many", FEW + MORE)
        file = Path(folder) / "few.yaml"
        sweep = load(file, storage=folder)
        keys = [run.key for run in plan_sweep(sweep, read_contents(sweep)).runs[:ALONE]]
        alone = sum(_seconds_alone(file, key, folder) for key in keys) / ALONE
    print(f"runs without training, {os.cpu_count()} CPUs{'':26}{'seconds':>9}{'a run':>9}")
    for runs, seconds in ((FEW, few), (FEW + MORE, many)):
        print(f"{f'{runs} swept, Ray and tracking store started':54}{seconds:9.1f}{seconds / runs:9.3f}")
    added = (many - few) / MORE
    print(f"{f'{MORE} more in a sweep (aim: at most {AIM} a run)':54}{many - few:9.1f}{added:9.3f}")
    print(f"{f'one process each (mean of {ALONE})':54}{alone * MORE:9.1f}{alone:9.3f}")
    print(f"a run more in a sweep costs 1/{alone / added:.0f} of a process of its own")


def _seconds_swept(folder: str, name: str, runs: int) -> float:
    """A sweep in a process of its own, imports and shutdown included."""
    file = Path(folder) / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content(name, runs)))
    return _seconds("run", str(file), "--storage", f"{folder}/{name}")


def _seconds_alone(file: Path, key: str, folder: str) -> float:
    return _seconds("train", str(file), "--run", key, "--storage", folder)


def _seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gga_sweep.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
