"""The work of a plan with and without each saving, on a terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gga_sweep.report.wording import time_in_words, unit_for
from gga_sweep.scheduling.price import jobs_of
from gga_sweep.scheduling.savings import Savings
from gga_sweep.spec import Outline
from gga_sweep.spec.adaptive_search import is_adaptive
from gga_sweep.spec.counted_work import TYPICAL_NEW_BESTS, evaluated_images


def savings_picture(savings: Savings, plan: Outline) -> RenderableType:
    """Steps, annealed steps, decoded photographs and device time: without any saving, with each alone, with all."""
    stopping = plan.sweep.config.early_stopping is not None
    rows = [("Each run by itself", savings.without)]
    photographs = savings.without.decoded > 0
    if photographs:
        rows.append(("Photographs decoded once", savings.decoded_once))
    rows.append(("Shared steps trained once", savings.shared_prefixes))
    if stopping:
        rows.append(("Ended early, as expected", savings.early_stopping))
    rows.append(("As this sweep is trained", savings.altogether))
    unit = unit_for(work.seconds for _, work in rows)
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Work", "Runs", "Steps", "Annealed", *(["Decoded"] * photographs), unit.name.capitalize()):
        table.add_column(heading, justify="left" if heading == "Work" else "right", header_style="bold")
    for name, work in rows:
        amounts = (savings.jobs, work.steps, work.annealed, *([work.decoded] * photographs))
        table.add_row(name, *(f"{amount:,.0f}" for amount in amounts), time_in_words(work.seconds / unit.seconds))
    return Group(table, Text(""), *map(Text, _notes(savings, plan, stopping)))


def _evaluations_in_words(plan: Outline) -> str:
    """Images that evaluations forward, as the sweep is and with the other setting."""
    dataset = plan.sweep.dataset
    configs = [run.config for run in jobs_of(plan).values()]

    def forwarded(evaluate: str, new_bests: int = TYPICAL_NEW_BESTS) -> str:
        counted = []
        for config in configs:
            training = config.training.model_copy(update={"evaluate": evaluate})
            counted.append(
                evaluated_images(config.model_copy(update={"training": training}), dataset, new_bests=new_bests)
            )
        return f"{math.fsum(counted):,.0f}"

    typical, most = forwarded("selection"), forwarded("selection", plan.sweep.training.steps)
    fewer = f"at most {most}" if typical == most else f"about {typical}, at most {most},"
    return (
        f"Evaluations forward {forwarded('all')} images with training.evaluate: all, and {fewer} with selection. "
        f"This sweep has {plan.sweep.training.evaluate}."
    )


def _notes(savings: Savings, plan: Outline, stopping: bool) -> list[str]:
    notes = []
    if savings.without.decoded and not savings.prices_decoding and not math.isnan(savings.without.seconds):
        notes.append("Device time does not include decoding, which --calibrate measures.")
    notes.append(_evaluations_in_words(plan))
    if not is_adaptive(plan.sweep.config):
        notes.append(f"Draws do not depend on earlier results (search: {plan.sweep.config.search}; those of tpe do).")
    if not stopping:
        notes.append("Every run is trained to its end (no early_stopping).")
    return notes
