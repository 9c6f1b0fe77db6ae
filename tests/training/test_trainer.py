"""Training step by step: the annealing's window, slices, state, divergence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import CPU, FOREVER, annealing_of, bits, make_dataset, run_config, train, watch_updates

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.annealing import GGAL
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


def test_no_line_of_gga_l_is_left_from_the_step_that_diverges_on(monkeypatch: pytest.MonkeyPatch) -> None:
    nan_from_step(monkeypatch, 5)
    trainer = Trainer(run_config(GGAL(gamma=0.1), evaluate_every=100), DATASET, CPU)
    trainer.advance(FOREVER)
    done = trainer.advance(FOREVER)

    assert [line.step for line in done.annealed] == [1, 2, 3, 4]
    assert (done.diverged, trainer.next_step) == ("the joint loss is nan at step 5", 5)


def test_an_error_after_a_loss_that_is_not_finite_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read later than the next update is made."""
    nan_from_step(monkeypatch, 5)
    updates = iter(range(100))

    def break_at_step_6(batch: Batch) -> None:
        if next(updates) == 6:
            raise ZeroDivisionError

    watch_updates(monkeypatch, break_at_step_6)
    trainer = Trainer(run_config(evaluate_every=100), DATASET, CPU)
    trainer.advance(FOREVER)

    assert trainer.advance(FOREVER).diverged == "the joint loss is nan at step 5"


def test_an_error_after_finite_losses_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    watch_updates(monkeypatch, lambda batch: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        Trainer(run_config(), DATASET, CPU).advance(FOREVER)


@pytest.mark.parametrize(
    ("annealing", "seconds", "expected"),
    [
        (None, FOREVER, [0, 3, 3, 3, 6, 6, 6, 7]),
        (None, 0, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("paper", FOREVER, [0, 2, 2, 3, 4, 6, 6, 7]),  # before the searches of steps 3, 4 and 5
    ],
)
def test_losses_are_read_at_the_end_of_a_slice_or_before_a_search(
    annealing: str | None, seconds: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`expected`: of each loss, the step that was the last one made when it was read."""
    update, read = ERM.update, []

    class Watched(torch.Tensor):
        def __float__(self) -> float:
            read.append(trainer.next_step - 1)
            return super().__float__()

    monkeypatch.setattr(ERM, "update", lambda self, batch: update(self, batch).as_subclass(Watched))
    settings = None if annealing is None else annealing_of(annealing)
    trainer = Trainer(run_config(settings), DATASET, CPU)
    train(trainer, seconds=seconds)

    assert read == expected


def test_a_loss_is_recorded_as_it_was_at_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """An algorithm may return the same tensor at every step."""
    kept, update = torch.zeros(()), ERM.update
    expected = [record.validation.batch_loss for record in train(Trainer(run_config(), DATASET, CPU))[0]]
    steps = []

    def returning_one_tensor(self: ERM, batch: Batch) -> torch.Tensor:
        loss = kept.copy_(update(self, batch))
        steps.append(float(loss))
        return loss

    monkeypatch.setattr(ERM, "update", returning_one_tensor)
    records, _ = train(Trainer(run_config(), DATASET, CPU))

    assert [record.validation.batch_loss for record in records] == expected == [steps[step] for step in (0, 3, 6, 7)]


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
