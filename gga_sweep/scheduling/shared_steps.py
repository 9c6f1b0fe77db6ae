"""Steps that several runs have in common: they are bit-identical up to where they part, and need be trained once.

All that a step draws is named by dataset, trial seed and step. So runs with the same hyperparameters, trial seed, test
domains and algorithm, in whatever arms, are the same run until the first of their annealing windows begins; and where
their windows begin together and anneal alike, until the first of them ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gga_sweep.algorithms.registry import get_algorithm
from gga_sweep.records import Scalar
from gga_sweep.spec.key import run_key
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plan import Contents

_PLACE = ("start_step", "num_steps")
_ANY = Contents("")  # within a plan they are the same


class Window(NamedTuple):
    """The steps that a run anneals, and how.

    Args:
        start: the first.
        end: the first after them.
        manner: the settings that decide what an annealed step does, by name.
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
    manner = {name: value for name, value in config.annealing.in_key().items() if name not in _PLACE}
    return Window(config.annealed_steps.start, config.annealed_steps.stop, manner)


def steps_alike(one: RunSpec, other: RunSpec) -> int:
    """How many steps, from step 0 on, are the same in two runs that differ in nothing but their annealing."""
    windows = window_of(one), window_of(other)
    bounds = sorted({0, *(bound for window in windows for bound in (window.start, window.end))})
    parted = (bound for bound in bounds if windows[0].manner_at(bound) != windows[1].manner_at(bound))
    return next(parted, one.training.steps)


def trunk_of(config: RunSpec) -> str:
    """A name that the runs of a plan have in common that differ in nothing but their annealing."""
    return _key(config.model_copy(update={"annealing": None}), _ANY)


def prefix_name(config: RunSpec, steps: int, contents: Contents) -> str:
    """What the first steps of a run are called in the ledger: by the key of the run that anneals no more after them."""
    return f"{_key(_cut_off(config, steps), contents)[:16]}-{steps}"


def inherited_steps(configs: Iterable[RunSpec]) -> Iterator[int]:
    """How many steps each run of a plan need not train, where it begins from what those before it have trained.

    Their sum does not depend on the order.
    """
    before: dict[str, list[RunSpec]] = {}
    for config in configs:
        others = before.setdefault(trunk_of(config), [])
        yield max((steps_alike(config, other) for other in others), default=0)
        others.append(config)


def _cut_off(config: RunSpec, steps: int) -> RunSpec:
    annealing = config.annealing
    return config.model_copy(update={"annealing": annealing and annealing.up_to(steps)})


def _key(config: RunSpec, contents: Contents) -> str:
    return run_key(config, contents.dataset, get_algorithm(config.algorithm).numerics, contents.weights)
