"""The time and disk space of a sweep in `gga-sweep plan`, and the source of the figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rich.console import RenderableType
from rich.text import Text

from gga_sweep.datasets.image_folder import decoding_seconds
from gga_sweep.datasets.registry import decoded_bytes, holds_photographs
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.report.price import disk_in_words, price_picture
from gga_sweep.report.savings import savings_picture
from gga_sweep.scheduling.estimate import Estimate, estimate_from, estimate_from_runs, runs_at_once, undivided
from gga_sweep.scheduling.expected_ends import expected_ends
from gga_sweep.scheduling.price import jobs_of, price_of
from gga_sweep.scheduling.savings import savings_of
from gga_sweep.spec import Outline, Plan
from gga_sweep.spec.counted_work import model_of
from gga_sweep.spec.models import ResourcesConfig


def price_pictures(
    plan: Outline, ledger: Ledger, states: Mapping[str, RunState], calibrate: Callable[[str], None] | None
) -> Iterator[RenderableType]:
    """The price, if it is known, and the work with and without each saving.

    Args:
        states: by folder, of the runs that were started.
        calibrate: is called with a line for each kind of run that is measured; None takes the DONE runs instead.
    """
    found = _calibrated(plan, calibrate) if calibrate else _learned(plan, ledger, states)
    if found is None:
        yield Text("Price unknown: no run is done yet. --calibrate measures it with a short training.")
        savings = savings_of(plan, None, expected_ends(plan.sweep))
    else:
        on_gpu = plan.sweep.config.resources.on_gpu
        at_once = runs_at_once(found.resources, float(os.cpu_count() or 1), float(on_gpu))
        yield price_picture(price_of(plan, found.estimate, states, found.done), at_once, found.notes)
        savings = savings_of(plan, found.estimate, expected_ends(plan.sweep), found.decoding)
    yield savings_picture(savings, plan)


class _Known(NamedTuple):
    """The known seconds of a plan.

    Args:
        notes: on their source, as sentences.
        resources: of a run that takes so long.
        done: results of DONE runs, by folder.
        decoding: seconds of a photograph; None if not measured.
    """

    estimate: Estimate
    notes: tuple[str, ...]
    resources: ResourcesConfig
    done: Mapping[str, RunResult]
    decoding: float | None


def _learned(plan: Outline, ledger: Ledger, states: Mapping[str, RunState]) -> _Known | None:
    """From the DONE runs of the plan; None without one."""
    if not isinstance(plan, Plan):
        return None
    sweep = plan.sweep
    folders = dict.fromkeys(run.folder for run in plan.runs)
    done = ledger.read_results(name for name in folders if name in states and states[name].status is RunStatus.DONE)
    estimate = estimate_from_runs(plan, done)
    if not estimate.in_seconds:
        return None
    devices = {header.fingerprint.get("device", "") for header in ledger.read_headers(done) if header}
    device = ", ".join(sorted(filter(None, devices))) or "a device that is not recorded"
    notes = [f"Device: {device}. From the done runs, by counted work."]
    if images := decoded_bytes(sweep.dataset, sweep.config.dataset.name):
        notes.append(disk_in_words(images))
    return _Known(estimate, tuple(notes), sweep.config.resources, done, None)


def _calibrated(plan: Outline, show: Callable[[str], None]) -> _Known:
    """From a short training on this machine, in which no device is shared."""
    from gga_sweep.training.time_calibration import calibrate  # loads torch

    config, dataset, threads = plan.sweep.config, plan.sweep.dataset, plan.sweep.training.threads
    found = calibrate([run.config for run in plan.runs], dataset, config.resources.on_gpu, show)
    disk = disk_in_words(
        images=decoded_bytes(dataset, config.dataset.name),
        selected=sum(found.sizes[model_of(run.config)].selected for run in jobs_of(plan).values()),
        checkpoint=max(size.checkpoint for size in found.sizes.values()),
    )
    decoding = None
    if config.dataset.root is not None and dataset.available and holds_photographs(config.dataset.name):
        decoding = decoding_seconds(config.dataset.root, dataset.image_shape[-1])
    notes = (f"Device: {found.device}. From a calibration.", disk, *found.remarks)
    return _Known(estimate_from(dataset, found.measured), notes, undivided(config.resources, threads), {}, decoding)
