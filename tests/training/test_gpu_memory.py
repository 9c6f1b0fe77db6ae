"""What is trained to see what a run needs of a GPU's memory, and on a GPU what it sees."""

from __future__ import annotations

import pytest
import torch
from small_runs import CPU, annealing_of, make_dataset, run_config

from gga_sweep.annealing import GGA
from gga_sweep.datasets import DatasetDescription
from gga_sweep.spec.models import RunSpec
from gga_sweep.training import gpu_memory
from gga_sweep.training.gpu_memory import measure_gpu_memory, two_steps
from gga_sweep.training.trainer import Slice, Trainer

SMALL = make_dataset()
DESCRIPTION = DatasetDescription(
    SMALL.name,
    {domain.name: len(domain) for domain in SMALL.domains},
    len(SMALL.classes),
    None,
    SMALL.input_shape,
    True,
)


@pytest.mark.parametrize("annealing", [None, annealing_of(start_step=100, num_steps=9, num_candidates=500)])
def test_a_warm_step_and_an_annealed_one_are_trained_and_evaluated_at_the_runs_batch_size(
    annealing: GGA | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices: list[Slice] = []
    advance = Trainer.advance

    def recorded(self: Trainer, seconds: float) -> Slice:
        slices.append(advance(self, seconds))
        return slices[-1]

    monkeypatch.setattr(Trainer, "advance", recorded)
    config = run_config(annealing)
    trainer = two_steps(config, DESCRIPTION, CPU)
    assert trainer.config.hyperparameters["batch_size"] == config.hyperparameters["batch_size"]
    assert trainer.config.training.network == config.training.network
    assert [one.record is not None for one in slices] == [True, True]
    assert [len(one.annealed) for one in slices] == [0, 0 if annealing is None else 1]


def test_a_run_that_does_not_fit_needs_the_whole_gpu_and_others_their_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 bytes 3 are the process's own beside what it has reserved."""
    reserved = {1: 20, 2: 50, 3: 30}

    def measured(config: RunSpec, dataset: DatasetDescription, device: torch.device) -> int:
        if config.trial_seed not in reserved:
            raise torch.OutOfMemoryError
        return reserved[config.trial_seed]

    monkeypatch.setattr(gpu_memory, "_reserved", measured)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (67, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 30)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    runs = [run_config(None).model_copy(update={"trial_seed": seed}) for seed in (1, 2, 3)]
    assert measure_gpu_memory(runs, DESCRIPTION) == (50 + 3, 100)
    too_large = run_config(None).model_copy(update={"trial_seed": 4})
    assert measure_gpu_memory([*runs, too_large], DESCRIPTION) == (100, 100)


@pytest.mark.gpu
def test_larger_batches_need_more_gpu_memory() -> None:
    description = DatasetDescription("PACS", dict.fromkeys("abcd", 2000), 7, None, (3, 224, 224), True)

    def needed(batch_size: int) -> int:
        config = run_config(annealing_of(), network="resnet18", test_domains=("a",))
        hyperparameters = {**config.hyperparameters, "batch_size": batch_size}
        dataset = config.dataset.model_copy(update={"name": "PACS"})
        config = config.model_copy(update={"hyperparameters": hyperparameters, "dataset": dataset})
        memory = measure_gpu_memory([config], description)
        assert 0 < memory.needed <= memory.total
        return memory.needed

    assert needed(64) > needed(8)
