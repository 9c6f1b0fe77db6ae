"""Data workers change no bit of a run, wherever it stops; and no minibatch is read twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from data_workers import runs, started, with_workers
from small_runs import CPU, annealing_of, bits, make_dataset, run_config, train

from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import Dataset
from gga_sweep.datasets import workers as worker_module
from gga_sweep.datasets.minibatches import Reading
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.trainer import Trainer

DIGITS = make_dataset()
PHOTOGRAPHS = make_dataset(shape=(3, 12, 12), photographs=True)
LEAKY = "small_runs:batch_norm_featurizer"


def augmented(augmentation: str) -> RunSpec:
    return run_config(augmentation=augmentation, augment_validation=True)


CASES: dict[str, tuple[RunSpec, Dataset]] = {
    "plain": (run_config(network=LEAKY), DIGITS),
    "annealed to the end": (run_config(annealing_of(start_step=3, num_steps=5), network=LEAKY), DIGITS),
    "released": (run_config(annealing_of("released")), DIGITS),
    "noise": (run_config(GGAL(gamma=0.1)), DIGITS),
    "domainbed": (augmented("domainbed"), PHOTOGRAPHS),
    "domainbed-batched": (augmented("domainbed-batched"), PHOTOGRAPHS),
}


def outcome(trainer: Trainer, seconds: float = 1e9) -> tuple[Any, ...]:
    recorded = train(trainer, seconds=seconds)
    trainer.close()
    return (*recorded, bits(trainer.state()))


@cache
def without_workers(case: str) -> tuple[Any, ...]:
    return outcome(Trainer(*CASES[case], CPU))


@pytest.mark.parametrize(("case", "workers"), [*zip(CASES, (1, 2, 1, 2, 2, 1), strict=True)])
def test_the_number_of_workers_changes_no_bit(case: str, workers: int) -> None:
    assert outcome(with_workers(Trainer(*CASES[case], CPU, workers))) == without_workers(case)


def test_slices_of_one_step_change_no_bit() -> None:
    case = "annealed to the end"
    assert outcome(with_workers(Trainer(*CASES[case], CPU, 2)), seconds=0) == without_workers(case)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_run_stopped_among_steps_that_are_read_ahead_resumes_to_the_same_bits(stop: int) -> None:
    case = "annealed to the end"
    stopped = with_workers(Trainer(*CASES[case], CPU, 2))
    train(stopped, until=stop)
    resumed = with_workers(Trainer(*CASES[case], CPU, 1))
    resumed.load_state(stopped.state())
    stopped.close()
    assert outcome(resumed)[2] == without_workers(case)[2]


def test_a_trainer_may_be_set_back_to_an_earlier_state() -> None:
    case = "plain"
    trainer = with_workers(Trainer(*CASES[case], CPU, 1))
    start = dict(Trainer(*CASES[case], CPU).state())
    train(trainer, until=5)
    trainer.load_state(start)
    assert outcome(trainer) == without_workers(case)


def test_workers_end_when_the_trainer_is_closed() -> None:
    trainer = Trainer(*CASES["plain"], CPU, 2)
    processes = started(trainer._reader).processes
    trainer.close()
    assert not any(map(runs, processes))


def test_a_lost_worker_is_a_remark_of_the_slice() -> None:
    trainer = with_workers(Trainer(*CASES["plain"], CPU, 1))
    started(trainer._reader)._workers[0].process.kill()
    slices = []
    while not trainer.finished:
        slices.append(trainer.advance(1e9))
    assert [remark for done in slices for remark in done.remarks if "a data worker ended" in remark]
    assert sum(len(done.remarks) for done in slices) == 1
    assert bits(trainer.state()) == without_workers("plain")[2]


@pytest.mark.parametrize(
    ("annealing", "last"),
    [(None, 7), (annealing_of(start_step=2, num_steps=4), 7), (annealing_of(start_step=2, num_steps=6), 8)],
)
def test_each_minibatch_is_read_once_also_where_diagnostics_look_ahead(
    annealing: GGA | None, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[tuple[int, str]] = Counter()
    ahead = worker_module.read

    def counting(dataset: Dataset, reading: Reading, *arguments: Any) -> Any:
        if reading.purpose == "augment":
            read[reading.step, reading.domain] += 1
        return ahead(dataset, reading, *arguments)

    monkeypatch.setattr(worker_module, "read", counting)
    train(Trainer(run_config(annealing), DIGITS, CPU))
    assert read == {(step, domain): 1 for step in range(last + 1) for domain in "abd"}


def test_an_evaluation_is_read_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> Iterator[None]:
        raise AssertionError("read in this process")

    config, dataset = CASES["domainbed"]
    trainer = with_workers(Trainer(config, dataset, CPU, 1))
    monkeypatch.setattr(worker_module, "read", forbidden)
    assert trainer.advance(1e9).record is not None
    trainer.close()
