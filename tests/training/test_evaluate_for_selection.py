"""`training.evaluate: selection` measures less, and changes nothing that it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from small_runs import CPU, FOREVER, annealing_of, bits, make_dataset, run_config, train

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import AnnealingLine, Record
from gga_sweep.selection.choice import highest_step
from gga_sweep.spec.counted_work import evaluated_images
from gga_sweep.spec.models import RunSpec
from gga_sweep.training import evaluation as evaluation_module
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()  # four domains of 30 images; `c` is held out
EVALUATED = [0, 2, 4, 6, 8, 10, 11]


def config_of(evaluate: str, name: str = "ERM", annealing: GGA | GGAL | None = None, **training: Any) -> RunSpec:
    own = {key: item.default for key, item in ALGORITHMS[name].own.items()}
    if isinstance(annealing, GGA) and not ALGORITHMS[name].splits_by_layer:
        annealing = replace(annealing, domain_gradients="loop")
    settings = {
        "network": "small_runs:linear_featurizer",
        "steps": 12,
        "evaluate_every": 2,
        "evaluate": evaluate,
        **training,
    }
    return run_config(annealing, algorithm=name, hyperparameters={**own, "batch_size": 4}, **settings)


def finished(config: RunSpec) -> tuple[dict[str, str], list[Record], list[AnnealingLine]]:
    trainer = Trainer(config, DATASET, CPU)
    records, annealed = train(trainer)
    return bits(dict(trainer.algorithm.state_dict())), records, annealed


@cache
def whole(annealing: GGA | GGAL | None) -> list[Record]:
    return finished(config_of("all", annealing=annealing))[1]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_training_and_every_score_that_is_measured_are_those_of_a_whole_evaluation(name: str) -> None:
    annealing = annealing_of(num_candidates=1, diagnose_every=0)
    (weights, records, annealed), (found_weights, found, found_annealed) = (
        finished(config_of(evaluate, name, annealing, network="small-cnn", steps=6))
        for evaluate in ("all", "selection")
    )

    assert found_weights == weights
    assert found_annealed == annealed
    assert [record.step for record in found] == [0, 2, 4, 5]
    for record, expected in zip(found, records, strict=True):
        for domain, scores in record.validation.domains.items():
            assert scores.train is None
            assert scores.validation == expected.validation.domains[domain].validation
        assert record.validation.accuracy == expected.validation.accuracy
        assert record.validation.batch_loss == expected.validation.batch_loss
        assert record.validation.agreement is record.validation.validation_agreement is None
        for domain, scores in record.test.domains.items():
            assert scores.train == expected.test.domains[domain].train
    last = found[-1].test.domains["c"]
    assert last == records[-1].test.domains["c"]
    assert all(record.test.domains["c"].validation is None for record in found[:-1] if record.test.domains)


@pytest.mark.parametrize("annealing", [annealing_of("released"), annealing_of("guided"), GGAL(), None])
@pytest.mark.parametrize("selected_from", [0, 6])
def test_wherever_a_run_ends_its_selected_step_has_the_reported_accuracy(
    annealing: GGA | GGAL | None, selected_from: int
) -> None:
    """As of a run that diverges or is stopped early after any of its evaluations."""
    records = whole(annealing)
    config = config_of("selection", annealing=annealing).model_copy(update={"selected_from": selected_from})
    _, found, _ = finished(config)
    for end in range(1, len(records) + 1):
        for first in {0, selected_from}:
            best = highest_step(
                (record.step, record.validation.accuracy) for record in records[:end] if record.step >= first
            )
            if best is not None:
                at = EVALUATED.index(best.step)
                assert found[at].test.domains["c"].train == records[at].test.domains["c"].train


def test_steps_that_cannot_be_selected_have_no_test_scores() -> None:
    records = whole(annealing_of())
    _, found, _ = finished(config_of("selection", annealing=annealing_of()))
    best, expected = -1.0, []
    for record in records:
        if record.validation.accuracy > best or record.step == 11:
            expected.append(record.step)
        best = max(best, record.validation.accuracy)
    assert [record.step for record in found if record.test.domains] == expected
    assert len(expected) < len(EVALUATED)
    assert all(record.test.gradient_cosine == {} for record in found)


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_candidates_follow_the_metric(metric: str) -> None:
    records = whole(annealing_of())
    _, found, _ = finished(config_of("selection", annealing=annealing_of()).model_copy(update={"metric": metric}))
    best, expected = -1.0, []
    for record in records:
        if record.validation.validation_mean(metric) > best or record.step == 11:
            expected.append(record.step)
        best = max(best, record.validation.validation_mean(metric))
    tested = [record.step for record in found if record.test.domains]
    assert tested == expected
    assert len(expected) < len(EVALUATED)
    _, by_accuracy, _ = finished(config_of("selection", annealing=annealing_of()))
    assert tested != [record.step for record in by_accuracy if record.test.domains]


def test_the_images_are_counted_as_they_are_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    forwarded: list[int] = []

    def count(make: Callable[..., Any], size: Callable[[Any], int]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            made = make(*arguments, **named)
            forwarded.append(size(made))
            return made

        return counting

    probes = count(evaluation_module.evaluation_batch, lambda batch: len(batch.labels))
    splits = count(evaluation_module.evaluation_reading, len)
    monkeypatch.setattr(evaluation_module, "evaluation_batch", probes)
    monkeypatch.setattr(evaluation_module, "evaluation_reading", splits)
    description = DatasetDescription("Small", DATASET.domain_sizes, 3, DATASET.classes, (1, 8, 8), available=True)
    config = config_of("selection")
    _, found, _ = finished(config)
    new_bests = sum(bool(record.test.domains) for record in found[:-1])
    assert sum(forwarded) == evaluated_images(config, description, new_bests=new_bests)
    assert sum(forwarded) == 7 * 3 * 6 + new_bests * 24 + 30

    forwarded.clear()
    config = config_of("all")
    finished(config)
    probe_images = 7 * (3 * (24 + 6) + 24)  # of training domains both splits, of the test domain one
    assert sum(forwarded) == evaluated_images(config, description) + probe_images == 7 * 4 * 30 + probe_images


def test_a_run_resumed_after_any_step_has_the_same_records() -> None:
    config = config_of("selection")
    expected = finished(config)[1]
    for stop in range(1, 12):
        stopped = Trainer(config, DATASET, CPU)
        records, _ = train(stopped, until=stop)
        resumed = Trainer(config, DATASET, CPU)
        resumed.load_state(parse_state(dump_state(stopped.state())))
        while not resumed.finished:
            done = resumed.advance(FOREVER)
            records += [done.record] if done.record else []
        assert records == expected


def test_averaged_weights_are_those_of_a_whole_evaluation_and_have_what_is_reported() -> None:
    averages = []
    for evaluate in ("all", "selection"):
        trainer = Trainer(config_of(evaluate, averaging={"method": "swad", "n_converge": 2}), DATASET, CPU)
        while not trainer.finished:
            done = trainer.advance(FOREVER)
        assert done.averaged is not None
        averages.append(done.averaged)
    expected, found = averages
    assert bits(dict(found.state)) == bits(dict(expected.state))
    assert (found.averaged.first_step, found.averaged.threshold) == (
        expected.averaged.first_step,
        expected.averaged.threshold,
    )
    assert found.averaged.record.validation.accuracy == expected.averaged.record.validation.accuracy
    assert found.averaged.record.test.domains == expected.averaged.record.test.domains
