"""The live display of a launch: a table on a terminal or in a notebook, lines elsewhere, rarer as it takes longer."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.jupyter import JUPYTER_HTML_FORMAT, JupyterRenderable
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gga_sweep.records import FINAL, RunStatus
from gga_sweep.report.wording import count, counts_in_words, device_time, duration_in_words, percent, run_name
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.scheduling.remaining import Remaining
from gga_sweep.spec.adaptive_search import unsuggested_runs

_LINE_SECONDS = 15.0
_SHARE, _MOST_SECONDS = 0.05, 600.0
"""Lines of a launch are apart by this share of its time so far, so that the log of a day remains short."""
_NOTEBOOK_SECONDS = 1.0
_SHOWN_RUNS = 16
_FEWEST_RUNS = 3
_SHOWN_ARMS, _NAMED_ARMS = 8, 3
_OTHER_LINES = 8
"""Lines of the table besides those of arms and runs: summary, bar, heads, gaps."""


def default_console() -> Console:
    """A console that shows progress in a notebook, and nothing elsewhere."""
    console = Console()
    console.quiet = not console.is_jupyter
    return console


class Display:
    """Shows a `LaunchProgress` within a `with` block.

    Args:
        progress: read from a thread of the display.
        console: a terminal and a notebook show a live table. Anything else shows a line every 15 s, and later every 5 %
            of the time so far, up to 10 minutes.
    """

    def __init__(self, progress: LaunchProgress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._live: Live | None = None
        self._stop = threading.Event()
        self._output: Any = None  # of the notebook
        self._thread = threading.Thread(
            target=self._update_output if console.is_jupyter else self._print_lines, name="sweep-display", daemon=True
        )

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()
            return self
        if self._console.is_jupyter:  # rich's `Live` would need ipywidgets there
            display = import_module("IPython.display").display
            self._output = display(self._in_notebook(self._table()), display_id=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._live is not None:
            self._live.stop()
        else:
            self._thread.join()
        if self._output is not None:
            self._output.update(self._in_notebook(Text(summary_line(self._progress))))
        else:
            self._console.print(summary_line(self._progress), highlight=False)

    def _update_output(self) -> None:
        while not self._stop.wait(_NOTEBOOK_SECONDS):
            self._output.update(self._in_notebook(self._table()))

    def _in_notebook(self, content: RenderableType) -> JupyterRenderable:
        """As an output that can be replaced by the next one."""
        page = Console(file=io.StringIO(), record=True, width=self._console.width, force_jupyter=False)
        page.print(content)
        html = page.export_html(code_format=JUPYTER_HTML_FORMAT, inline_styles=True, clear=False)
        return JupyterRenderable(html, page.export_text())

    def _print_lines(self) -> None:
        while not self._stop.wait(seconds_to_next_line(self._progress.elapsed)):
            words = [summary_line(self._progress), *filter(None, [standings_in_words(self._progress)])]
            self._console.print("; ".join(words), highlight=False, markup=False)

    def _table(self) -> RenderableType:
        progress = self._progress
        done = sum(progress.counts[status] for status in FINAL)
        running = Table(box=None, padding=(0, 2, 0, 0))
        for heading, justify in (("run", "left"), ("step", "right"), ("best validation", "right"), ("since", "right")):
            running.add_column(heading, justify=justify, style="dim" if heading == "since" else "")  # type: ignore[arg-type]
        shown = list(progress.training.values())
        standings = _standings(progress)
        most = max(_FEWEST_RUNS, min(_SHOWN_RUNS, self._console.height - _OTHER_LINES - standings.row_count))
        for entry in shown[:most]:
            best = "" if entry.best_validation != entry.best_validation else f"{100 * entry.best_validation:.1f} %"
            steps = f"{max(0, entry.step + 1)}/{entry.run.config.training.steps}"
            running.add_row(Text(run_name(entry.run)), steps, best, duration_in_words(progress.clock() - entry.since))
        more = len(shown) - most
        waits = not shown and not progress.ended
        return Group(
            Text(summary_line(progress)),
            Padding(ProgressBar(total=max(1, progress.total), completed=done, width=60), (0, 0, 1, 0)),
            *([Padding(standings, (0, 0, 1, 0))] if standings.row_count else []),
            Text("Waiting for the first worker to start ...") if waits else running,
            *([Text(f"and {more} more")] if more > 0 else []),
        )


class DecodingDisplay:
    """Shows the progress of decoding images within a `with` block; nothing if no image is decoded.

    Args:
        console: a terminal shows a bar, anything else a line every 15 s.
        clock: in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None
        self._began = self._printed = 0.0
        self._done = self._total = 0

    def __enter__(self) -> DecodingDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._done and kind is None:
            took = duration_in_words(self._clock() - self._began)
            self._console.print(f"Decoded {self._done:,} images in {took}.", highlight=False)

    def show(self, what: str, done: int, total: int) -> None:
        """Called for each image (`datasets.files.Progress`)."""
        if self._task is None:
            self._began = self._printed = self._clock()
            self._bar.start()
            self._task = self._bar.add_task(what, total=total)
        self._done, self._total = done, total
        self._bar.update(self._task, description=what, completed=done)
        if not self._console.is_terminal and self._clock() - self._printed >= _LINE_SECONDS:
            self._printed = self._clock()
            left = (self._printed - self._began) / done * (total - done)
            line = f"{what}: {done:,} of {total:,} images, about {duration_in_words(left)} left"
            self._console.print(line, highlight=False)


def seconds_to_next_line(elapsed: float) -> float:
    return min(max(_LINE_SECONDS, _SHARE * elapsed), _MOST_SECONDS)


def summary_line(progress: LaunchProgress) -> str:
    """`12 of 36 runs done, 22 queued, 2 running; 1 min 10 s, about 2 min 05 s left`."""
    counts = progress.counts
    done = sum(counts[status] for status in FINAL)
    others = counts_in_words(counts, [status for status in RunStatus if status is not RunStatus.DONE])
    left = progress.seconds_left
    time_left = f", about {duration_in_words(left)} left" if left else ""
    middle = "" if others == "no runs" else f", {others}"
    return f"{done} of {progress.total} runs done{middle}; {duration_in_words(progress.elapsed)}{time_left}"


def work_in_words(work: Remaining) -> str:
    """`demo: 24 of 36 runs left to train.`"""
    left, total = len(work.left), len(work.left) + len(work.final)
    later = unsuggested_runs(work.plan)
    more = f", and {count(later, 'run')} that will be suggested" if later else ""
    words = f"{left:,} of {count(total, 'run')} left to train{more}" if left or later else "nothing left to train"
    return f"{work.plan.sweep.name}: {words}."


def standings_in_words(progress: LaunchProgress) -> str:
    """`best validation so far: ERM + GGA 95.1 %, ERM 94.8 %`; empty before the first evaluation, or of one arm."""
    ranked = _ranked(progress)
    if len(ranked) < 2:
        return ""
    shown = ", ".join(f"{arm} {percent(best)} %" for arm, best in ranked[:_NAMED_ARMS])
    more = f" and {count(len(ranked) - _NAMED_ARMS, 'more arm')}" if len(ranked) > _NAMED_ARMS else ""
    return f"best validation so far: {shown}{more}"


def _ranked(progress: LaunchProgress) -> list[tuple[str, float]]:
    """The arms by their best validation score, the highest first."""
    return sorted(dict(progress.best_by_arm).items(), key=lambda of_arm: -of_arm[1])


def _standings(progress: LaunchProgress) -> Table:
    """The arms by their best validation score so far; empty of one arm alone."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("arm", overflow="fold")
    table.add_column("best validation so far", justify="right")
    ranked = _ranked(progress)
    if len(ranked) > 1:
        for arm, best in ranked[:_SHOWN_ARMS]:
            table.add_row(Text(arm), f"{percent(best)} %")
        if len(ranked) > _SHOWN_ARMS:
            table.add_row(f"and {count(len(ranked) - _SHOWN_ARMS, 'more arm')}", "")
    return table


def outlook(progress: LaunchProgress) -> str:
    """The estimate before training: `About 3.2 device-hours left: 48 min 10 s with 4 runs at once.`"""
    seconds = progress.seconds_left
    if seconds is None:
        return "The time left is not known yet: no run is done."
    left = device_time(sum(progress.expected.values()))
    at_once = count(progress.concurrent, "run")
    return f"About {left} left: {duration_in_words(seconds)} with {at_once} at once."
