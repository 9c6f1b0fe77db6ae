"""Training step by step: the annealing's window, slices, state, divergence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import CPU, FOREVER, annealing_of, bits, make_dataset, run_config, train, watch_updates

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.datasets import minibatch_indices
from gga_sweep.errors import InputError
from gga_sweep.training import trainer as trainer_module
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.trainer import Trainer, split_dataset

DATASET = make_dataset()


def nan_from_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """From a step on the joint loss is NaN."""
    update, updates = ERM.update, iter(range(1_000_000))

    def breaking(self: ERM, batch: Batch) -> torch.Tensor:
        loss = update(self, batch)
        return loss if next(updates) < step else loss * float("nan")

    monkeypatch.setattr(ERM, "update", breaking)


def test_a_window_of_100_and_101_steps_anneals_steps_100_to_200() -> None:
    annealing = annealing_of(start_step=100, num_steps=101, num_candidates=1)
    config = run_config(annealing, test_domains=("c", "d"), steps=203, evaluate_every=1000)

    _, annealed = train(Trainer(config, DATASET, CPU))

    assert [line.step for line in annealed] == list(range(100, 201))


def test_a_window_may_hold_the_first_and_the_last_step() -> None:
    """The diagnostics of the last step look at minibatches of a step that is never trained."""
    _, annealed = train(Trainer(run_config(annealing_of(start_step=0, num_steps=8)), DATASET, CPU))

    assert [line.step for line in annealed] == list(range(8))


def test_a_slice_ends_at_the_next_evaluation() -> None:
    trainer = Trainer(run_config(annealing_of()), DATASET, CPU)
    slices = [trainer.advance(FOREVER) for _ in range(4)]

    assert [done.record.step for done in slices if done.record is not None] == [0, 3, 6, 7]
    assert [[line.step for line in done.annealed] for done in slices] == [[], [3], [4, 5], []]
    assert trainer.finished
    assert trainer.advance(FOREVER) == trainer_module.Slice()


def test_a_slice_of_no_seconds_is_one_step() -> None:
    trainer = Trainer(run_config(annealing_of()), DATASET, CPU)
    slices = [trainer.advance(0) for _ in range(8)]

    assert trainer.next_step == 8
    assert [done.record is not None for done in slices] == [step in (0, 3, 6, 7) for step in range(8)]
    assert [len(done.annealed) for done in slices] == [int(step in (3, 4, 5)) for step in range(8)]


def test_a_slice_ends_between_two_annealed_steps_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 12 seconds of this clock: 30 are over after the third."""
    clock = SimpleNamespace(seconds=0.0)

    def tick(batch: Batch) -> None:
        clock.seconds += 12

    watch_updates(monkeypatch, tick)
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: clock.seconds))
    trainer = Trainer(run_config(annealing_of(start_step=1, num_steps=7), evaluate_every=100, steps=100), DATASET, CPU)
    trainer.advance(FOREVER)  # the evaluation at step 0
    done = trainer.advance(30)

    assert [line.step for line in done.annealed] == [1, 2, 3]
    assert done.record is None


def test_seconds_are_reported_by_phase() -> None:
    trainer = Trainer(run_config(annealing_of()), DATASET, CPU)
    plain, annealed = trainer.advance(FOREVER), trainer.advance(FOREVER)

    assert set(plain.seconds) == {"training", "evaluation"}
    assert set(annealed.seconds) == {"training", "search", "diagnostics", "evaluation"}
    assert all(seconds > 0 for seconds in annealed.seconds.values())


def test_a_state_holds_all_that_a_step_reads() -> None:
    config = run_config(annealing_of("released"), network="small_runs:batch_norm_featurizer")
    trainer = Trainer(config, DATASET, CPU)
    train(trainer, until=4)
    other = Trainer(config, DATASET, CPU)
    other.load_state(parse_state(dump_state(trainer.state())))
    torch.manual_seed(3)

    assert train(other) == train(trainer)
    assert bits(other.state()) == bits(trainer.state())


def test_a_run_diverges_at_the_first_step_whose_loss_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    nan_from_step(monkeypatch, 5)
    trainer = Trainer(run_config(annealing_of()), DATASET, CPU)

    records, annealed = train(trainer)

    assert [record.step for record in records] == [0, 3]
    assert [line.step for line in annealed] == [3, 4]  # step 5 was searched, but never made
    assert trainer.next_step == 5
    assert trainer.advance(FOREVER).diverged == "the joint loss is nan at step 5"


@pytest.mark.parametrize("seconds", [0, FOREVER])
def test_what_was_annealed_before_a_divergence_does_not_depend_on_slices(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_from_step(monkeypatch, 5)
    _, annealed = train(Trainer(run_config(annealing_of(), evaluate_every=100), DATASET, CPU), seconds=seconds)

    assert [line.step for line in annealed] == [3, 4]


def test_weights_that_overflow_in_the_last_update_are_noticed_by_the_evaluation() -> None:
    config = run_config(hyperparameters={"lr": 1e30}, network="small_runs:batch_norm_featurizer", steps=1)
    trainer = Trainer(config, DATASET, CPU)
    done = trainer.advance(FOREVER)

    assert done.record is None
    assert done.diverged == "the validation loss of a training domain is not finite after step 0"


@pytest.mark.parametrize("evaluate", ["all", "selection"])
def test_one_validation_image_without_a_finite_loss_is_noticed_by_the_evaluation(evaluate: str) -> None:
    broken, config = make_dataset(), run_config(evaluate=evaluate)
    broken.domain("a").images[split_dataset(config, broken)["a"].validation[0]] = float("nan")

    assert Trainer(config, broken, CPU).advance(FOREVER).diverged == (
        "the validation loss of a training domain is not finite after step 0"
    )


@pytest.mark.parametrize("evaluate", ["all", "selection"])
def test_one_training_image_without_a_finite_loss_is_noticed_by_the_step_that_draws_it(evaluate: str) -> None:
    broken, config = make_dataset(), run_config(evaluate=evaluate)
    of_domain = split_dataset(config, broken)["a"].train
    drawn = [minibatch_indices(of_domain, 6, "Small", 0, step=step, domain_name="a") for step in range(3)]
    unseen = next(index for index in drawn[2] if index not in {*drawn[0], *drawn[1]})
    broken.domain("a").images[unseen] = float("nan")
    trainer = Trainer(config, broken, CPU)

    assert trainer.advance(FOREVER).record is not None
    assert trainer.advance(FOREVER).diverged == "the joint loss is nan at step 2"


def test_a_test_domain_alone_cannot_make_a_run_diverge() -> None:
    broken = make_dataset()
    broken.domain("c").images[:] = float("nan")
    records, _ = train(Trainer(run_config(), broken, CPU))

    assert [record.step for record in records] == [0, 3, 6, 7]
    assert np.isnan(records[0].test.domains["c"].validation.loss)
    assert np.isnan(records[0].test.gradient_cosine["c"])


def test_a_domain_too_small_to_be_split_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"each split of domain 'a' \(4 images\), got 0.2"):
        Trainer(run_config(), make_dataset(per_domain=4), CPU)


def test_splits_do_not_depend_on_what_is_held_out() -> None:
    splits = [split_dataset(run_config(test_domains=names), DATASET) for names in (("a",), ("b", "c"))]

    for name in "abcd":
        assert np.array_equal(splits[0][name].train, splits[1][name].train)
        assert np.array_equal(splits[0][name].validation, splits[1][name].validation)
