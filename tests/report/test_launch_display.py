"""The display of a launch: lines in a pipe, a table on a terminal."""

from __future__ import annotations

import io
import itertools
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from small_launch import Clock, estimate_in_seconds, runs_by_key

from gga_sweep.records import RunStatus
from gga_sweep.report import launch_display as display
from gga_sweep.report.launch_display import (
    DecodingDisplay,
    Display,
    default_console,
    outlook,
    standings_in_words,
    summary_line,
)
from gga_sweep.report.waiting import waiting
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.spec import PlannedRun


class Screen:
    """A console that keeps what it shows; as a terminal one without colours."""

    def __init__(self, terminal: bool) -> None:
        self._file = io.StringIO()
        options: dict[str, Any] = {"force_terminal": True, "color_system": None} if terminal else {}
        self.console = Console(file=self._file, width=100, **options)

    @property
    def text(self) -> str:
        return self._file.getvalue()

    def wait_for(self, wanted: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 10
        while not wanted(self.text):
            assert time.monotonic() < deadline, self.text
            time.sleep(0.005)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runs() -> Mapping[str, PlannedRun]:
    return runs_by_key()


def test_the_summary_has_counts_and_times(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    first, second, third, _ = runs
    progress = LaunchProgress(runs, {first: RunStatus.DIVERGED}, clock=clock)
    assert summary_line(progress) == "1 of 4 runs done, 3 queued, 1 diverged; 0 s"
    progress.started(second)
    clock.now += 65
    progress.ended_with(second, RunStatus.DONE)
    progress.started(third)
    assert summary_line(progress) == (
        "2 of 4 runs done, 1 queued, 1 running, 1 diverged; 1 min 05 s, about 2 min 10 s left"
    )


def test_the_time_left_is_shown_until_the_last_run_has_ended(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    first, second, *others = runs
    progress = LaunchProgress(runs, dict.fromkeys(others, RunStatus.DONE), clock=clock)
    progress.started(first)
    clock.now += 30
    progress.ended_with(first, RunStatus.DONE)
    progress.started(second)
    assert summary_line(progress) == "3 of 4 runs done, 1 running; 30 s, about 30 s left"
    progress.ended_with(second, RunStatus.DONE)
    assert summary_line(progress) == "4 of 4 runs done; 30 s"


def test_the_outlook_of_a_launch_is_its_device_hours_and_time_if_known(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    expected = dict(zip(runs, (4000.0, 3000.0, 2000.0, 1800.0), strict=True))
    estimate = estimate_in_seconds(runs)
    progress = LaunchProgress(runs, {}, concurrent=2, estimate=estimate, expected=expected, clock=clock)
    assert outlook(progress) == "About 3 device-hours left: 1 h 30 min with 2 runs at once."
    progress.estimate = None
    assert outlook(progress) == "The time left is not known yet: no run is done."


def test_a_pipe_receives_periodic_lines_and_a_last_one(
    runs: Mapping[str, PlannedRun], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "_LINE_SECONDS", 0.01)
    screen, progress = Screen(terminal=False), LaunchProgress(runs, {}, clock=clock)
    with Display(progress, screen.console):
        screen.wait_for(lambda text: text.count("0 of 4 runs done, 4 queued; 0 s\n") >= 2)
        for key in runs:
            progress.started(key)
            progress.ended_with(key, RunStatus.DONE)
    lines = screen.text.splitlines()
    assert lines[-1] == "4 of 4 runs done; 0 s"
    time.sleep(0.03)
    assert screen.text.splitlines() == lines  # it has ended


def test_the_lines_of_a_long_launch_are_rarer() -> None:
    assert [display.seconds_to_next_line(elapsed) for elapsed in (0, 299, 3600, 86400)] == [15, 15, 180, 600]
    elapsed = lines = 0.0
    while elapsed < 86400:
        elapsed, lines = elapsed + display.seconds_to_next_line(elapsed), lines + 1
    assert lines < 250


def test_a_short_launch_in_a_pipe_prints_the_last_line_alone(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    screen = Screen(terminal=False)
    with Display(LaunchProgress(runs, {}, clock=clock), screen.console):
        pass
    assert screen.text == "0 of 4 runs done, 4 queued; 0 s\n"


def test_a_terminal_shows_the_runs_in_training(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    first, second, third, _ = runs
    screen, progress = Screen(terminal=True), LaunchProgress(runs, {first: RunStatus.DONE}, clock=clock)
    with Display(progress, screen.console):
        progress.reported(second, 4, 0.8125)
        progress.started(third)
        clock.now += 65
        screen.wait_for(lambda text: "1 min 05 s" in text)
    assert re.search(r"run +step +best validation +since", screen.text)
    assert re.search(r"ERM · test 75 · seed 0 · draw 0 +5/7 +81\.2 % +1 min 05 s", screen.text)
    begun = r"ERM \+ GGA, start step 2, num steps 2 · test 0 · seed 0 · draw 0 +0/7 +1 min 05 s"
    assert re.search(begun, screen.text)  # it has no evaluation yet, which is not 0 %
    assert screen.text.splitlines()[-1].endswith(
        "\x1b[2K1 of 4 runs done, 1 queued, 2 running; 1 min 05 s"
    )  # all else is wiped out


def test_a_terminal_counts_the_runs_that_are_not_shown(clock: Clock) -> None:
    many = runs_by_key(trial_seeds=list(range(6)))
    screen, progress = Screen(terminal=True), LaunchProgress(many, {}, clock=clock)
    for key in many:
        progress.started(key)
    with Display(progress, screen.console):
        screen.wait_for(lambda text: "and 8 more" in text)


def test_the_display_also_ends_after_an_error(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    screen = Screen(terminal=False)
    with pytest.raises(RuntimeError, match="the cluster is gone"), Display(LaunchProgress(runs, {}), screen.console):
        raise RuntimeError("the cluster is gone")
    assert "0 of 4 runs done" in screen.text


def test_decoding_prints_periodic_lines_in_a_pipe(clock: Clock) -> None:
    screen = Screen(terminal=False)
    with DecodingDisplay(screen.console, clock) as decoding:
        for done in range(1, 2001):
            decoding.show("decoding art" if done <= 1000 else "decoding photo", done, 2000)
            clock.now += 1 / 64
    assert screen.text.splitlines() == [
        "decoding art: 961 of 2,000 images, about 16 s left",
        "decoding photo: 1,921 of 2,000 images, about 1 s left",
        "Decoded 2,000 images in 31 s.",
    ]


def test_decoding_shows_a_bar_on_a_terminal(clock: Clock) -> None:
    screen = Screen(terminal=True)
    with DecodingDisplay(screen.console, clock) as decoding:
        decoding.show("decoding art", 1, 10)
        decoding.show("decoding photo", 7, 10)
        screen.wait_for(lambda text: "decoding photo" in text and "7/10" in text)
    assert "Decoded 7 images in 0 s." in screen.text


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_is_printed_if_nothing_is_decoded(terminal: bool) -> None:
    screen = Screen(terminal)
    with DecodingDisplay(screen.console):
        pass
    assert screen.text == ""


def test_failed_decoding_prints_no_summary() -> None:
    screen = Screen(terminal=False)
    decoding = DecodingDisplay(screen.console)

    def decode() -> None:
        with decoding:
            decoding.show("decoding art", 1, 10)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        decode()
    assert screen.text == ""


def by_arm(runs: Mapping[str, PlannedRun], *arms: str) -> dict[str, PlannedRun]:
    """The runs under the names of these arms."""
    renamed = zip(runs.items(), itertools.cycle(arms), strict=False)
    return {key: replace(run, cell=replace(run.cell, arm=arm)) for (key, run), arm in renamed}


def test_standings_are_the_best_validation_of_each_arm_the_highest_first(runs: Mapping[str, PlannedRun]) -> None:
    progress = LaunchProgress(by_arm(runs, "ERM", "[GGA]"), {})
    first, second, third, _ = runs
    assert standings_in_words(progress) == ""
    progress.reported(first, 5, 0.9)
    assert standings_in_words(progress) == ""  # of one arm alone
    progress.reported(second, 5, float("nan"))
    progress.reported(second, 9, 0.95)
    progress.reported(first, 9, 0.5)
    progress.ended_with(first, RunStatus.DONE)
    progress.reported(third, 5, 0.91)
    assert standings_in_words(progress) == "best validation so far: [GGA] 95.0 %, ERM 91.0 %"


def test_a_live_table_shows_what_is_waited_for_then_the_standings_within_the_height_of_the_terminal(
    runs: Mapping[str, PlannedRun],
) -> None:
    screen = Screen(terminal=True)
    many = {f"{number}": run for number in range(40) for run in [next(iter(runs.values()))]}
    progress = LaunchProgress(by_arm(many, *(f"arm {number}" for number in range(10))), {})
    with Display(progress, screen.console):
        screen.wait_for(lambda text: "Waiting for the first worker to start" in text)
        for number in range(40):
            progress.reported(f"{number}", 1, number / 100)
        screen.wait_for(lambda text: "arm 9" in text and "and 2 more arms" in text and re.search(r"and 3\d more", text))
    *_, last = re.finditer(r"and 3\d more", screen.text)
    table = screen.text[: last.end()]
    table = table[table.rindex("0 of 40 runs done, ") :]
    assert len(table.splitlines()) <= 25


@pytest.mark.parametrize(("terminal", "said"), [(True, "Starting Ray ..."), (False, "Starting Ray ...\n")])
def test_what_is_waited_for_is_said_at_once(terminal: bool, said: str) -> None:
    screen = Screen(terminal=terminal)
    with waiting(screen.console, "Starting Ray"):
        screen.wait_for(lambda text: said in text)


class Output:
    """An output of a notebook, of which each content is kept."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, content: Any, *, display_id: bool) -> Output:
        assert display_id
        self.update(content)
        return self

    def update(self, content: Any) -> None:
        self.shown.append(content._repr_mimebundle_(None, None)["text/html"])


def test_a_notebook_shows_one_output_that_is_replaced(
    runs: Mapping[str, PlannedRun], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output()
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", output)
    monkeypatch.setattr(display, "_NOTEBOOK_SECONDS", 0.01)
    progress = LaunchProgress(runs, {}, clock=clock)
    first = next(iter(runs))
    with Display(progress, Console(file=io.StringIO(), force_jupyter=True)):
        assert "Waiting for the first worker" in output.shown[0]
        progress.reported(first, 4, 0.8125)
        deadline = time.monotonic() + 10
        while "81.2 %" not in output.shown[-1]:
            assert time.monotonic() < deadline, output.shown[-1]
            time.sleep(0.005)
        for key in runs:
            progress.ended_with(key, RunStatus.DONE)
    assert re.sub("<[^>]*>", "", output.shown[-1]).strip() == "4 of 4 runs done; 0 s"
    count = len(output.shown)
    time.sleep(0.03)
    assert len(output.shown) == count  # it has ended


@pytest.mark.parametrize("in_notebook", [True, False])
def test_progress_is_shown_by_default_in_a_notebook_alone(in_notebook: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: in_notebook)
    assert default_console().quiet is not in_notebook
