"""Watch a sweep by its ledger, on any machine: a live picture on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gga_sweep.errors import StorageError
from gga_sweep.records import RunStatus
from gga_sweep.report.progress import FAILURES, SweepProgress
from gga_sweep.report.status import counts_table, short, work_in_words
from gga_sweep.report.wording import count, counts_in_words, duration_in_words, run_name
from gga_sweep.selection.view import status_in_words

SHOWN_RUNS = 12
_SHOWN_FAILURES = 5
_SHOWN_ARMS = 16
_BAR = 60


def watch(look: Callable[[], SweepProgress], every: float, console: Console) -> None:
    """Show a sweep until watching ends, and print the reason.

    A reading that fails, except the first, is reported and repeated.

    Args:
        look: reads the ledger.
        every: seconds between two readings.
        console: a terminal gets a live picture, anything else a line for each reading.
    """
    with console.status("Reading the ledger"):  # shows nothing without a terminal
        progress = look()
    if console.is_terminal:
        with Live(progress_picture(progress), console=console, auto_refresh=False) as live:
            while not progress.over:
                time.sleep(every)
                progress = _look_again(look, progress)
                live.update(progress_picture(progress), refresh=True)
    else:
        console.print(progress_line(progress), soft_wrap=True)
        while not progress.over:
            time.sleep(every)
            progress = _look_again(look, progress)
            console.print(progress_line(progress), soft_wrap=True)
    console.print(_end_in_words(progress), soft_wrap=True)


def progress_line(progress: SweepProgress) -> str:
    """`2026-11-25 12:04:31  12 of 36 runs final, 22 queued, 2 running; 12 runs ended in the last hour; about ...`."""
    moment = datetime.fromtimestamp(progress.now).strftime("%Y-%m-%d %H:%M:%S")
    if progress.trouble is not None:
        return f"{moment}  {progress.trouble}; it is tried again"
    return f"{moment}  {'; '.join([_counts_in_words(progress), *_pace_in_words(progress)])}"


def progress_picture(progress: SweepProgress) -> RenderableType:
    """The most important first: a terminal that is too low cuts the picture at its foot."""
    parts: list[RenderableType] = [
        Text(f"{progress.plan.sweep.name}: status, {_time_of_day(progress.now)}", style="bold"),
        Text(f"\n{_counts_in_words(progress)}"),
        Padding(ProgressBar(total=max(1, len(progress.runs)), completed=progress.final, width=_BAR)),  # ends its line
        *(Text(_sentence(part)) for part in _pace_in_words(progress)),
        Text(work_in_words(progress.work)),
    ]
    if progress.trouble is not None:
        parts.append(Text(f"{_sentence(progress.trouble)} It is tried again.", style="bold"))
    parts += [Text(""), counts_table(progress.plan, progress.states, _SHOWN_ARMS)]
    if failed := progress.newest_failures(_SHOWN_FAILURES):
        parts += [Text(""), _failures_table(progress, failed)]
    if progress.live and (training := progress.in_training):
        parts += [Text(""), _training_table(progress, training)]
    return Group(*parts)


def _failures_table(progress: SweepProgress, failed: list[str]) -> Table:
    number = sum(progress.counts[status] for status in FAILURES)
    table = Table(box=None, padding=(0, 2, 0, 0))
    heading = f"Newest of {number} failures" if number > len(failed) else "Failures"
    table.add_column(heading, overflow="fold", header_style="bold")
    table.add_column("Since", justify="right", no_wrap=True, header_style="bold", style="dim")
    table.add_column("Reason", overflow="fold", header_style="bold")
    for name in failed:
        state = progress.states[name]
        reason = "" if state.reason is None else f": {short(state.reason)}"
        what = Text(f"{run_name(progress.runs[name])}{reason}")
        table.add_row(status_in_words(state.status), _since(progress, name), what)
    return table


def _training_table(progress: SweepProgress, training: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("In training", overflow="fold", header_style="bold")
    table.add_column("Step", justify="right", no_wrap=True, header_style="bold")
    table.add_column("Node", overflow="fold", header_style="bold")
    table.add_column("Last update", justify="right", no_wrap=True, header_style="bold", style="dim")
    for name in training[:SHOWN_RUNS]:
        run, state = progress.runs[name], progress.states[name]
        label = Text(run_name(run))
        steps = f"{state.step + 1} / {run.config.training.steps}"
        table.add_row(label, steps, Text(progress.hosts.get(name, "")), _since(progress, name))
    if (more := len(training) - SHOWN_RUNS) > 0:
        table.add_row(f"and {count(more, 'more run')}", "", "", "")
    return table


def _counts_in_words(progress: SweepProgress) -> str:
    others = counts_in_words(progress.counts, [status for status in RunStatus if status is not RunStatus.DONE])
    middle = "" if others == "no runs" else f", {others}"
    return f"{progress.final} of {count(len(progress.runs), 'run')} final{middle}"


def _pace_in_words(progress: SweepProgress) -> list[str]:
    """How many runs ended recently, and the time left."""
    if not progress.live:
        return []
    lately, ended = progress.lately, progress.ended_lately
    span = "hour" if lately >= 3600 else duration_in_words(lately)
    words = [f"{count(ended, 'run')} ended in the last {span}"]
    if ended and lately < 3600:
        words[0] += f", {round(ended * 3600 / lately)} an hour"
    if not progress.in_training and progress.final < len(progress.runs):
        words.append("no run is in training yet: a worker takes up to a minute to start")
    if (left := progress.seconds_left) is not None and progress.final < len(progress.runs):
        guessed = progress.unknown
        arms = guessed[0] if len(guessed) == 1 else count(len(guessed), "arm")
        note = f" (no run of {arms} is done: scaled from the others)" if guessed else ""
        words.append(f"about {duration_in_words(left)} left, {len(progress.in_training)} at once{note}")
    return words


def _end_in_words(progress: SweepProgress) -> str:
    if progress.final == len(progress.runs):
        return f"All {count(len(progress.runs), 'run')} are final." if len(progress.runs) != 1 else "The run is final."
    return work_in_words(progress.work)


def _look_again(look: Callable[[], SweepProgress], before: SweepProgress) -> SweepProgress:
    try:
        return look()
    except StorageError as error:
        return replace(before, now=time.time(), trouble=str(error))


def _since(progress: SweepProgress, name: str) -> str:
    written = progress.states[name].written
    return f"{duration_in_words(max(0.0, progress.now - written))} ago" if written else ""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _time_of_day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
