"""What `guided` finds against 250 random candidates in the same box: `make bench`.

A network learns RotatedDigits by ERM; in front of each of 30 steps every search starts from the same weights, is
measured where it did not look, and is undone. Five trial seeds. Beside `paper` stands a row whose box is sqrt(3) times
as wide: a corner is that much further away than a uniform point is on average, so it moves as far as `guided` does.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping, Sequence

import torch
from scipy import stats

from gga_sweep.annealing import GGA
from gga_sweep.annealing.isolation import overwrite
from gga_sweep.datasets import load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.spec.models import RunSpec, TrainingSettings
from gga_sweep.training.annealed_step import Annealing, anneal
from gga_sweep.training.trainer import Slice, Trainer

SEEDS, FIRST_STEP, STEPS, CANDIDATES, RADIUS = range(5), 10, 30, 250, 1e-3
HELD_OUT = ("0", "15", "75")

_WINDOW = {"start_step": FIRST_STEP, "num_steps": STEPS, "domain_gradients": "layerwise"}
SEARCHES: Mapping[str, GGA] = {
    "guided": GGA.of_variant("guided", radius=RADIUS, **_WINDOW),
    f"paper, {CANDIDATES}": GGA.of_variant("paper", radius=RADIUS, num_candidates=CANDIDATES, **_WINDOW),
    f"paper, {CANDIDATES}, as far": GGA.of_variant(
        "paper", radius=RADIUS * math.sqrt(3), num_candidates=CANDIDATES, **_WINDOW
    ),
}


class Searched(Trainer):
    """Trains by ERM, and tries every search in front of the steps of the window."""

    def __init__(self, config: RunSpec) -> None:
        super().__init__(config, load_dataset(config.dataset, None), torch.device("cpu"))
        self.found: dict[str, list[Annealing]] = {name: [] for name in SEARCHES}

    def _train_step(self, step: int, done: Slice) -> float:
        self._set_training_mode()
        if step >= FIRST_STEP:
            for name, settings in SEARCHES.items():
                self.found[name].append(self._search(settings, step))
        return super()._train_step(step, done)

    def _search(self, settings: GGA, step: int) -> Annealing:
        model = self._step_model(step)
        found = anneal(self.algorithm, settings, self._streams, step, model, lambda: self._step_model(step + 1))
        overwrite(self.algorithm.predict_parameters(), found.outcome.start)
        return found


def config(trial_seed: int) -> RunSpec:
    return RunSpec(
        dataset=DatasetConfig(name="RotatedDigits"),
        algorithm="ERM",
        hyperparameters={"lr": 1e-3, "batch_size": 8, "weight_decay": 0.0, "dropout": 0.5},
        annealing=None,
        test_domains=HELD_OUT,
        trial_seed=trial_seed,
        training=TrainingSettings(
            steps=FIRST_STEP + STEPS,
            evaluate_every=FIRST_STEP + STEPS,
            evaluate="all",
            network="small-cnn",
            weights=None,
            freeze_batch_norm=True,
            split="stream",
            holdout=0.2,
            augmentation="none",
            augment_validation=False,
            precision="float32",
            threads=1,
        ),
    )


def interval(by_seed: Sequence[float]) -> tuple[float, float]:
    """Mean over trial seeds and the half-width of its 95 % interval (t)."""
    half = stats.t.ppf(0.975, len(by_seed) - 1) * statistics.stdev(by_seed) / math.sqrt(len(by_seed))
    return statistics.fmean(by_seed), float(half)


def main() -> None:
    runs = []
    for seed in SEEDS:
        runs.append(Searched(config(seed)))
        while not runs[-1].finished:
            runs[-1].advance(math.inf)
        print(f"trial seed {seed} done", file=sys.stderr)
    print(f"\n{STEPS} steps x {len(SEEDS)} trial seeds, RotatedDigits, SmallCNN, 3 x 8 images, radius {RADIUS:g}, CPU")
    print(f"{'gain in alignment':24}{'searched mask':>15}{'fresh masks':>14}{'next minibatch [95 %]':>28}", end="")
    print(f"{'moved':>8}{'ms':>8}")
    medians = {}
    for name in SEARCHES:
        found = [one for run in runs for one in run.found[name]]
        searched = statistics.median(one.outcome.after.alignment - one.outcome.before.alignment for one in found)
        fresh = statistics.median(fresh_gain(one) for one in found)
        seconds = statistics.median(one.search_seconds for one in found)
        following, half = interval([statistics.fmean(next_gain(one) for one in run.found[name]) for run in runs])
        moved = statistics.median(one.outcome.distance for one in found)
        medians[name] = (fresh, seconds)
        low_high = f"{following:+.4f} [{following - half:+.4f}, {following + half:+.4f}]"
        print(f"{name:24}{searched:15.4f}{fresh:14.4f}{low_high:>28}{moved:8.3f}{1e3 * seconds:8.0f}")
    (guided_gain, guided_time), *others = medians.values()
    for name, (gain, time) in zip(list(SEARCHES)[1:], others, strict=True):
        ratio = f"{guided_gain / gain:.1f} times" if gain > 0 else "positive against none: no ratio to"
        print(f"guided: {ratio} the gain under fresh masks of '{name}' for 1/{time / guided_time:.0f} of its time")


def fresh_gain(found: Annealing) -> float:
    return found.diagnosis.fresh_alignment_after - found.diagnosis.fresh_alignment_before


def next_gain(found: Annealing) -> float:
    return found.diagnosis.next_alignment_after - found.diagnosis.next_alignment_before


if __name__ == "__main__":
    main()
