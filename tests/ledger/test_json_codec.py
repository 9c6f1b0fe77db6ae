"""The ledger's JSON: values are read as they were written, and equal values give equal bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_strategies import annealed_steps, noisy_steps, records

from gga_sweep.ledger.json_codec import dump, dump_lines, parse_annealed, parse_records, parse_timings
from gga_sweep.records import (
    Agreement,
    AnnealingLine,
    DomainScores,
    Record,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)


def same(one: Any, other: Any) -> bool:
    """Equal in type, value, sign and order, with NaN equal to itself."""
    return repr(one) == repr(other)


@settings(max_examples=60, deadline=None)
@given(st.lists(records, max_size=3))
def test_records_are_read_as_they_were_written(given_records: list[Record]) -> None:
    content = dump_lines(given_records)
    back = parse_records(content)
    assert same(back, tuple(given_records))
    assert dump_lines(back) == content
    assert content.count(b"\n") == len(given_records)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(annealed_steps, noisy_steps), max_size=3))
def test_annealed_steps_of_either_method_are_read_as_they_were_written(steps: list[AnnealingLine]) -> None:
    assert same(parse_annealed(dump_lines(steps)), tuple(steps))


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\x1cb", "a\nb", "a\r\nb", "größer", "\U0001f600"])
def test_domain_name_may_contain_any_character(name: str) -> None:
    assert parse_timings(dump_lines([{"seconds": {name: 1.0}}, {"seconds": {name: 2.0}}])) == ({name: 3.0}, 0.0)


def test_missing_file_has_no_lines() -> None:
    assert parse_timings(None) == parse_timings(b"") == ({}, 0.0)
    assert parse_records(None) == parse_annealed(None) == ()


@pytest.mark.parametrize("line", [b'{"seconds":{"training":1', b"\xff", b"{}", b'{"seconds":{"training":"long"}}'])
def test_broken_line_of_seconds_is_skipped(line: bytes) -> None:
    whole = dump_lines([{"seconds": {"training": 2.0}}])
    assert parse_timings(whole + line + b"\n" + whole) == ({"training": 4.0}, 0.0)


def test_only_the_last_line_of_inherited_seconds_counts() -> None:
    own, inherited = {"seconds": {"training": 2.0}, "inherited": False}, {"training": 8.0, "evaluation": 1.0}
    lost = {"seconds": {"training": 5.0}, "inherited": True}
    lines = dump_lines([lost, own, {"seconds": inherited, "inherited": True}, own])
    assert parse_timings(lines) == ({"training": 12.0, "evaluation": 1.0}, 9.0)


@pytest.mark.parametrize("line", [b'{"step":1', b'{"step":1}', b'{"validation":{},"test":{}}', b"[]"])
def test_line_without_a_record_is_refused(line: bytes) -> None:
    for parse in (parse_records, parse_annealed):
        with pytest.raises(ValueError, match=r"truncated|missing required|Expected `object`"):
            parse(line)


def test_domains_keep_their_order() -> None:
    score = Score(0.5, 1.0)
    for order in (["75", "0", "15"], ["0", "15", "75"]):
        given_domains = {name: DomainScores(score, score) for name in order}
        record = Record(
            ValidationRecord(0, given_domains, 1.0, Agreement((), (), 0.0, 0.0), Agreement((), (), 0.0, 0.0)),
            TestRecord(dict(reversed(given_domains.items())), {}),
        )
        [back] = parse_records(dump_lines([record]))
        assert list(back.validation.domains) == order
        assert list(back.test.domains) == order[::-1]


def test_lines_are_valid_json() -> None:
    text = dump({"b": (1, 2.5, None, True), "a": {"nan": math.nan, "inf": [math.inf, -math.inf]}, "s": "ä"})
    assert text == '{"b":[1,2.5,null,true],"a":{"nan":"nan","inf":["inf","-inf"]},"s":"ä"}'
    assert json.loads(text, parse_constant=pytest.fail)["b"] == [1, 2.5, None, True]


def test_status_is_written_as_its_name() -> None:
    assert dump({"status": RunStatus.OUT_OF_MEMORY}) == '{"status":"OUT_OF_MEMORY"}'


@settings(max_examples=50, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_is_written_in_full(number: float) -> None:
    assert float(json.loads(dump(number))) == number
    assert dump(np.float64(number)) == dump(number)
