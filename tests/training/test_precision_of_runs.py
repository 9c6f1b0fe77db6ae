"""Runs in reduced precision: their updates and evaluations are, their annealing and diagnostics are not.

TF32 is emulated by a network that rounds where convolutions may; bfloat16 is computed on the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_runs import CPU, FOREVER, annealing_of, bits, make_dataset, run_config, train, trained

from gga_sweep.annealing import GGA, GGAL
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.fingerprint import arithmetic
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()
reduced = pytest.mark.parametrize("precision", ["tf32", "bfloat16"])


def config_of(precision: str, annealing: GGA | GGAL | None = None, **training: Any) -> RunSpec:
    network = "small_runs:rounding_featurizer"
    return run_config(annealing, **{"network": network, "precision": precision, **training})


def fourth_step(precision: str, annealing: GGA | GGAL, **training: Any) -> tuple[Any, dict[str, str]]:
    """The line of step 3, made from the weights that float32 has there, and the bits of the weights after it."""
    before = trained(config_of("float32", annealing, **training), DATASET, until=3)
    trainer = Trainer(config_of(precision, annealing, **training), DATASET, CPU)
    trainer.load_state(parse_state(dump_state(before.state())))
    (line,) = trainer.advance(0).annealed
    return line, bits(trainer.algorithm.state_dict())


@pytest.mark.parametrize("variant", ["paper", "released", "guided"])
@pytest.mark.parametrize(
    ("precision", "method", "network"),
    [
        ("tf32", "loop", "small_runs:rounding_featurizer"),
        ("bfloat16", "loop", "small_runs:linear_featurizer"),
        ("bfloat16", "layerwise", "small_runs:linear_featurizer"),
    ],
)
def test_the_annealing_decides_and_is_diagnosed_in_float32(
    precision: str, method: str, network: str, variant: str
) -> None:
    annealing = annealing_of(variant, num_candidates=8, domain_gradients=method)
    exact, exact_weights = fourth_step("float32", annealing, network=network)
    line, weights = fourth_step(precision, annealing, network=network)

    assert exact.accepted
    # to the bit, apart from the length of the update that follows
    assert replace(line, moved_updates=0.0) == replace(exact, moved_updates=0.0)
    assert weights != exact_weights


@reduced
def test_the_disagreement_that_scales_gga_l_is_measured_in_float32(precision: str) -> None:
    exact, _ = fourth_step("float32", GGAL(gamma=0.1))
    line, _ = fourth_step(precision, GGAL(gamma=0.1))
    assert (line.mean_cosine, line.alpha, line.noise_norm) == (exact.mean_cosine, exact.alpha, exact.noise_norm)
    assert line.gradient_norm != exact.gradient_norm


@reduced
def test_evaluations_have_the_precision_and_the_agreement_of_gradients_is_float32(precision: str) -> None:
    trainer = trained(config_of("float32"), DATASET)
    exact = trainer._evaluator.evaluate(trainer.algorithm, 7, 0.0)
    trainer.algorithm.precision = precision  # type: ignore[assignment]
    found = trainer._evaluator.evaluate(trainer.algorithm, 7, 0.0)

    assert found.validation.agreement == exact.validation.agreement
    assert found.test.gradient_cosine == exact.test.gradient_cosine
    assert found.validation.loss != exact.validation.loss
    assert found.validation.loss == pytest.approx(exact.validation.loss, rel=0.01)


@reduced
def test_an_evaluation_for_selection_has_the_scores_of_a_whole_one(precision: str) -> None:
    whole, short = (
        train(Trainer(config_of(precision, evaluate=evaluate), DATASET, CPU))[0] for evaluate in ("all", "selection")
    )
    for one, other in zip(whole, short, strict=True):
        assert other.validation.loss == one.validation.loss
        for name, scores in other.test.domains.items():
            assert scores.train == one.test.domains[name].train


@reduced
def test_slices_and_resumptions_change_no_bit(precision: str) -> None:
    config = config_of(precision, annealing_of())
    whole = Trainer(config, DATASET, CPU)
    expected = train(whole)
    sliced = Trainer(config, DATASET, CPU)
    first = train(sliced, until=4, seconds=0)
    other = Trainer(config, DATASET, CPU)
    other.load_state(parse_state(dump_state(sliced.state())))
    rest = train(other)

    assert tuple(one + two for one, two in zip(first, rest, strict=True)) == expected
    assert bits(other.state()) == bits(whole.state())
    assert bits(whole.state()) != bits(trained(config_of("float32", annealing_of()), DATASET).state())


def test_tf32_changes_no_bit_on_a_cpu() -> None:
    network = "small_runs:batch_norm_featurizer"
    exact, found = (trained(config_of(name, network=network), DATASET) for name in ("float32", "tf32"))
    assert bits(found.state()) == bits(exact.state())


@reduced
def test_a_process_is_as_it_was_after_a_run(precision: str) -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.get_num_threads(),
            torch.is_autocast_enabled("cpu"),
            torch.is_autocast_enabled("cuda"),
            torch.is_autocast_cache_enabled(),
        )

    before = settings()
    with arithmetic(1):
        Trainer(config_of(precision), DATASET, CPU).advance(FOREVER)
        assert not torch.backends.cudnn.allow_tf32
    assert settings() == before
