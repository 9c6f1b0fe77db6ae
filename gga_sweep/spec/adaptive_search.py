"""Adaptive search: which cells share their draws, which draws are suggested, and faults of its settings."""

from __future__ import annotations

import importlib.util
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.annealing.options import GGA, WINDOW_OPTIONS, option_faults
from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault
from gga_sweep.records import Cell, Scalar
from gga_sweep.selection.methods import METHODS, needing_pairs
from gga_sweep.spec.arm_values import arm_values, searched_space
from gga_sweep.spec.arms import PREFIX, Arm, annealing_name
from gga_sweep.spec.draws import whole_bounds
from gga_sweep.spec.models import AdaptiveConfig, SweepConfig
from gga_sweep.spec.plan import Outline, Plan, SweepSpec
from gga_sweep.spec.samplers import names_sampler, sampler_faults

ADAPTIVE = ("tpe", "tpe-pooled")
"""The searches whose later draws are suggested from the results of earlier ones; samplers that a file names, too."""

SHARED_HP = "shared-hp"

Suggested = Mapping[Cell, Mapping[int, Mapping[str, Scalar]]]
"""What a searcher has suggested so far: by cell and draw number, values by dotted name."""


@dataclass(frozen=True, slots=True)
class DrawGroup:
    """Cells of an arm that share a searcher: a draw number has the same values in all of them, and one score."""

    arm: Arm
    cells: tuple[Cell, ...]

    @property
    def trial_seed(self) -> int:
        """The first trial seed, whose draws all of them use."""
        return self.cells[0].trial_seed


def is_adaptive(config: SweepConfig) -> bool:
    return config.search in ADAPTIVE or names_sampler(config)


def needs_order(config: SweepConfig) -> bool:
    """Whether the next runs depend on the results of earlier ones."""
    return is_adaptive(config) or config.early_stopping is not None


def adaptive_settings(config: SweepConfig) -> AdaptiveConfig:
    return config.adaptive or AdaptiveConfig()


def draw_groups(sweep: SweepSpec) -> tuple[DrawGroup, ...]:
    """Every cell in one group, by arms, test domains and trial seeds. Without adaptive search, one cell a group."""
    objective = adaptive_settings(sweep.config).objective if is_adaptive(sweep.config) else "cell"
    return tuple(
        DrawGroup(arm, tuple(Cell(sweep.dataset.name, arm.name, *place) for place in places))
        for arm in sweep.arms
        for places in _places(sweep.test_domains, sweep.config.trial_seeds, objective)
    )


def pool_of(group: DrawGroup, groups: Sequence[DrawGroup]) -> tuple[DrawGroup, ...]:
    """The groups that one pooled searcher learns from: those of the arm with the same test domains.

    Never other test domains: those are training domains here.
    """
    tests = {cell.test_domains for cell in group.cells}
    return tuple(
        other for other in groups if other.arm == group.arm and {cell.test_domains for cell in other.cells} == tests
    )


def unsuggested_runs(plan: Outline) -> int:
    """Number of runs still to be suggested; runs that may turn out equal are counted separately."""
    if not is_adaptive(plan.sweep.config):
        return 0
    planned = Counter(run.cell for run in plan.runs for _ in run.draws)
    draws = {arm.name: arm.draws for arm in plan.sweep.arms}
    return sum(max(0, draws[cell.arm] - number) for cell, number in planned.items())


def open_ended_arms(plan: Plan) -> tuple[str, ...]:
    """Annealed arms whose runs still to be suggested differ only in their annealing."""
    sweep = plan.sweep
    if not unsuggested_runs(plan):
        return ()
    searched = {arm.name: searched_space(sweep, arm) for arm in sweep.arms if arm.annealing}
    return tuple(arm for arm, space in searched.items() if all(name.startswith(PREFIX) for name in space))


def seed_of_draws(sweep: SweepSpec, cell: Cell) -> int:
    """The trial seed whose random draws a cell takes: its own, unless all trial seeds share them."""
    shared = is_adaptive(sweep.config) and adaptive_settings(sweep.config).objective == "trial-seeds"
    return sweep.config.trial_seeds[0] if shared else cell.trial_seed


def random_draws(sweep: SweepSpec, arm: Arm) -> int:
    """The number of an arm's draws, the first ones, that are random."""
    return adaptive_settings(sweep.config).n_startup_trials if is_adaptive(sweep.config) else arm.draws


def last_window_end(sweep: SweepSpec) -> int:
    """The first step after every annealing window that a run of the sweep can have; 0 without one."""
    return max((_window_end(sweep, arm) for arm in sweep.arms), default=0)


def grace_steps(sweep: SweepSpec) -> int:
    """Steps that every run trains before it may be ended early: the file's `grace_period`, else 1 past every window."""
    stopping = sweep.config.early_stopping
    return (stopping.grace_period if stopping else None) or last_window_end(sweep) + 1


def _window_end(sweep: SweepSpec, arm: Arm) -> int:
    if arm.annealing is None or arm.annealing.kind is not GGA:
        return 0
    chosen = sweep.config.chosen.cells if sweep.config.chosen else ()
    space = searched_space(sweep, arm)

    def end(given: Mapping[str, Scalar]) -> int:
        values = arm_values(sweep, arm, given).annealing
        last = {name: _largest(values[name], space.get(annealing_name(name))) for name in WINDOW_OPTIONS}
        return 0 if option_faults(GGA, last) else GGA.of_variant("paper", **last).window.stop

    return max(map(end, [cell.values for cell in chosen if cell.arm == arm.name] or [{}]))


def _largest(default: Scalar, searched: Distribution | None) -> int:
    """The largest whole number that can be drawn; other values are reported elsewhere."""
    values: tuple[Scalar, ...] = ()
    if searched is not None and searched.choice is not None:
        values = searched.choice
    elif searched is not None and searched.kind in ("integers", "logintegers"):
        values = whole_bounds(searched)
    return max((value for value in (default, *values) if isinstance(value, int)), default=0)


def adaptive_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Settings that cannot work: no Optuna, nothing to search, too small a budget, and the like.

    `spec.check` checks that the grace period ends after every window.
    """
    config = sweep.config
    if not is_adaptive(config):
        if config.adaptive is not None:
            rule = f"needs an adaptive search, not {config.search}"
            yield Fault("adaptive", rule, None, (*ADAPTIVE, "module:attribute"))
    else:
        yield from _search_faults(sweep)
        yield from _objective_faults(sweep)
    if config.early_stopping is not None:
        yield from _stopping_faults(sweep)


def _search_faults(sweep: SweepSpec) -> Iterator[Fault]:
    config, settings = sweep.config, adaptive_settings(sweep.config)
    if importlib.util.find_spec("optuna") is None:
        yield Fault(
            "search", "needs Optuna: install gga-sweep with its extra `search`, as in gga-sweep[search]", config.search
        )
    else:
        yield from sampler_faults(sweep)
    if config.chosen is not None:
        return  # named where chosen cells are checked
    for arm in sweep.arms:
        place = f"arms[{arm.index}].draws" if config.arms[arm.index].draws else "draws"
        if not searched_space(sweep, arm):
            yield Fault("search_space", f"{config.search} needs something to search in the arm {arm.name!r}")
        elif arm.draws <= settings.n_startup_trials:
            rule = f"must exceed the random draws at the start, adaptive.n_startup_trials {settings.n_startup_trials}"
            yield Fault(place, rule, arm.draws)
    for method in needing_pairs(sweep.selection):
        rule = f"needs the same draws with other test domains, which {config.search} does not make"
        yield Fault("selection", f"{method} {rule}", None)


def _objective_faults(sweep: SweepSpec) -> Iterator[Fault]:
    config, objective = sweep.config, adaptive_settings(sweep.config).objective
    shares = sweep.protocol.name == SHARED_HP and all(METHODS[name].peeks for name in sweep.selection)
    if objective == "test-domains" and not shares:
        rule = (
            "over test domains a searcher would learn from the labels it is tested on; only protocol shared-hp, with "
            "its own selection, says so"
        )
        yield Fault("adaptive.objective", rule, objective, ("cell", "trial-seeds"))
    for method in sweep.selection:
        if objective != "test-domains" and METHODS[method].one_draw:
            rule = f"selection {method} needs the same draws with all test domains"
            yield Fault("adaptive.objective", rule, objective, ("test-domains",))
    if config.search == "tpe-pooled":
        if objective == "trial-seeds":
            rule = "leaves tpe-pooled nothing to pool: it pools trial seeds"
            yield Fault("adaptive.objective", rule, objective, ("cell", "test-domains"))
        elif len(config.trial_seeds) < 2:
            yield Fault("trial_seeds", "tpe-pooled needs two cells or more to pool", list(config.trial_seeds))


def _stopping_faults(sweep: SweepSpec) -> Iterator[Fault]:
    config, stopping = sweep.config, sweep.config.early_stopping
    if config.chosen is not None:
        yield Fault("early_stopping", "has no draws to choose among where they are chosen")
    for method in needing_pairs(sweep.selection):
        yield Fault("early_stopping", f"{method} needs its runs to their end")
    if sweep.training.averaging is not None:
        yield Fault("early_stopping", "training.averaging needs runs to their end")
    if not any(step >= grace_steps(sweep) - 1 for step in sweep.training.evaluated_steps[:-1]):
        if stopping is None or stopping.grace_period is None:
            rule = "needs an evaluation past every annealing window and before the last step, at which to stop"
            yield Fault("early_stopping", rule)
        else:
            rule = "must leave an evaluation before the last step, at which to stop"
            yield Fault("early_stopping.grace_period", rule, stopping.grace_period)


def _places(
    test_domains: Sequence[tuple[str, ...]], trial_seeds: Sequence[int], objective: str
) -> Iterator[tuple[tuple[tuple[str, ...], int], ...]]:
    """Test domains and trial seeds of each group."""
    if objective == "trial-seeds":
        yield from (tuple((names, seed) for seed in trial_seeds) for names in test_domains)
    elif objective == "test-domains":
        yield from (tuple((names, seed) for names in test_domains) for seed in trial_seeds)
    else:
        yield from ((place,) for place in itertools.product(test_domains, trial_seeds))
