"""The methods by name: which exist, and what is said of those that peek."""

from __future__ import annotations

from typing import get_args

import pytest
from selection_records import evaluation, run, run_of, view

from gga_sweep.selection import DEFAULT_METHOD, METHODS, Method, build_table, select
from gga_sweep.spec import models as config


def test_the_methods_are_those_that_a_sweep_file_may_name() -> None:
    assert tuple(METHODS) == get_args(config.SelectionMethod)
    assert next(iter(METHODS)) == DEFAULT_METHOD == "training-domain-validation"


def test_the_methods_that_peek_say_so() -> None:
    assert [name for name, method in METHODS.items() if method.peeks is not None] == ["oracle", "shared-draw"]


@pytest.mark.parametrize("method", METHODS)
def test_a_table_carries_the_name_of_its_method(method: str) -> None:
    table = build_table(view([run()]), method)
    assert (table.method, table.method_label) == (method, METHODS[method].label)


def test_a_title_names_every_method_but_the_usual_one() -> None:
    titles = {name: build_table(view([run()]), name).title for name in METHODS}
    assert titles.pop(DEFAULT_METHOD) == "small: accuracy (%) by test domain of PACS"
    for name, title in titles.items():
        assert title == f"small: accuracy (%) by test domain of PACS, selected by {METHODS[name].label}"


@pytest.mark.parametrize("test", [{}, {"sketch": (1.0, 1.0)}])
def test_the_oracle_cannot_select_a_run_whose_last_record_lacks_a_test_domain(
    test: dict[str, tuple[float, float]],
) -> None:
    assert select([run_of([evaluation(0, {"photo": 0.5}, test)], test_domains=("art", "sketch"))], "oracle") == ()


@pytest.mark.parametrize("method", [method for method in METHODS.values() if method.peeks is None])
def test_a_method_that_never_looks_at_a_test_domain_needs_no_accuracy_there(method: Method) -> None:
    blind = run_of([evaluation(0, {"photo": 0.5, "sketch": 0.5}, {})], test_domains=("art",))
    pairs = [
        run_of([evaluation(0, {other: 0.5}, {left_out: 0.5})], test_domains=("art", left_out))
        for left_out, other in (("photo", "sketch"), ("sketch", "photo"))
    ]
    assert [one.key for one in select([blind], method.name, pair_records=pairs)] == [blind.key]
