"""Replaying a sampler: its suggestions are those of a plain Optuna study that lived through the same results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from gga_sweep.distributions import Distribution
from gga_sweep.records import Scalar
from gga_sweep.scheduling import Result
from gga_sweep.scheduling.sampler_search import EndedDraw, SamplerSearch, SuggestedDraw
from gga_sweep.spec.samplers import CellStudy

SPACE = {"lr": Distribution(loguniform=(1e-5, 1e-1)), "norm": Distribution(choice=(1, True, "one"))}
RANDOM: list[dict[str, Scalar]] = [{"lr": 1e-4, "norm": True}, {"lr": 3e-2, "norm": 1}, {"lr": 1e-3, "norm": "one"}]
SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "generations": lambda: NSGAIISampler(population_size=3, seed=5),
    "TPE": lambda: TPESampler(n_startup_trials=2, seed=5),
}


def score(values: dict[str, Scalar]) -> float:
    return 1 - 0.1 * abs(math.log10(float(values["lr"])) + 2) - 0.2 * (values["norm"] == "one")


def stops(draw: int) -> int | None:
    return 100 if draw % 4 == 3 else None


def reference(sampler: BaseSampler, number: int) -> Iterator[dict[str, Scalar]]:
    """One Optuna study, which gets each result before its next suggestion."""
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True),
        "norm": optuna.distributions.CategoricalDistribution((0, 1, 2)),
    }
    choices: tuple[Scalar, ...] = (1, True, "one")
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for draw, values in enumerate(RANDOM):
        given: dict[str, Any] = {"lr": values["lr"], "norm": (1, 0, 2)[draw]}
        result: dict[str, Any] = {"value": score(values)}
        if (step := stops(draw)) is not None:
            result = {"state": optuna.trial.TrialState.PRUNED, "intermediate_values": {step: score(values)}}
        study.add_trial(optuna.trial.create_trial(params=given, distributions=space, **result))
    for draw in range(len(RANDOM), len(RANDOM) + number):
        trial = study.ask(space)
        values = {"lr": trial.params["lr"], "norm": choices[trial.params["norm"]]}
        yield values
        if (step := stops(draw)) is None:
            study.tell(trial, score(values))
        else:
            trial.report(score(values), step)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def told(draw: int, values: dict[str, Scalar]) -> EndedDraw:
    return EndedDraw(draw, values, Result(values, score(values), stops(draw)))


def searched(sampler: Callable[[], BaseSampler], number: int, restarts: bool) -> list[dict[str, Scalar]]:
    def new() -> SamplerSearch:
        return SamplerSearch(lambda: CellStudy(SPACE, sampler()))

    search, suggested = new(), []
    history: list[SuggestedDraw | EndedDraw] = [told(draw, values) for draw, values in enumerate(RANDOM)]
    for draw in range(len(RANDOM), len(RANDOM) + number):
        history.append(SuggestedDraw(draw))
        suggested.append((new() if restarts else search).suggest(history))
        history.append(told(draw, suggested[-1]))
    return suggested


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_suggestions_are_those_of_one_optuna_study(name: str, restarts: bool) -> None:
    assert searched(SAMPLERS[name], 10, restarts) == [*reference(SAMPLERS[name](), 10)]


def test_a_failed_draw_and_one_of_other_values_count_as_what_they_are() -> None:
    search = SamplerSearch(lambda: CellStudy(SPACE, SAMPLERS["TPE"]()))
    other: dict[str, Scalar] = {"lr": 2e-2, "norm": True}
    outside: dict[str, Scalar] = {"lr": 0.0, "norm": True}
    history: list[SuggestedDraw | EndedDraw] = [
        EndedDraw(0, outside, Result(outside, 0.5)),
        SuggestedDraw(1),
        SuggestedDraw(2),
        EndedDraw(1, other, None),
        told(2, other),
    ]
    search.suggest([*history, SuggestedDraw(3)])
    trials = search._study.study.trials
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "COMPLETE", "RUNNING"]
    assert trials[2].params == {"lr": 2e-2, "norm": 1}


def test_another_history_starts_the_replay_anew() -> None:
    def first_of(result: Result | None) -> list[SuggestedDraw | EndedDraw]:
        return [EndedDraw(0, RANDOM[0], result), SuggestedDraw(1)]

    search = SamplerSearch(lambda: CellStudy(SPACE, SAMPLERS["TPE"]()))
    search.suggest(first_of(None))
    search.suggest(first_of(Result(RANDOM[0], 0.5)))
    assert [trial.state.name for trial in search._study.study.trials] == ["COMPLETE", "RUNNING"]
