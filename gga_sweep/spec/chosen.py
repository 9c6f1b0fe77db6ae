"""The `chosen:` block: hyperparameters that another sweep chose for each cell, and its faults."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from gga_sweep.errors import Fault
from gga_sweep.records import Cell
from gga_sweep.selection.methods import needing_pairs
from gga_sweep.spec.arms import Arm
from gga_sweep.spec.models import ChosenCell, ChosenConfig
from gga_sweep.spec.plan import SweepSpec

_REPLACED = "is replaced by `chosen`; leave it out"


def chosen_for(chosen: ChosenConfig, cell: Cell) -> ChosenCell:
    """The cell's entry: the one for its trial seed, else the one for every trial seed.

    Raises:
        LookupError: there is none, which the check of a sweep refuses.
    """
    entries = {
        entry.trial_seed: entry
        for entry in chosen.cells
        if entry.arm == cell.arm and set(entry.test_domains) == set(cell.test_domains)
    }
    return entries.get(cell.trial_seed) or entries[None]


def chosen_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Entries without a cell, twice or missing, values that no run can have, and fields that `chosen` replaces."""
    config = sweep.config
    if config.chosen is None:
        return
    yield from _rival_fields(sweep)
    arms = {arm.name: arm for arm in sweep.arms}
    held_out = {frozenset(names) for names in sweep.test_domains}
    for index, entry in enumerate(config.chosen.cells):
        field = f"chosen.cells[{index}]"
        if entry.arm not in arms:
            yield Fault(f"{field}.arm", "must name an arm", entry.arm, tuple(arms))
        else:
            yield from _name_faults(arms[entry.arm], entry, field)
        if frozenset(entry.test_domains) not in held_out:
            known = tuple("+".join(names) for names in sweep.test_domains)
            yield Fault(f"{field}.test_domains", "must be the sweep's", "+".join(entry.test_domains), known)
        if entry.trial_seed is not None and entry.trial_seed not in config.trial_seeds:
            yield Fault(
                f"{field}.trial_seed", "must be the sweep's", entry.trial_seed, tuple(map(str, config.trial_seeds))
            )
    places = Counter((entry.arm, frozenset(entry.test_domains), entry.trial_seed) for entry in config.chosen.cells)
    for (name, of_entry, seed), times in places.items():
        if times > 1:
            place = f"{name}, test {'+'.join(sorted(of_entry))}" + ("" if seed is None else f", trial seed {seed}")
            yield Fault("chosen.cells", "a cell may stand once", place)
    for name, names, trial_seed in itertools.product(arms, sweep.test_domains, config.trial_seeds):
        if not {(name, frozenset(names), seed) for seed in (None, trial_seed)} & places.keys():
            place = f"{name}, test {'+'.join(names)}, trial seed {trial_seed}"
            yield Fault("chosen.cells", "must hold an entry for every cell; absent", place)


def _rival_fields(sweep: SweepSpec) -> Iterator[Fault]:
    config = sweep.config
    if config.search_space:
        yield Fault("search_space", _REPLACED, list(config.search_space))
    if any(arm.draws > 1 for arm in sweep.arms):
        yield Fault("draws", _REPLACED, max(arm.draws for arm in sweep.arms))
    if config.search != "random":
        yield Fault("search", _REPLACED, config.search)
    for method in needing_pairs(sweep.selection):
        yield Fault("selection", "has no draws to select among, since they were chosen before", method)


def _name_faults(arm: Arm, entry: ChosenCell, field: str) -> Iterator[Fault]:
    names, fixed = arm.hyperparameters, arm.fixed
    for name, value in entry.values.items():
        if name not in names:
            yield Fault(f"{field}.values.{name}", "the arm has no such hyperparameter", value, names)
        elif name in fixed:
            yield Fault(f"{field}.values.{name}", "is fixed by the arm", value, (str(fixed[name]),))
