"""Does the chaos test see what it is there to see? Faults are planted in a copy of the code, one after another.

    python tests/chaos/planted.py
    python tests/chaos/planted.py 1 3      # these alone, counted from 0

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
        edits: files below the package, each with code of it and with what stands in its place.
        kind: of the faults injected.
        broken: what the chaos test must say then; one of these, where it depends on the moment of the fault.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]
    kind: str
    broken: tuple[str, ...]


PLANTED = (
    Planted(
        "a checkpoint's optimiser state is not loaded",
        (
            (
                "training/trainer.py",
                '            optimizer.load_state_dict(state["optimizers"][name])',
                "            pass",
            ),
        ),
        "launch interrupted",
        ("records.jsonl",),
    ),
    Planted(
        "finished runs are launched, and trained, again",
        (
            ("scheduling/remaining.py", "        if status in FINAL:", "        if status in ():"),
            ("ray_backend/trainable.py", "            if state.status in FINAL:", "            if state.status in ():"),
        ),
        "launch killed",
        ("done twice",),
    ),
    Planted(
        "runs that MLflow already has are not read",
        (
            (
                "tracking/projection.py",
                "            self.runs[place] = run\n",
                "            pass\n",
            ),
        ),
        "launch killed",
        ("expected FINISHED", "twice"),
    ),
    Planted(
        "a stopped run writes neither checkpoint nor state",
        (
            (
                "execution/recorded_run.py",
                "            self._checkpoint()\n            self._end(RunStatus.PREEMPTED, reason)",
                "            self._status = RunStatus.PREEMPTED",
            ),
        ),
        "launch interrupted",
        ("its checkpoint at",),
    ),
)


def seen(planted: Planted, folder: Path) -> bool:
    """Whether the chaos test fails on it, and says why."""
    copy = folder / "code"
    shutil.copytree(ROOT / "gga_sweep", copy / "gga_sweep", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name, right, wrong in planted.edits:
        file = copy / "gga_sweep" / name
        content = file.read_text()
        if content.count(right) != 1:
            raise ValueError(f"{name} no longer holds, once, {right!r}")
        file.write_text(content.replace(right, wrong))
    words = ["--faults", "4", "--minutes", "8", "--steps", "200", "--trial-seeds", "1", "--only", planted.kind]
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
    return done.returncode == 1 and any(words in told for words in planted.broken)


def main() -> int:
    chosen = [PLANTED[int(number)] for number in sys.argv[1:]] or PLANTED
    unseen = []
    for planted in chosen:
        print(f"{time.strftime('%H:%M:%S')} {planted.name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            if not seen(planted, Path(folder)):
                unseen.append(planted.name)
    print(f"planted {len(chosen)}, seen {len(chosen) - len(unseen)}", *unseen, sep="\n  not seen: ")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
