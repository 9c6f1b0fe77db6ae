"""From a sweep to its runs: cells times draws, resolved, keyed, equal ones merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from gga_sweep.annealing.options import decode
from gga_sweep.datasets.registry import holds_photographs
from gga_sweep.errors import Fault, InputError
from gga_sweep.records import Cell, Scalar
from gga_sweep.spec.adaptive_search import Suggested, is_adaptive, last_window_end, random_draws, seed_of_draws
from gga_sweep.spec.arm_values import Values, arm_values, searched_space
from gga_sweep.spec.arms import Arm
from gga_sweep.spec.check import drawn_faults
from gga_sweep.spec.chosen import chosen_for
from gga_sweep.spec.draws import draw_hyperparameters, grid_points
from gga_sweep.spec.key import code_of, run_key
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plain_values import plain_faults
from gga_sweep.spec.plan import Contents, Outline, Plan, PlannedRun, SweepSpec

NOTHING_DRAWN: Mapping[int, Mapping[str, Scalar]] = MappingProxyType({})
NOTHING_SUGGESTED: Suggested = MappingProxyType({})

_CONFIGURATION = "a trial's configuration"
_PLACE = ("arm", "test_domain", "trial_seed")
_OF_TUNE = ("__trial_index__",)
"""Names that a searcher of Tune's adds: `Repeater`."""


def plan_sweep(sweep: SweepSpec, contents: Contents, suggested: Suggested = NOTHING_SUGGESTED) -> Plan:
    """All runs of a sweep; of an adaptive search those of its first draws and those that were suggested.

    Args:
        contents: digests from `read_contents`.
        suggested: from `read_suggested`, of the sweep's ledger.

    Example:
        >>> from gga_sweep import load
        >>> from gga_sweep.spec import read_contents
        >>> sweep = load("demo", overrides=["test_domains=[75]", "trial_seeds=[0]", "draws=1"])
        >>> [run.cell.arm for run in plan_sweep(sweep, read_contents(sweep)).runs]
        ['ERM', 'ERM + GGA']
    """
    return Plan(sweep, tuple(run for arm in sweep.arms for run in _arm_runs(sweep, arm, contents, suggested)))


def outline_sweep(sweep: SweepSpec) -> Outline:
    """All runs of a sweep, known without its images; of an adaptive search those of its first draws."""
    contents = Contents("")
    return Outline(sweep, tuple(run for arm in sweep.arms for run in _arm_runs(sweep, arm, contents)))


def suggested_run(
    sweep: SweepSpec, contents: Contents, cell: Cell, draw: int, values: Mapping[str, Scalar]
) -> PlannedRun:
    """The run of a draw that a searcher suggests for a cell, as `plan_sweep` would plan it."""
    arm = next(arm for arm in sweep.arms if arm.name == cell.arm)
    return _planned(sweep, arm, cell, draw, values, contents)


def searched_run(sweep: SweepSpec, contents: Contents, configuration: Mapping[str, Scalar]) -> PlannedRun:
    """The run of a configuration that a searcher outside the plan proposes.

    Args:
        configuration: `arm`, `test_domain`, `trial_seed` and searched hyperparameters by dotted name; names that the
            arm lacks or fixes do not apply to it.

    Returns:
        A run whose draw number is made of its key's first 8 digits, for no plan numbered it.

    Raises:
        InputError: an unknown arm, test domain or name, or a value out of range.
    """
    if unfit := plain_faults(configuration):
        raise InputError(unfit, _CONFIGURATION)
    check_names(sweep, configuration)
    arm = next(arm for arm in sweep.arms if arm.name == configuration["arm"])
    drawn = {name: value for name, value in configuration.items() if name not in (*_PLACE, *_OF_TUNE)}
    if faults := drawn_faults(arm, sweep, drawn):
        raise InputError(faults, _CONFIGURATION)
    tests = next(names for names in sweep.test_domains if "+".join(names) == configuration["test_domain"])
    cell = Cell(sweep.dataset.name, arm.name, tests, int(configuration["trial_seed"]))
    run = _planned(sweep, arm, cell, 0, drawn, contents)
    number = int(run.key[:8], 16)
    return replace(run, draws=(number,), hyperparameters={**run.hyperparameters, **_applying(arm, drawn)})


def check_names(sweep: SweepSpec, configuration: Mapping[str, object]) -> None:
    """Check what all configurations of a searcher have in common: the names, and the cell.

    Raises:
        InputError: a name that no arm has, a nested name, or no arm, test domain and trial seed.
    """
    choices = {
        "arm": tuple(arm.name for arm in sweep.arms),
        "test_domain": tuple("+".join(names) for names in sweep.test_domains),
    }
    faults = [
        Fault(name, "must be one of the sweep's", configuration.get(name), allowed)
        for name, allowed in choices.items()
        if configuration.get(name) not in allowed
    ]
    trial_seed = configuration.get("trial_seed")
    if not isinstance(trial_seed, int) or isinstance(trial_seed, bool) or trial_seed < 0:
        faults.append(Fault("trial_seed", "must be a whole number from 0 on", trial_seed))
    known = tuple(dict.fromkeys(name for arm in sweep.arms for name in arm.hyperparameters))
    for name, value in configuration.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{name}.{key}" for key in value)
            faults.append(Fault(name, f"must not be nested: use dotted names, as {inner}", dict(value)))
        elif name not in (*_PLACE, *_OF_TUNE, *known):
            faults.append(Fault(name, "no arm has this hyperparameter", None, known))
    if faults:
        raise InputError(faults, _CONFIGURATION)


def _arm_runs(
    sweep: SweepSpec, arm: Arm, contents: Contents, suggested: Suggested = NOTHING_SUGGESTED
) -> Iterator[PlannedRun]:
    """By test domains, trial seed and draw. Draws do not depend on test domains and are resolved once for all."""
    resolved: dict[int, list[PlannedRun]] = {}
    for test_domains in (*sweep.test_domains, *sweep.pairs):
        for trial_seed in sweep.config.trial_seeds:
            cell = Cell(sweep.dataset.name, arm.name, test_domains, trial_seed)
            if sweep.config.chosen is not None or is_adaptive(sweep.config):
                yield from _cell_runs(sweep, arm, cell, contents, suggested.get(cell, {}))
            elif trial_seed not in resolved:
                resolved[trial_seed] = _cell_runs(sweep, arm, cell, contents)
                yield from resolved[trial_seed]
            else:
                yield from (_with_test_domains(arm, run, cell, contents) for run in resolved[trial_seed])


def _with_test_domains(arm: Arm, run: PlannedRun, cell: Cell, contents: Contents) -> PlannedRun:
    config = run.config.model_copy(update={"test_domains": cell.test_domains})
    return replace(run, cell=cell, config=config, key=_key(arm, config, contents))


def _key(arm: Arm, config: RunSpec, contents: Contents) -> str:
    return run_key(config, contents.dataset, arm.declared.numerics, contents.weights, contents.code)


def _cell_runs(
    sweep: SweepSpec,
    arm: Arm,
    cell: Cell,
    contents: Contents,
    suggested: Mapping[int, Mapping[str, Scalar]] = NOTHING_DRAWN,
) -> list[PlannedRun]:
    draws = {**_draws(sweep, arm, cell), **{draw: suggested[draw] for draw in sorted(suggested) if draw < arm.draws}}
    return _merge_equal([_planned(sweep, arm, cell, draw, drawn, contents) for draw, drawn in draws.items()])


def _draws(sweep: SweepSpec, arm: Arm, cell: Cell) -> dict[int, Mapping[str, Scalar]]:
    """The values of each draw number. Draw 0 is the defaults; the points of a grid and chosen values are draws too."""
    if sweep.config.chosen is not None:
        return {0: chosen_for(sweep.config.chosen, cell).values}
    space = searched_space(sweep, arm)
    if sweep.config.search == "grid":
        return dict(enumerate(grid_points(space)))
    sampler, dataset, trial_seed = sweep.protocol.sampler, sweep.dataset.name, seed_of_draws(sweep, cell)
    return {0: {}} | {
        number: draw_hyperparameters(space, sampler, arm.algorithm, dataset, trial_seed, number)
        for number in range(1, random_draws(sweep, arm))
    }


def _planned(
    sweep: SweepSpec, arm: Arm, cell: Cell, draw: int, drawn: Mapping[str, Scalar], contents: Contents
) -> PlannedRun:
    values = arm_values(sweep, arm, drawn)
    config = _resolve(sweep, arm, cell, values)
    searched = drawn if sweep.config.chosen else searched_space(sweep, arm)
    hyperparameters = {name: values.values[name] for name in searched}
    key, code = _key(arm, config, contents), code_of(config, contents.code)
    return PlannedRun(cell, (draw,), hyperparameters, config, key, code)


def _resolve(sweep: SweepSpec, arm: Arm, cell: Cell, values: Values) -> RunSpec:
    registered = arm.declared.hyperparameters
    dataset = sweep.config.dataset
    if dataset.root is not None and holds_photographs(dataset.name):  # the stored size is part of the key, given or not
        dataset = dataset.model_copy(update={"image_size": sweep.dataset.image_shape[-1]})
    return RunSpec(
        dataset=dataset,
        algorithm=arm.algorithm,
        hyperparameters={name: registered[name].coerce(value) for name, value in values.training.items()},
        annealing=None if arm.annealing is None else decode({"method": arm.annealing.method, **values.annealing}),
        test_domains=cell.test_domains,
        trial_seed=cell.trial_seed,
        training=sweep.training_of(arm),
        selected_from=_selected_from(sweep),
        metric=sweep.config.metric,
    )


def _selected_from(sweep: SweepSpec) -> int:
    """The first step that may be selected, where that decides which steps the test domains are evaluated at."""
    thrifty = sweep.training.evaluate == "selection"
    return last_window_end(sweep) if thrifty and sweep.config.select_from == "after-window" else 0


def _applying(arm: Arm, drawn: Mapping[str, Scalar]) -> dict[str, Scalar]:
    names, fixed = arm.hyperparameters, arm.fixed
    return {name: value for name, value in drawn.items() if name in names and name not in fixed}


def _merge_equal(runs: list[PlannedRun]) -> list[PlannedRun]:
    """One run for all equal draws of a cell, in the order of their first.

    Equal is what has one key: configurations may differ in a field that does not apply.
    """
    merged: dict[str, PlannedRun] = {}
    for run in runs:
        first = merged.get(run.key)
        merged[run.key] = run if first is None else replace(first, draws=(*first.draws, *run.draws))
    return list(merged.values())
