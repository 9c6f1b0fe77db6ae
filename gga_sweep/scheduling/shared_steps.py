"""Steps that several runs share: they are bit-identical and are trained once.

The random numbers of a step depend on dataset, trial seed and step alone. So runs with the same hyperparameters, trial
seed, test domains and algorithm are the same run until the first of their annealing windows begins, also in different
arms. If their windows start at the same step with equal options, they are the same until the first window ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gga_sweep.algorithms.registry import get_algorithm
from gga_sweep.annealing.options import WINDOW_OPTIONS
from gga_sweep.records import Scalar
from gga_sweep.spec.key import run_key
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plan import Contents


class Window(NamedTuple):
    """The annealed steps of a run, and their options.

    Args:
        start: the first.
        end: the first step after them.
        manner: the options that affect an annealed step, by name.
    """

    start: int
    end: int
    manner: Mapping[str, Scalar]

    def manner_at(self, step: int) -> Mapping[str, Scalar]:
        return self.manner if self.start <= step < self.end else {}


def window_of(config: RunSpec) -> Window:
    """An un-annealed run has an empty one; GGA-L, which changes every step, one of all steps."""
    steps = config.training.steps
    if config.annealing is None:
        return Window(steps, steps, {})
    manner = {name: value for name, value in config.annealing.in_key().items() if name not in WINDOW_OPTIONS}
    return Window(config.annealed_steps.start, config.annealed_steps.stop, manner)


def steps_alike(one: RunSpec, other: RunSpec) -> int:
    """How many steps, from step 0 on, are the same in two runs that differ only in their annealing."""
    windows = window_of(one), window_of(other)
    bounds = sorted({0, *(bound for window in windows for bound in (window.start, window.end))})
    parted = (bound for bound in bounds if windows[0].manner_at(bound) != windows[1].manner_at(bound))
    return next(parted, one.training.steps)


def trunk_of(config: RunSpec) -> str:
    """A name shared by the runs of a plan that differ only in their annealing."""
    same = ""  # the images, as everything else that the key hashes and that one plan has once
    return run_key(config.model_copy(update={"annealing": None}), same, algorithm_numerics=0)


def prefix_name(config: RunSpec, steps: int, contents: Contents) -> str:
    """The name of a run's first steps in the ledger: their number, and the key of the run whose window ends there."""
    numerics = get_algorithm(config.algorithm).numerics
    key = run_key(_cut_off(config, steps), contents.dataset, numerics, contents.weights, contents.code)
    return f"{key[:16]}-{steps}"


def inherited_steps(configs: Iterable[RunSpec]) -> Iterator[int]:
    """How many steps each run of a plan shares with earlier ones. Their sum does not depend on the order."""
    before: dict[str, list[RunSpec]] = {}
    for config in configs:
        others = before.setdefault(trunk_of(config), [])
        yield max((steps_alike(config, other) for other in others), default=0)
        others.append(config)


def _cut_off(config: RunSpec, steps: int) -> RunSpec:
    annealing = config.annealing
    return config.model_copy(update={"annealing": annealing and annealing.up_to(steps)})
