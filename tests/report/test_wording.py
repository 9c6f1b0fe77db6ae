"""Numbers and counts in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from gga_sweep.records import RunStatus
from gga_sweep.report.wording import (
    ABSENT,
    column_heads,
    count,
    counts_in_words,
    device_time,
    difference_in_words,
    domains_in_words,
    draws_in_words,
    duration_in_words,
    entry_in_words,
    gain_in_words,
    p_in_words,
    percent,
    points,
    time_in_words,
    unit_for,
)
from gga_sweep.selection import Table
from gga_sweep.selection.seed_statistics import estimate
from gga_sweep.selection.table import summarize


@pytest.mark.parametrize(
    ("values", "incomplete", "words"),
    [
        ([0.1, 0.2, 0.3], False, "20.0 ± 4.7"),
        ([0.1, 0.2, 0.3], True, "20.0 ± 4.7*"),
        ([0.1, 0.3, math.nan], False, "20.0 ± 7.1 (2/3)*"),
        ([0.2, math.nan], False, "20.0 (1/2)*"),
        ([0.2], False, "20.0"),
        ([math.nan, math.nan], False, f"{ABSENT} (0/2)*"),
        ([1.0, 1.0], False, "100.0 ± 0.0"),
    ],
)
def test_an_entry_has_its_mean_its_error_and_what_is_missing(values: list[float], incomplete: bool, words: str) -> None:
    assert entry_in_words(summarize(values, incomplete=incomplete)) == words


@pytest.mark.parametrize(
    ("in_words", "value", "words"),
    [
        (percent, 0.84749, "84.7"),
        (percent, math.nan, ABSENT),
        (points, 0.00724, "+0.72"),
        (points, -0.1, "-10.00"),
        (points, -0.00001, "+0.00"),
        (points, math.nan, ABSENT),
        (p_in_words, 0.0312, "0.031"),
        (p_in_words, 0.0004, "<0.001"),
        (p_in_words, 1, "1.000"),
        (p_in_words, math.nan, ABSENT),
        (time_in_words, 12345.6, "12,346"),
        (time_in_words, 34.52, "34.5"),
        (time_in_words, 8.031, "8.03"),
        (time_in_words, 0.0, "0.00"),
        (time_in_words, math.nan, ABSENT),
        (duration_in_words, 0, "0 s"),
        (duration_in_words, 42.4, "42 s"),
        (duration_in_words, 59.6, "1 min 00 s"),
        (duration_in_words, 185, "3 min 05 s"),
        (duration_in_words, 3599.6, "1 h 00 min"),
        (duration_in_words, 7800, "2 h 10 min"),
        (duration_in_words, 86399, "23 h 59 min"),
        (duration_in_words, 86400, "1 d 00 h"),
        (duration_in_words, 100800, "1 d 04 h"),
        (lambda n: count(n, "cell"), 0, "0 cells"),
        (lambda n: count(n, "cell"), 1, "1 cell"),
        (lambda n: count(n, "cell"), 240000, "240,000 cells"),
        (lambda n: count(n, "prefix"), 0, "0 prefixes"),
        (lambda n: count(n, "prefix"), 1, "1 prefix"),
    ],
)
def test_a_number_in_words(in_words: Callable[[float], str], value: float, words: str) -> None:
    assert in_words(value) == words


def test_an_estimate_has_its_interval_where_there_is_one() -> None:
    assert gain_in_words(estimate([0.003, 0.004, 0.005])) == "+0.004 [0.0015, 0.0065]"
    assert gain_in_words(estimate([-0.004])) == "-0.004"
    assert gain_in_words(estimate([])) == ABSENT
    assert difference_in_words(estimate([0.03, 0.04, 0.05])) == "+4.00 [1.52, 6.48]"
    assert difference_in_words(estimate([-0.04])) == "-4.00"


def test_counts_leave_out_a_status_without_runs() -> None:
    some = {RunStatus.DONE: 12, RunStatus.OUT_OF_MEMORY: 1, RunStatus.QUEUED: 22, RunStatus.FAILED: 0}
    assert counts_in_words(some) == "22 queued, 12 done, 1 out of memory"
    assert counts_in_words(some, [RunStatus.FAILED]) == "no runs"


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [
        ([], "device-seconds"),
        ([119.9, 12.0], "device-seconds"),
        ([7199.9, 120.0], "device-minutes"),
        ([12.0, 7200.0], "device-hours"),
        ([math.nan, 8000.0], "device-hours"),
        ([math.nan], "device-seconds"),
    ],
)
def test_the_unit_of_device_time_is_the_largest_that_the_longest_has_two_of(seconds: list[float], unit: str) -> None:
    assert unit_for(seconds).name == unit


def test_many_test_domains_make_a_head_that_can_be_read() -> None:
    many = tuple(f"{i:03}-{'x' * 90}" for i in range(65))
    assert domains_in_words(many) == f"000-{'x' * 16}+...+064-{'x' * 16} (65 domains)"
    assert domains_in_words(("art", "photo", "sketch")) == "art+photo+sketch"
    assert domains_in_words(many[:1]) == many[0]
    others = (*many[:30], *many[31:])
    columns = many, ("art",), (*others[:-1], "between", others[-1])
    first, art, other, average = column_heads(cast(Table, SimpleNamespace(columns=columns)))
    assert (art, average) == ("art", "Average")
    assert (first, other) == (f"{domains_in_words(many)} #1", f"{domains_in_words(many)} #2")


def test_thousands_of_draws_are_not_listed() -> None:
    assert draws_in_words([0, 1]) == " (draws 0, 1)"
    assert draws_in_words(range(5000)) == " (draws 0, 1, 2, ..., 4999)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(86.0, "86 device-seconds"), (242.0, "4.03 device-minutes"), (4_442_400.0, "1,234 device-hours")],
)
def test_a_device_time_has_its_unit(seconds: float, words: str) -> None:
    assert device_time(seconds) == words
