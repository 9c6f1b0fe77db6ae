"""A sampler that a sweep file names: its faults, and the record of what suggested a cell's draws."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from sweep_content import fault_cases, faults_of, two_arms

from gga_sweep.distributions import Distribution
from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.suggested_draws import check_searcher, keep_suggested, read_searchers
from gga_sweep.records import Cell
from gga_sweep.spec import load
from gga_sweep.spec.models import SweepConfig
from gga_sweep.spec.samplers import CellStudy, make_sampler, searcher_of

NAMED: dict[str, Any] = {"search": "test_samplers:with_seed", "draws": 6, "adaptive": {"n_startup_trials": 3}}
CELL = Cell("RotatedDigits", "ERM", ("75",), 1)


def with_seed(seed: int, sure: bool = True) -> BaseSampler:
    if not sure:
        raise ValueError("must be sure")
    return RandomSampler(seed=seed)


def without_seed() -> BaseSampler:
    return RandomSampler()


def of_any_arguments(**given: Any) -> BaseSampler:
    return RandomSampler(seed=given["seed"])


def no_sampler(seed: int) -> int:
    return seed


class Unable(RandomSampler):
    def sample_independent(self, *args: Any, **kwargs: Any) -> Any:
        raise ModuleNotFoundError("No module named 'cmaes'")


NUMBER = 3

REFUSED = fault_cases("""
{search: optuna}
    -> search: must be one of random, grid, tpe, tpe-pooled, or module:attribute of an Optuna sampler, got 'optuna'
{search: "no_such_module:Sampler"}
    -> search: cannot import it: No module named 'no_such_module', got 'no_such_module:Sampler'
{search: "test_samplers:Missing"}
    -> search: cannot import it: module 'test_samplers' has no attribute 'Missing', got 'test_samplers:Missing'
{search: "test_samplers:NUMBER"}
    -> search: must be an Optuna sampler: a subclass of optuna.samplers.BaseSampler, or a function that returns one, got
    'test_samplers:NUMBER'
{search: "collections:OrderedDict"}
    -> search: must be an Optuna sampler: a subclass of optuna.samplers.BaseSampler, or a function that returns one, got
    'collections:OrderedDict'
{search: "test_samplers:no_sampler"}
    -> search: must be an Optuna sampler: a subclass of optuna.samplers.BaseSampler, or a function that returns one, got
    'test_samplers:no_sampler, which returned 0'
{search: "test_samplers:without_seed"}
    -> search: must have an argument `seed`: without it, the same results would not give the same suggestions, got
    'test_samplers:without_seed'
{search: "test_samplers:Unable"}
    -> search: cannot suggest a draw of this search space: No module named 'cmaes', got 'test_samplers:Unable'
{adaptive: {n_startup_trials: 3, arguments: {size: 4}}}
    -> adaptive.arguments.size: no argument of test_samplers:with_seed, got 4
{adaptive: {n_startup_trials: 3, arguments: {seed: 4}}}
    -> adaptive.arguments.seed: is set by the sweep, from dataset and trial seed; leave it out, got 4
{adaptive: {n_startup_trials: 3, arguments: {sure: false}}}
    -> adaptive.arguments: test_samplers:with_seed refuses them: must be sure, got {'sure': False}
{search: tpe, adaptive: {n_startup_trials: 3, arguments: {sure: true}}}
    -> adaptive.arguments: needs `search: module:attribute`, whose arguments they are, got {'sure': True}
{draws: 3}
    -> draws: must exceed the random draws at the start, adaptive.n_startup_trials 3, got 3
{search_space: {}}
    -> search_space: test_samplers:with_seed needs something to search in the arm 'ERM'
{selection: [leave-one-domain-out]}
    -> selection: leave-one-domain-out needs the same draws with other test domains, which test_samplers:with_seed does
    not make
""")


@pytest.mark.parametrize(("changes", "expected"), REFUSED)
def test_what_is_no_usable_sampler_is_refused(changes: dict[str, Any], expected: str) -> None:
    assert expected in faults_of(two_arms(**{**NAMED, **changes}))


def config_of(**changes: Any) -> SweepConfig:
    return load(two_arms(**{**NAMED, **changes})).config


@pytest.mark.parametrize(
    "name", ["test_samplers:with_seed", "test_samplers:of_any_arguments", "optuna.samplers:TPESampler"]
)
def test_classes_and_functions_are_seeded(name: str) -> None:
    def first(seed: int) -> float:
        study = optuna.create_study(sampler=make_sampler(config_of(search=name), seed))
        return study.ask().suggest_float("x", 0, 1)

    assert first(2**62 + 1) == first(2**62 + 1)
    assert first(2**62 + 1) != first(2**62 + 2)


def test_the_record_of_a_suggestion_names_its_searcher(tmp_path: Any) -> None:
    config, ledger = config_of(adaptive={"n_startup_trials": 3, "arguments": {"sure": True}}), Ledger(tmp_path)
    check_searcher(ledger, config)
    keep_suggested(ledger, CELL, {3: {"lr": 2e-3}}, searcher_of(config))
    (stored,) = read_searchers(ledger)
    assert (stored.search, stored.optuna) == ("test_samplers:with_seed", optuna.__version__)
    assert (stored.arguments, len(stored.source)) == ({"sure": True}, 32)
    check_searcher(ledger, config)


def test_another_version_of_optuna_is_refused_within_a_cell(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for search in ("tpe", "test_samplers:with_seed"):
        config, ledger = config_of(search=search), Ledger(tmp_path / search[:3])
        keep_suggested(ledger, CELL, {3: {"lr": 2e-3}}, searcher_of(config))
        with monkeypatch.context() as patched:
            patched.setattr(importlib.metadata, "version", lambda name: "3.0")
            with pytest.raises(InputError) as raised:
                check_searcher(ledger, config)
        assert f"with Optuna {optuna.__version__}, and others would be suggested by {search}" in str(raised.value)
        assert f"with Optuna 3.0: install optuna=={optuna.__version__}, or give" in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"search": "tpe"},
        {"search": "optuna.samplers:RandomSampler"},
        {"adaptive": {"n_startup_trials": 3, "arguments": {"sure": True}}},
    ],
)
def test_another_sampler_is_refused_within_a_cell(changes: dict[str, Any], tmp_path: Any) -> None:
    ledger = Ledger(tmp_path)
    keep_suggested(ledger, CELL, {3: {"lr": 2e-3}}, searcher_of(config_of()))
    with pytest.raises(InputError, match=r"the draws so far were suggested by test_samplers:with_seed .* a new name"):
        check_searcher(ledger, config_of(**changes))
    check_searcher(ledger, config_of(search="random", adaptive=None))


def test_another_source_of_a_sampler_is_refused_within_a_cell(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = "from optuna.samplers import RandomSampler\ndef made(seed):\n    return RandomSampler(seed=seed)\n"
    (tmp_path / "own_sampler.py").write_text(source)
    config, ledger = config_of(search="own_sampler:made"), Ledger(tmp_path / "ledger")
    keep_suggested(ledger, CELL, {3: {"lr": 2e-3}}, searcher_of(config))
    check_searcher(ledger, config)
    (tmp_path / "own_sampler.py").write_text(source + "\n")
    with pytest.raises(InputError, match=r"of the source [0-9a-f]{8} with Optuna"):
        check_searcher(ledger, config)


def test_a_study_logs_nothing_and_leaves_the_verbosity_of_optuna_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        study = CellStudy({"lr": Distribution(loguniform=(1e-3, 1e-1))}, optuna.samplers.RandomSampler(seed=0))
        study.tell(study.ask(), 0.5, None)
        study.abandon(study.ask())
        study.add({"lr": 0.01}, 0.25)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")
