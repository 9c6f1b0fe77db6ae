"""From launching a sweep of 1,000 runs again, 900 of them done, to the first of the others in training: `make bench`.

The 900 are swept first, by runs that do not train but are evaluated five times, with their tracking. The first of the
others is a run that was never started, or from the second try on one that the try before left in the middle. What Ray
itself takes is measured beside it, in the same run of this benchmark: a process that imports Ray Tune and torch, starts
Ray and one trial actor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

DONE, ALL = 900, 1000
TRIES = 3
AIM = 10.0  # seconds beyond Ray's start

HERE = Path(__file__).parent

BARE = """
import sys
from pathlib import Path
import ray
import torch
from ray import tune

SIGN = Path(sys.argv[1])

class Bare(tune.Trainable):
    def setup(self, config):
        import torch
    def step(self):
        SIGN.touch()
        return {"done": True}
    def save_checkpoint(self, folder):
        pass
    def load_checkpoint(self, folder):
        pass

ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
tune.Tuner(
    tune.with_resources(Bare, {"cpu": 1}),
    run_config=tune.RunConfig(verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)),
).fit()
"""


def content(runs: int) -> dict[str, object]:
    return {
        "name": "relaunched",
        "dataset": {"name": "no_training:dataset"},
        "arms": [{"algorithm": "no_training:NoTraining"}],
        "test_domains": ["a"],
        "trial_seeds": list(range(runs)),
        "defaults": {"batch_size": 2},
        "training": {"steps": 5, "evaluate_every": 1},
    }


def main() -> None:
    os.environ["PYTHONPATH"] = str(HERE)  # trial actors must find no_training
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "storage" / "relaunched" / "runs"
        file = Path(folder) / "relaunched.yaml"
        run = [sys.executable, "-m", "gga_sweep.cli", "run", str(file), "--storage", f"{folder}/storage"]
        file.write_text(yaml.safe_dump(content(DONE)))
        began = time.perf_counter()
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        print(f"{DONE} runs swept in {time.perf_counter() - began:.0f} s, {os.cpu_count()} CPUs")
        file.write_text(yaml.safe_dump(content(ALL)))
        done = set(os.listdir(runs))  # noqa: PTH208
        print(f"{'seconds until training':40}{'again':>8}{'Ray':>8}{'beyond (aim: 10)':>18}")
        for number in range(TRIES):
            known = _begun(runs, done)
            again = _seconds_until(run, lambda known=known: _begun(runs, done) != known)  # type: ignore[misc]
            sign = Path(folder) / f"trained-{number}"
            bare = _seconds_until([sys.executable, "-c", BARE, str(sign)], sign.exists)
            print(f"{f'try {number + 1}':40}{again:8.1f}{bare:8.1f}{again - bare:18.1f}")


def _begun(runs: Path, done: set[str]) -> set[Path]:
    """The attempts at runs that were not done; those by which a launch marks what another left are none."""
    return {
        attempt
        for run in runs.iterdir()
        if run.name not in done
        for attempt in run.glob("attempts/[0-9]*")
        if b'"pid"' in attempt.read_bytes()
    }


def _seconds_until(command: list[str], happened) -> float:  # type: ignore[no-untyped-def]
    """From the start of a process to what it does first; it is killed then."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not happened():
        if process.poll() is not None:
            raise RuntimeError(f"{command[1:4]} ended with {process.returncode} before it trained")
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(10)  # its Ray ends by itself
    return seconds


if __name__ == "__main__":
    main()
