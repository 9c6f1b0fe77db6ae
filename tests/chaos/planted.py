"""Does the chaos test see what it is there to see? Faults are planted in a copy of the code, one after another.

    python tests/chaos/planted.py

Exit code 0 if the sweep was broken by every one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Planted:
    """A fault in the code, and what brings it to light.

    Args:
        file: below the package.
        right, wrong: the code, and what stands in its place.
        kinds: of the faults injected.
        broken: what the chaos test must say then.
    """

    name: str
    file: str
    right: str
    wrong: str
    kinds: tuple[str, ...]
    broken: str


PLANTED = (
    Planted(
        "a checkpoint's optimiser state is not loaded",
        "training/trainer.py",
        '            optimizer.load_state_dict(state["optimizers"][name])',
        "            pass",
        ("launch interrupted",),
        "records.jsonl",
    ),
    Planted(
        "finished runs are launched again",
        "sweep/launch.py",
        "        if status in FINAL:",
        "        if status in ():",
        ("launch killed",),
        "done twice",
    ),
    Planted(
        "MLflow is not asked which runs it has",
        "tracking/projection.py",
        '        self.runs = self._one_each(children, "run", names.RUN_KEY)',
        "        self.runs = {}",
        ("launch killed",),
        "times",
    ),
    Planted(
        "a stopped run writes neither checkpoint nor state",
        "ledger/recorded_run.py",
        "            self._end(RunStatus.PREEMPTED, reason)",
        "            self._status = RunStatus.PREEMPTED",
        ("launch interrupted",),
        "RUNNING",
    ),
)


def seen(planted: Planted, folder: Path) -> bool:
    """Whether the chaos test fails on it, and says why."""
    copy = folder / "code"
    shutil.copytree(ROOT / "gga_sweep", copy / "gga_sweep", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "gga_sweep" / planted.file
    content = file.read_text()
    if content.count(planted.right) != 1:
        raise ValueError(f"{planted.file} no longer holds, once, {planted.right!r}")
    file.write_text(content.replace(planted.right, planted.wrong))
    words = ["--faults", "3", "--minutes", "5", "--steps", "500", "--trial-seeds", "1", "--only", *planted.kinds]
    done = subprocess.run(
        [sys.executable, str(copy / "tests/chaos/chaos.py"), *words, "--folder", str(folder / "scene")],
        cwd=copy,  # Python looks there first
        env={**os.environ, "PYTHONPATH": str(copy)},  # and Ray's workers here
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout.partition("BROKEN:")[2].strip()
    print(f"  exit code {done.returncode}: {told.splitlines()[0] if told else done.stdout + done.stderr}", flush=True)
    return done.returncode == 1 and planted.broken in told


def main() -> int:
    unseen = []
    for planted in PLANTED:
        print(f"{time.strftime('%H:%M:%S')} {planted.name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            if not seen(planted, Path(folder)):
                unseen.append(planted.name)
    print(f"planted {len(PLANTED)}, seen {len(PLANTED) - len(unseen)}", *unseen, sep="\n  not seen: ")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
