"""Commands on a single run: train it alone; evaluate its selected model, or predict with it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    DEFAULT_STORAGE,
    FAILED,
    Overrides,
    Storage,
    SweepFile,
    bad_input,
    err,
    load_sweep,
    out,
    whole_path,
    writing,
)
from gga_sweep.cli.output import STANDARD

if TYPE_CHECKING:
    from gga_sweep.execution.recorded_run import Progress
    from gga_sweep.ledger.run_reader import Weights

Averaged = Annotated[bool, typer.Option("--averaged", help="Use the averaged weights, not those of the selected step.")]


def train(
    file: SweepFile,
    key: Annotated[str, typer.Option("--run", metavar="KEY", help="Name of the run's folder, or start of its key.")],
    overrides: Overrides = [],  # noqa: B006
    storage: Storage = DEFAULT_STORAGE,
    output: Annotated[Path | None, typer.Option(help="Train in this folder. Default: STORAGE/SWEEP/replays.")] = None,
) -> None:
    """Train one run of a plan alone, from step 0, without Ray or MLflow, to the same bits as in the sweep."""
    from gga_sweep.execution.replay import compare, replay
    from gga_sweep.records import FINAL

    sweep = load_sweep(file, overrides, storage, None)
    STANDARD.required = False  # what it trains is in the folder
    folder, progress = replay(sweep, key, output, partial(_print_progress, sweep.config.metric))
    out.print(f"{folder.name}: {progress.status.lower()}" + (f" ({progress.reason})" if progress.reason else ""))
    equal = compare(folder, sweep)
    if equal is not None:
        for name, same in equal.items():
            out.print(f"  {name}: {'the same bytes as' if same else 'DIFFERS from'} the sweep's")
    if progress.status not in FINAL:
        raise typer.Exit(FAILED)


def evaluate(
    run_dir: Annotated[str, typer.Argument(metavar="RUN_DIR", help="A run's folder, STORAGE/SWEEP/runs/RUN.")],
    data: Annotated[Path, typer.Option(metavar="ROOT", help="A tree domain/class/image with the model's classes.")],
    averaged: Averaged = False,
) -> None:
    """Evaluate the selected model of a run on a tree of images."""
    from rich.table import Table

    from gga_sweep.execution.model import evaluate_model, open_run_folder
    from gga_sweep.metrics import METRICS

    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Domain", "Images", *(metric.heading for metric in METRICS.values())):
        table.add_column(heading, justify="left" if heading == "Domain" else "right", header_style="bold")
    for domain, (size, score) in evaluate_model(open_run_folder(run_dir), data, _weights(averaged)).items():
        table.add_row(domain, str(size), *(metric.shown(getattr(score, name)) for name, metric in METRICS.items()))
    out.print(table)


def predict(
    run_dir: Annotated[str, typer.Argument(metavar="RUN_DIR", help="A run's folder, STORAGE/SWEEP/runs/RUN.")],
    output: Annotated[Path | None, typer.Option(help="CSV file to write (default: print).")] = None,
    split: Annotated[str | None, typer.Option(help="train or validation (default: both).")] = None,
    data: Annotated[Path | None, typer.Option(metavar="ROOT", help="Present folder of the run's images.")] = None,
    averaged: Averaged = False,
) -> None:
    """Write the predictions of a run's selected model for every image, by sample id."""
    from gga_sweep.execution.model import open_run_folder
    from gga_sweep.execution.predictions import predict as predict_images
    from gga_sweep.spec.content_digests import cache_folder
    from gga_sweep.spec.location import as_location

    # checked before the long prediction
    if output is not None and not whole_path(output, "--output").absolute().parent.is_dir():
        raise bad_input("--output", "must be in a folder that exists", str(output))
    folder = open_run_folder(run_dir)
    cache = cache_folder(as_location(run_dir).absolute().parent.parent.parent)
    images = cache if cache.is_dir() else None
    found = predict_images(folder, data, images, split, _weights(averaged))  # type: ignore[arg-type]
    if output is None:
        found.write_csv(sys.stdout)
    else:
        with writing(output) as path:
            found.to_csv(path)
    if found.warning is not None:
        err.print(found.warning)


def _weights(averaged: bool) -> Weights:
    return "averaged" if averaged else "selected"


def _print_progress(metric: str, progress: Progress) -> None:
    from gga_sweep.metrics import METRICS

    if progress.validation is not None:
        score = METRICS[metric].shown(progress.validation.validation_mean(metric))
        out.print(f"step {progress.step}: validation {METRICS[metric].label} {score} %")
