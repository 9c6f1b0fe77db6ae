"""Averaged weights as arms: separate rows of the table, in which no step is selected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gga_sweep.records import RunRecords
from gga_sweep.selection.view import SweepView


def with_averaged_arms(view: SweepView, name: Callable[[str], str]) -> SweepView:
    """The sweep with an arm of averaged weights for each arm, after all of these.

    Its runs are those of the arm, with the evaluation of the averaged weights as their only one, if they have any. So a
    draw is chosen by the validation score of averaged weights. The arm is compared with the averaged weights of its
    arm's baseline; those of a baseline with the baseline.

    Args:
        name: makes the name of the averaged weights of an arm, or of a block (without factors).
    """
    names = {arm: name(arm) for arm in view.arms}

    def averaged(run: RunRecords) -> RunRecords:
        place = replace(run.place, cell=replace(run.cell, arm=names[run.cell.arm]))
        records = () if run.averaged is None else (run.averaged.record,)
        return RunRecords(place, replace(run.result, records=records, searches=(), noisy_steps=()))

    return replace(
        view,
        arms=(*view.arms, *(names[arm] for arm in view.arms)),
        draws={**view.draws, **{names[arm]: draws for arm, draws in view.draws.items()}},
        records=(*view.records, *map(averaged, view.records)),
        pair_records=(*view.pair_records, *map(averaged, view.pair_records)),
        baselines={**view.baselines, **{names[arm]: names.get(view.baselines.get(arm, ""), arm) for arm in view.arms}},
        searched=view.searched | {names[arm] for arm in view.searched},
        blocks={**view.blocks, **{names[arm]: name(block) for arm, block in view.blocks.items()}},
        factors={**view.factors, **{names[arm]: factors for arm, factors in view.factors.items()}},
        averaged={names[arm]: arm for arm in view.arms},
    )
