"""A real sweep on RotatedDigits that is broken at random but seeded moments until it ends: is it still the same sweep?

    python tests/chaos/chaos.py                     # at least 60 faults, at most 55 minutes
    python tests/chaos/chaos.py --faults 10 --seed 3 --only "actor killed" "launch killed"

One sweep is left in peace, each of its runs trained from step 0. Then rounds of the same sweep on an empty storage are
broken until there were faults enough, in turn on a cluster of two nodes with a tracking server, and on a Ray that each
launch starts for itself with SQLite; after each round the ledger, the tables and MLflow are compared with those of the
sweep in peace. Exit code 0 if every promise held.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(place) for place in (TESTS / "chaos", TESTS / "tracking", TESTS)]

from faults import CLUSTERED, LOCAL, SERVED, Fault, Violated  # noqa: E402
from invariants import LONGEST_LOSS_SECONDS, Watch, differences, tracking_differences  # noqa: E402
from scene import Scene  # noqa: E402
from stores import store_content  # noqa: E402

ALL = LOCAL | CLUSTERED | SERVED
KILLS = {"actor killed", "launch killed", "writer paused", "machine rebooted", "node lost", "cluster gone"}
QUICK = {"actor killed", "launch killed", "launch interrupted", "machine rebooted", "node lost"}
"""Those of the short form."""

ROUND_SECONDS = 900.0
"""After so long a round is left in peace, to end."""


RUNS_A_SEED = 6
"""Of `small_digits`."""


def small_digits(steps: int, trial_seeds: int) -> dict[str, Any]:
    """ERM and GGA with two windows, on two rotations: runs that share steps."""
    annealing = {"variant": "paper", "start_step": 20, "num_candidates": 8}
    windows = {"annealing.num_steps": [20, 40]}
    return {
        "name": "chaos",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, {"algorithm": "ERM", "annealing": annealing, "vary": windows}],
        "test_domains": ["0", "75"],
        "trial_seeds": list(range(trial_seeds)),
        "defaults": {"lr": 1e-3, "batch_size": 16},
        "training": {"steps": steps, "evaluate_every": max(1, steps // 8), "network": "small-cnn"},
    }


@dataclass
class Outcome:
    """What came of it.

    Args:
        faults: how many of each kind.
        watch: what was seen on the way.
        changed, lost_points, doubled_points: against the sweep in peace, in words.
    """

    faults: Counter[str] = field(default_factory=Counter)
    watch: Watch = field(default_factory=Watch)
    changed: list[str] = field(default_factory=list)
    lost_points: list[str] = field(default_factory=list)
    doubled_points: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        late = (
            [f"{self.watch.longest_loss:.0f} s lost by a kill"]
            if self.watch.longest_loss > LONGEST_LOSS_SECONDS
            else []
        )
        return [*self.watch.broken, *self.changed, *self.lost_points, *self.doubled_points, *late]

    def lines(self) -> list[str]:
        of = {
            word: sum(told.startswith(word) for told in self.watch.broken) for word in ("lost", "changed", "done twice")
        }
        return [
            f"faults injected                {sum(self.faults.values())}",
            *(f"  {kind:29}{number}" for kind, number in sorted(self.faults.items())),
            f"finished runs lost             {of['lost']}",
            f"numbers changed                {of['changed'] + len(self.changed)}",
            f"runs done twice                {of['done twice']}",
            f"MLflow points lost             {len(self.lost_points)}",
            f"MLflow points doubled          {len(self.doubled_points)}",
            f"longest unsaved at a kill, s   {self.watch.longest_loss:.0f} (at most {LONGEST_LOSS_SECONDS:.0f})",
        ]


def sweep_in_peace(folder: Path, sweep: dict[str, Any]) -> tuple[Scene, dict[str, Any]]:
    scene = Scene(folder, sweep, clustered=False, served=False)
    with scene.set_up():
        scene.launch = scene.start_launch("--unshared")
        code = scene.wait_for_launch(1800)
    if code != 0:
        raise Violated(f"the sweep in peace ended with {code}:\n{scene.log.read_text()}")
    return scene, store_content(scene.tracking_uri, scene.ledger.folder)


def play_round(
    scene: Scene,
    expected: int,
    kinds: dict[str, Fault],
    faults: int,
    rng: random.Random,
    outcome: Outcome,
    deadline: float,
) -> None:
    """Break the scene until so many faults were injected, and leave it in peace until its sweep has ended."""
    injected, until = 0, min(deadline, time.monotonic() + ROUND_SECONDS)
    waiting = list(kinds)
    outcome.watch.begin_round()
    while True:
        scene.keep_launched()
        _wait_until_something_trains(scene, outcome.watch)
        if injected >= faults or scene.all_final(expected) or time.monotonic() > until:
            break
        time.sleep(rng.uniform(0.5, 6))
        kind = waiting.pop(rng.randrange(len(waiting)))  # every kind in turn, in any order
        waiting = waiting or list(kinds)
        running = scene.running()
        what = kinds[kind](scene, rng)
        if what is not None:
            injected += 1
            outcome.faults[kind] += 1
            if kind in KILLS:
                outcome.watch.note_loss(running)
            _say(f"{kind}: {what}")
        outcome.watch.look(scene)
    _let_it_end(scene, expected, outcome)


def _wait_until_something_trains(scene: Scene, watch: Watch) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and not scene.running() and scene.launch is not None and scene.launch.poll() is None:
        time.sleep(0.2)
    watch.look(scene)


def _let_it_end(scene: Scene, expected: int, outcome: Outcome) -> None:
    for _ in range(8):  # the last launch may be one that ends by an earlier fault
        scene.keep_launched()
        code = scene.wait_for_launch(900)
        outcome.watch.look(scene)
        if code is None:
            raise Violated("a launch in peace did not end within 15 minutes")
        if code == 0 and scene.all_final(expected):
            break
    else:
        raise Violated(f"launches in peace do not end the sweep:\n{scene.log.read_text()[-4000:]}")
    scene.keep_launched()  # what has ended is not trained again
    if scene.wait_for_launch(300) != 0:
        raise Violated("a launch with nothing left to train did not end well")
    outcome.watch.look(scene)
    if scene.served:
        while not scene.server_answers():
            time.sleep(0.5)
    done = scene.command("sync", str(scene.ledger.folder), "--tracking-uri", scene.tracking_uri)
    if done.returncode != 0:
        raise Violated(f"`gga-sweep sync` ended with {done.returncode}: {done.stdout}{done.stderr}")
    verified = scene.command("verify", str(scene.ledger.folder))
    if verified.returncode != 0:
        raise Violated(f"`gga-sweep verify` ended with {verified.returncode}: {verified.stdout}{verified.stderr}")


def play(
    folder: Path, faults: int, seed: int, minutes: float, steps: int, trial_seeds: int, only: Collection[str]
) -> Outcome:
    """Rounds until there were faults enough, or no time is left."""
    outcome, rng = Outcome(), random.Random(seed)
    deadline = time.monotonic() + 60 * minutes
    sweep = small_digits(steps, trial_seeds)
    expected = RUNS_A_SEED * trial_seeds
    peace, shown = sweep_in_peace(folder / "peace", sweep)
    _say("the sweep in peace has ended")
    number = 0
    while sum(outcome.faults.values()) < faults and time.monotonic() < deadline:
        clustered = number % 2 == 0 and not CLUSTERED.keys().isdisjoint(only)
        served = number % 2 == 0 and not SERVED.keys().isdisjoint(only)
        scene = Scene(folder / f"round-{number}", sweep, clustered, served)
        kinds = LOCAL | (CLUSTERED if clustered else {}) | (SERVED if served else {})
        kinds = {kind: fault for kind, fault in kinds.items() if kind in only}
        left = faults - sum(outcome.faults.values())
        with scene.set_up():
            play_round(scene, expected, kinds, left, rng, outcome, deadline)
            lost, doubled = tracking_differences(shown, store_content(scene.tracking_uri, scene.ledger.folder))
        outcome.changed += differences(peace.ledger, scene.ledger)
        outcome.lost_points += lost
        outcome.doubled_points += doubled
        _say(f"round {number}: {sum(outcome.faults.values())} faults, {len(outcome.broken)} promises broken")
        for words in outcome.broken[:50]:
            _say(words)
        number += 1
    return outcome


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--trial-seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=ALL, default=list(ALL), metavar="KIND", help=", ".join(ALL))
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder)")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        outcome = play(
            folder, chosen.faults, chosen.seed, chosen.minutes, chosen.steps, chosen.trial_seeds, chosen.only
        )
    except Violated as error:
        print(f"BROKEN: {error}\nLeft to look at: {folder}")
        return 1
    print("\n".join(outcome.lines()))
    if outcome.broken:
        print("\n".join(["BROKEN:", *outcome.broken[:50], f"Left to look at: {folder}"]))
        return 1
    if sum(outcome.faults.values()) < chosen.faults:
        print(f"BROKEN: no time for {chosen.faults} faults")
        return 1
    if chosen.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
