"""`annealing.diagnose_every`, and diagnostics that use the scores of the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from small_runs import CPU, annealing_of, bits, make_dataset, run_config, train

from gga_sweep.annealing import GGA
from gga_sweep.records import AnnealedStep
from gga_sweep.training import annealed_step as annealed_step_module
from gga_sweep.training.annealed_step import StepModel
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()
DIAGNOSTICS = (
    "fresh_alignment_before",
    "fresh_alignment_after",
    "next_alignment_before",
    "next_alignment_after",
)
WINDOW = {"start_step": 1, "num_steps": 6}
ORIGINS = ("start", "current", "accepted")
FORMS = [
    *(annealing_of(origin=origin, **WINDOW) for origin in ORIGINS),
    annealing_of("released", **WINDOW),
    annealing_of("guided", **WINDOW),
    annealing_of(domain_gradients="layerwise", **WINDOW),
]


def annealed(annealing: GGA, **training: Any) -> tuple[list[AnnealedStep], dict[str, str]]:
    config = run_config(annealing, **training)
    trainer = Trainer(config, DATASET, CPU)
    lines = train(trainer)[1]
    return lines, bits(trainer.state())


@pytest.mark.parametrize(("every", "diagnosed"), [(1, range(1, 7)), (2, (1, 3, 5)), (5, (1, 6)), (9, (1,)), (0, ())])
def test_one_in_so_many_annealed_steps_is_diagnosed_and_nothing_else_changes(every: int, diagnosed: Any) -> None:
    whole, weights = annealed(annealing_of(**WINDOW))
    found, found_weights = annealed(annealing_of(diagnose_every=every, **WINDOW))
    absent = dict.fromkeys(DIAGNOSTICS)
    assert found == [line if line.step in diagnosed else replace(line, **absent) for line in whole]
    assert found_weights == weights
    assert all(line.fresh_gain is line.next_gain is None for line in found if line.step not in diagnosed)
    assert all(line.fresh_gain is not None for line in whole)


def test_the_next_minibatches_are_drawn_at_diagnosed_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counting(StepModel):
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments[-1])
            super().__init__(*arguments)

    monkeypatch.setattr("gga_sweep.training.trainer.StepModel", Counting)
    annealed(annealing_of(diagnose_every=3, **WINDOW))
    assert made == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7]


@pytest.fixture
def without_known_scores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every alignment is measured, although no loss depends on its draw."""

    class Suspicious(StepModel):
        ignores_draws = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]

    with monkeypatch.context() as patch:
        patch.setattr("gga_sweep.training.trainer.StepModel", Suspicious)
        yield


@pytest.mark.parametrize("annealing", FORMS)
def test_scores_known_from_the_search_have_the_bits_of_measured_ones(
    annealing: GGA, request: pytest.FixtureRequest
) -> None:
    hyperparameters = {"dropout": 0.0}
    known = annealed(annealing, hyperparameters=hyperparameters)
    assert any(line.has_moved for line in known[0])
    request.getfixturevalue("without_known_scores")
    assert annealed(annealing, hyperparameters=hyperparameters) == known


@pytest.mark.parametrize(
    ("network", "dropout", "ignores"),
    [
        ("small_runs:linear_featurizer", 0.0, True),
        ("small_runs:linear_featurizer", 0.5, False),
        ("small_runs:batch_norm_featurizer", 0.0, False),  # it has a dropout layer of its own
    ],
)
@pytest.mark.parametrize("how", ["loop", "layerwise"])
def test_a_forward_that_draws_is_noticed(
    network: str, dropout: float, ignores: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    diagnose = annealed_step_module.diagnose

    def watching(outcome: Any, model: StepModel, *arguments: Any) -> Any:
        seen.append(model.ignores_draws)
        return diagnose(outcome, model, *arguments)

    monkeypatch.setattr(annealed_step_module, "diagnose", watching)
    if network.endswith("batch_norm_featurizer") and how == "layerwise":
        how = "loop"
    annealed(annealing_of(domain_gradients=how), network=network, hyperparameters={"dropout": dropout})
    assert seen == [ignores] * 3
