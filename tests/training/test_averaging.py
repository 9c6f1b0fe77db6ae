"""SWAD: its valley against the paper's Algorithm 1, its average against numpy, and training that is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_runs import CPU, bits, make_dataset, run_config, train
from torch import nn

from gga_sweep.algorithms.erm import ERM
from gga_sweep.spec.models import AveragingConfig, RunSpec
from gga_sweep.training.averaging import Valley, WeightAveraging, loss_valley
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.evaluation import Evaluator
from gga_sweep.training.trainer import AveragedNetwork, Trainer, split_dataset

DATASET = make_dataset()
LINEAR = "small_runs:linear_featurizer"
LEAKY = "small_runs:batch_norm_featurizer"
LOSSES = st.lists(st.integers(1, 24).map(lambda eighths: eighths / 8), min_size=1, max_size=24)
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 7), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def swad(n_converge: int = 3, n_tolerance: int = 6, tolerance_ratio: float = 0.3) -> AveragingConfig:
    return AveragingConfig(
        method="swad", n_converge=n_converge, n_tolerance=n_tolerance, tolerance_ratio=tolerance_ratio
    )


def algorithm_1(losses: Sequence[float], n_s: int, n_e: int, ratio: float) -> tuple[int, int, float] | None:
    """Cha et al., Algorithm 1, with an evaluation for each of its iterations: t_s, t_e, l."""
    t_s, t_e, limit = -1, len(losses) - 1, None
    for i in range(len(losses)):
        if limit is None:
            latest = losses[i - n_s + 1 : i + 1] if i + 1 >= n_s else []
            if latest and losses[i - n_s + 1] == min(latest):
                t_s, limit = i - n_s + 1, (1 + ratio) * (sum(latest) / n_s)
        elif limit < min(losses[max(0, i - n_e + 1) : i + 1]):
            t_e = i - n_e
            break
    return None if limit is None else (t_s, t_e, limit)


@settings(max_examples=500, deadline=None)
@given(LOSSES, WINDOWS)
def test_the_valley_is_that_of_the_papers_algorithm_with_what_leads_down_into_it(
    losses: list[float], window: tuple[int, int, float]
) -> None:
    n_s, n_e, _ = window
    expected, found = algorithm_1(losses, *window), loss_valley(losses, swad(*window))
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return
    t_s, t_e, limit = expected
    within = [i for i in range(t_s, t_e + 1) if losses[i] <= limit]
    leading = [i for i in range(1, t_s + 1) if t_s - (i - 1) <= n_e - n_s and max(losses[i - 1 : t_s + 1]) <= limit]
    assert (found.first, found.last, found.threshold) == (min([t_s, *leading]), within[-1], limit)
    assert not found.ended or n_e < n_s or found.last == t_e  # the paper's end, where there is one


def released(losses: Sequence[float], n_converge: int, n_tolerance: int, ratio: float) -> set[int] | None:
    """The segments that LossValley of the release takes, whatever they count there; they wait in a queue."""
    limit, queue, taken = 0.0, list[int](), set[int]()
    found = None
    for i in range(len(losses)):
        queue = [*queue, i][-n_tolerance:]
        if found is None:
            candidates = list(range(i - n_converge + 1, i + 1))
            if candidates[0] >= 0 and min(candidates, key=lambda j: losses[j]) == candidates[0]:
                found = candidates[0]
                limit = (1 + ratio) * (sum(losses[j] for j in candidates) / n_converge)
                before = queue[: max(0, n_tolerance - n_converge) + 1]
                above = [place for place, j in enumerate(before) if losses[j] > limit]
                after = candidates[1 : 1 + n_converge - n_tolerance] if n_tolerance < n_converge else []
                taken = {found, *after} if after else {found, *before[above[-1] + 2 if above else 1 :]}
        elif queue[0] >= found:
            if min(losses[j] for j in queue) > limit:
                return taken
            taken.add(queue[0])
    if found is None:
        return None
    while len(queue) > 1 and min(losses[j] for j in queue[1:]) <= limit:
        queue = queue[1:]
        taken.add(queue[0])
    return taken


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), LOSSES)
def test_the_segments_are_those_that_the_release_takes_between_full_queues(
    n_converge: int, more: int, losses: list[float]
) -> None:
    n_tolerance = n_converge + more
    found = loss_valley(losses, swad(n_converge, n_tolerance, 0.25))
    expected = released(losses, n_converge, n_tolerance, 0.25)
    assert (found is None) == (expected is None)
    t_s = (algorithm_1(losses, n_converge, n_tolerance, 0.25) or (-1,))[0]
    if found is not None and more <= t_s <= len(losses) - n_tolerance:
        assert set(range(found.first, found.last + 1)) == expected


@pytest.mark.parametrize(
    ("losses", "window", "ours", "theirs"),
    [
        ([2, 1.5, 1.1, 3, 1.5, 3], (2, 5, 0.3), {1, 2, 3, 4}, {2, 3, 4}),  # found at the fourth of five evaluations
        ([1, 1.5, 3, 3], (3, 1, 0.3), {0, 1}, {0, 1, 2}),  # n_tolerance below n_converge
    ],
)
def test_the_release_departs_from_its_own_rule_where_the_docs_say_so(
    losses: list[float], window: tuple[int, int, float], ours: set[int], theirs: set[int]
) -> None:
    found = loss_valley(losses, swad(*window))
    assert found is not None
    assert set(range(found.first, found.last + 1)) == ours
    assert released(losses, *window) == theirs


def test_a_valley_found_is_never_taken_back() -> None:
    losses = [3, 2, 1, 1.25, 1.25, 1, 3, 1.25, 3, 3, 3, 3, 3, 3, 1]
    known = [loss_valley(losses[:n], swad()) for n in range(1, len(losses) + 1)]
    assert known[:4] == [None] * 4
    threshold = 1.3 * (1 + 1.25 + 1.25) / 3
    lasts = [(one.first, one.last, one.ended) for one in known[4:] if one is not None]
    assert lasts == [*((2, last, False) for last in (4, 5, 5, 7, 7, 7, 7, 7, 7)), (2, 7, True), (2, 7, True)]
    assert all(one is None or one.threshold == pytest.approx(threshold) for one in known)


SLOPE = [4, 2, 1.25, 1.25, 1, 1.25, 1.25, 3, 3, 1, 3, 3, 3]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, (3, 9, False)),
        ({"n_converge": 5}, (4, 9, False)),
        ({"n_tolerance": 3}, (4, 9, True)),
        ({"n_tolerance": 2}, (4, 6, True)),
        ({"tolerance_ratio": 1.0}, (2, 9, False)),
        ({"tolerance_ratio": 0.0}, (4, 9, False)),
    ],
)
def test_each_setting_moves_the_valley(window: dict[str, Any], expected: tuple[int, int, bool]) -> None:
    found = loss_valley(SLOPE, swad(**window))
    assert found is not None
    assert (found.first, found.last, found.ended) == expected


def test_a_loss_that_only_falls_has_no_valley() -> None:
    assert loss_valley([5, 4, 3, 2, 1], swad()) is None
    assert loss_valley([1, 1, 1], swad()) == Valley(0, 2, 1.3, ended=False)
    assert loss_valley([], swad(1)) is None


class Walk:
    """A network of two tensors and a counter that is at another random point after each step."""

    def __init__(self, steps: int) -> None:
        self.network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2, affine=False))
        self.points = np.random.default_rng(steps).normal(size=(steps, 10)).astype(np.float32)

    def go(self, step: int) -> None:
        weight, mean, variance = np.split(self.points[step], [6, 8])
        state = {"0.weight": weight.reshape(2, 3), "1.running_mean": mean, "1.running_var": variance}
        tensors = {name: torch.from_numpy(value) for name, value in state.items()}
        self.network.load_state_dict({**tensors, "1.num_batches_tracked": torch.tensor(step)})


def vector(weights: Any) -> NDArray[np.float64]:
    names = ("0.weight", "1.running_mean", "1.running_var")
    assert set(weights) == set(names)
    return np.concatenate([weights[name].numpy().ravel() for name in names]).astype(np.float64)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(4, 12)), min_size=1, max_size=14), WINDOWS)
def test_the_average_is_the_mean_over_all_steps_of_the_valley(
    segments: list[tuple[int, int]], window: tuple[int, int, float]
) -> None:
    """Segments of any length, each with the loss of the evaluation that ends it."""
    ends, losses = np.cumsum([length for length, _ in segments]), [loss / 8 for _, loss in segments]
    walk, averaging = Walk(int(ends[-1])), WeightAveraging(swad(*window), CPU)
    for step in range(int(ends[-1])):
        walk.go(step)
        averaging.add(walk.network)
        if step + 1 in ends:
            averaging.end_segment(step, losses[int(np.searchsorted(ends, step + 1))])
            assert len(averaging.state()["kept"]) <= max(2, window[0] - 1, window[1] - 2)

    valley = loss_valley(losses, swad(*window))
    first, last = (len(ends) - 1,) * 2 if valley is None else (valley.first, valley.last)
    begin, end = int(ends[first - 1]) if first else 0, int(ends[last])
    found = averaging.average
    assert (found.first_step, found.last_step) == (begin, end - 1)
    expected = walk.points[begin:end].astype(np.float64).mean(axis=0)
    assert vector(found.weights) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    if first == last:
        assert np.array_equal(vector(found.weights), expected.astype(np.float32))  # rounded once


def test_what_never_changes_is_its_own_average_to_the_bit() -> None:
    network, averaging = nn.Linear(7, 5), WeightAveraging(swad(1, 1), CPU)
    for step in range(30):
        averaging.add(network)
        if step % 7 == 0:
            averaging.end_segment(step, 1.0)
    assert averaging.average.steps == 29
    assert bits(averaging.average.weights) == bits(network.state_dict())


@pytest.mark.parametrize("stop", range(12))
def test_an_average_goes_on_from_its_state_with_the_same_bits(stop: int) -> None:
    losses = iter([2, 1, 1.5, 1.25, 1, 4])
    walk, whole, stopped = Walk(12), WeightAveraging(swad(2, 3), CPU), WeightAveraging(swad(2, 3), CPU)
    for step in range(12):
        if step == stop:
            resumed = WeightAveraging(swad(2, 3), CPU)
            resumed.load_state(parse_state(dump_state(stopped.state())))
            stopped = resumed
        walk.go(step)
        loss = next(losses) if step % 2 else None
        for averaging in (whole, stopped):
            averaging.add(walk.network)
            if loss is not None:
                averaging.end_segment(step, loss)
    assert bits(stopped.state()) == bits(whole.state())
    assert bits(stopped.average.weights) == bits(whole.average.weights)


def config_of(averaging: object = "swad", network: str = LINEAR, **changes: Any) -> RunSpec:
    """A run of 20 steps whose rate gives it a valley."""
    changes = {"steps": 20, "evaluate_every": 2, "lr": 0.05 if network == LINEAR else 0.1, **changes}
    hyperparameters = {"lr": changes.pop("lr")}
    return run_config(hyperparameters=hyperparameters, network=network, averaging=averaging, **changes)


def end_of(config: RunSpec) -> tuple[Trainer, AveragedNetwork | None]:
    trainer = Trainer(config, DATASET, CPU)
    ends = []
    while not trainer.finished:
        ends.append(trainer.advance(1e9))
    assert [done.averaged for done in ends[:-1]] == [None] * (len(ends) - 1)
    return trainer, ends[-1].averaged


@cache
def averaged(**changes: Any) -> AveragedNetwork:
    found = end_of(config_of(**changes))[1]
    assert found is not None
    return found


@pytest.mark.parametrize("network", [LINEAR, LEAKY])
def test_a_run_that_averages_its_weights_trains_as_one_that_does_not(network: str) -> None:
    outcomes = []
    for averaging in (None, "swad"):
        trainer = Trainer(config_of(averaging, network=network), DATASET, CPU)
        records, _ = train(trainer)
        state = trainer.state()
        assert ("averaging" in state) is (averaging is not None)
        outcomes.append((records, bits({name: part for name, part in state.items() if name != "averaging"})))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("network", [LINEAR, LEAKY])
@pytest.mark.parametrize("freeze", [True, False])
def test_a_run_ends_with_the_evaluation_of_the_mean_of_its_networks(network: str, freeze: bool) -> None:
    """Trained again step by step without averaging: the mean in numpy of what the network was after each step."""
    config = config_of(network=network, freeze_batch_norm=freeze)
    trainer = Trainer(config_of(None, network=network, freeze_batch_norm=freeze), DATASET, CPU)
    records, states = [], []
    while not trainer.finished:
        done = trainer.advance(0)
        records += [done.record] if done.record else []
        states.append({name: tensor.numpy().copy() for name, tensor in trainer.network.state_dict().items()})
    valley = loss_valley([record.validation.loss for record in records], swad())
    assert valley is not None
    begin = records[valley.first - 1].step + 1 if valley.first else 0
    steps = states[begin : records[valley.last].step + 1]
    found = end_of(config)[1]
    assert found is not None
    assert (found.averaged.first_step, found.averaged.last_step) == (begin, records[valley.last].step)
    assert found.averaged.threshold == valley.threshold
    assert 1 < len(steps) < 20
    for name, tensor in found.state.items():
        values = np.array([state[name] for state in steps])
        if np.issubdtype(values.dtype, np.floating):
            assert tensor.numpy() == pytest.approx(values.astype(np.float64).mean(axis=0), rel=1e-5, abs=1e-6)
        else:
            assert tensor.numpy() == states[-1][name]

    algorithm = trainer.algorithm
    assert isinstance(algorithm, ERM)
    algorithm.network.load_state_dict(dict(found.state))
    evaluator = Evaluator.of_run(config, DATASET, split_dataset(config, DATASET), CPU)
    expected = evaluator.evaluate(algorithm, 19, records[-1].validation.batch_loss)
    assert found.averaged.record == expected
    assert found.averaged.record != records[-1]


def test_every_setting_changes_the_average_of_a_run() -> None:
    default = bits(averaged().state)
    for setting in ({"n_converge": 2}, {"n_tolerance": 2}, {"tolerance_ratio": 0.01}):
        found = end_of(config_of({"method": "swad", **setting}))[1]
        assert found is not None
        assert bits(found.state) != default


def test_without_a_valley_the_last_segment_is_averaged() -> None:
    found = averaged(lr=0.02).averaged
    assert (found.first_step, found.last_step, found.threshold) == (19, 19, None)


@pytest.mark.parametrize("stop", range(1, 20))
def test_a_run_resumed_after_any_step_ends_with_the_same_average(stop: int) -> None:
    stopped = Trainer(config_of(network=LEAKY), DATASET, CPU)
    train(stopped, until=stop)
    resumed = Trainer(config_of(network=LEAKY), DATASET, CPU)
    resumed.load_state(parse_state(dump_state(stopped.state())))
    ends = []
    while not resumed.finished:
        ends.append(resumed.advance(1e9).averaged)
    expected = averaged(network=LEAKY)
    assert ends[-1] is not None
    assert ends[-1].averaged == expected.averaged
    assert bits(ends[-1].state) == bits(expected.state)


def test_a_run_that_diverges_has_no_average() -> None:
    trainer = Trainer(config_of(lr=1e37), DATASET, CPU)
    done = trainer.advance(1e9)
    while done.diverged is None:
        done = trainer.advance(1e9)
    assert done.averaged is None
