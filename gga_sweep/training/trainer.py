"""One run: train, anneal in the window, evaluate. Needs neither Ray nor MLflow nor a disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.precision import require_precision
from gga_sweep.annealing import GGA, GGAL, STEP_MASK
from gga_sweep.annealing.layerwise import layers_with
from gga_sweep.datasets import Dataset, Minibatch, Split, split_domain
from gga_sweep.datasets.minibatches import Reading, training_reading
from gga_sweep.datasets.workers import ImageReader
from gga_sweep.errors import GGASweepError
from gga_sweep.networks.network import Network
from gga_sweep.records import AnnealingLine, Averaged, Record
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.annealed_step import Annealing, StepModel, anneal, copy_weights, distance
from gga_sweep.training.averaging import WeightAveraging
from gga_sweep.training.build import build_algorithm
from gga_sweep.training.evaluation import Evaluator
from gga_sweep.training.fingerprint import fastest_memory_format, set_arithmetic
from gga_sweep.training.noisy_update import noisy_update
from gga_sweep.training.randomness import RunStreams


class _DivergedError(GGASweepError):
    """The loss became NaN or infinite.

    Args:
        step: the first one that leaves no annealing line.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, slots=True)
class AveragedNetwork:
    """A run's averaged weights.

    Args:
        averaged: their evaluation.
        state: of the network that has them, as its `state_dict`.
    """

    averaged: Averaged
    state: Mapping[str, torch.Tensor]


@dataclass(slots=True)
class Slice:
    """The result of a slice of training.

    Args:
        record: of the evaluation it ended with; None if it ended between two.
        annealed: one entry per annealed step.
        averaged: at the end of a run that averages its weights.
        diverged: the reason, if the loss became NaN or infinite; the other fields are from before that.
        seconds: by phase: "training", "search", "diagnostics", "evaluation".
        remarks: what the user should know of how it was trained, in sentences.
    """

    record: Record | None = None
    annealed: list[AnnealingLine] = field(default_factory=list)
    averaged: AveragedNetwork | None = None
    diverged: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add_seconds(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


class Trainer:
    """Trains one run, step by step. Its whole state is `state()`; all randomness is in named streams.

    Args:
        config: the resolved run.
        dataset: that of `config.dataset`.
        device: where it trains.
        workers: processes that read the images of the next steps; they change no number. `close` ends them.

    Attributes:
        algorithm: the trained algorithm.
        next_step: how many steps are done.
    """

    algorithm: Algorithm

    def __init__(self, config: RunSpec, dataset: Dataset, device: torch.device, workers: int = 0) -> None:
        set_arithmetic(config.training.threads)
        require_precision(config.training.precision, device)
        self.config = config
        self.next_step = 0
        self._dataset = dataset
        self._device = device
        self._splits = split_dataset(config, dataset)
        self._training_domains = [name for name in dataset.domain_names if name not in config.test_domains]
        self.algorithm = build_algorithm(
            config,
            Setting(
                n_domains=len(self._training_domains),
                n_classes=len(dataset.classes),
                input_shape=dataset.input_shape,
                dataset=dataset.name,
                trial_seed=config.trial_seed,
            ),
            device,
            fastest_memory_format(device),
            config.training.weights,
        )
        self._streams = RunStreams(
            dataset.name,
            config.trial_seed,
            self.algorithm.network.features,
            float(config.hyperparameters["dropout"]),
            device,
        )
        self._reader = ImageReader(dataset, device, workers)
        self._minibatches: Iterator[Minibatch] = iter(())
        self._read: dict[int, list[Minibatch]] = {}
        self._next_read = -1
        self._evaluator = Evaluator.of_run(config, dataset, self._splits, device, self._reader)
        if getattr(config.annealing, "domain_gradients", None) == "layerwise":  # refuse now what it cannot split
            self._set_training_mode()
            layers_with(self.algorithm, self.algorithm.predict_parameters())
        self._unread: list[tuple[int, torch.Tensor]] = []
        """The last steps and their joint losses. Reading one makes the process wait for the device."""
        averaging = config.training.averaging
        self._averaging = None if averaging is None else WeightAveraging(averaging, device)

    @property
    def finished(self) -> bool:
        return self.next_step >= self.config.training.steps

    @property
    def network(self) -> Network:
        return self.algorithm.network

    def advance(self, seconds: float, interrupted: Callable[[], bool] = lambda: False) -> Slice:
        """Train to the next evaluation, or for about `seconds`, whichever comes first; at least one step.

        Args:
            interrupted: called between steps; True ends the slice.

        Where a slice ends never changes a number. A run diverges at the first step whose joint loss is not finite, or
        evaluation whose validation loss of a training domain is not; that evaluation leaves no record.
        """
        done = Slice()
        started = time.perf_counter()
        try:
            try:
                while not self.finished and done.record is None:
                    self._step(done)
                    if time.perf_counter() - started >= seconds or interrupted():
                        break
            finally:  # after an error too, which NaN may have caused
                self._read_losses(done)
        except _DivergedError as error:
            done.diverged = str(error)
            done.annealed = [line for line in done.annealed if line.step < error.step]
        done.remarks, self._reader.remarks = self._reader.remarks, []
        return done

    def close(self) -> None:
        """End the data workers."""
        self._reader.close()

    def state(self) -> dict[str, Any]:
        """Tensors and plain data: all that a step reads, except random streams. The tensors are not copies."""
        return {
            "next_step": self.next_step,
            "algorithm": self.algorithm.state_dict(),
            "optimizers": {name: item.state_dict() for name, item in self.algorithm.optimizers().items()},
            **({} if self._averaging is None else {"averaging": self._averaging.state()}),
            **({} if (candidates := self._evaluator.candidates) is None else {"candidates": candidates.state()}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        for name, optimizer in self.algorithm.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self._averaging is not None:
            self._averaging.load_state(state["averaging"])
        if self._evaluator.candidates is not None:
            self._evaluator.candidates.load_state(state["candidates"])
        self.next_step = state["next_step"]

    def _step(self, done: Slice) -> None:
        step = self.next_step
        self._train_step(step, done)
        self.next_step = step + 1
        if step % self.config.training.evaluate_every == 0 or self.finished:
            batch_loss = self._read_losses(done)
            done.record = self._evaluate(step, batch_loss, done)
            if self._averaging is not None:
                self._averaging.end_segment(step, done.record.validation.loss)
                if self.finished:
                    done.averaged = self._evaluate_averaged(self._averaging, batch_loss, done)

    def _train_step(self, step: int, done: Slice) -> None:
        gga = self.config.annealing
        anneals = isinstance(gga, GGA) and step in gga.window
        if anneals:  # the search waits for the device anyway, and its seconds are not those of earlier steps
            self._read_losses(done)
        started = time.perf_counter()
        self._set_training_mode()
        model = self._step_model(step)
        annealing = None
        if isinstance(gga, GGA) and anneals:
            if step + 1 < self.config.training.steps:
                self._minibatches_of(step + 1)  # here its reading counts as training, as before any other step
            annealing = anneal(self.algorithm, gga, self._streams, step, model, lambda: self._step_model(step + 1))
        weights = copy_weights(self.algorithm.predict_parameters()) if annealing else []
        self._update(step, model, done)
        if self._averaging is not None:
            self._averaging.add(self.network)
        if annealing:
            done.annealed.append(annealing.finish(distance(self.algorithm.predict_parameters(), weights)))
        _count_seconds(done, time.perf_counter() - started, annealing)

    def _update(self, step: int, model: StepModel, done: Slice) -> None:
        """The algorithm's own update, with GGA-L's noise if the run has it."""

        def update() -> torch.Tensor:
            self._streams.seed_global(step, STEP_MASK)
            with self.algorithm.in_precision():
                return self.algorithm.update(model.batch)

        if isinstance(self.config.annealing, GGAL):
            loss, line = noisy_update(self.algorithm, self.config.annealing, self._streams, step, model, update)
            done.annealed.append(line)
        else:
            loss = update()
        self._unread.append((step, loss.detach().clone()))  # an algorithm may return a tensor that it changes later

    def _read_losses(self, done: Slice) -> float:
        """Read the joint losses of the steps since the last reading; returns the last one, or NaN if there is none.

        Raises:
            _DivergedError: one is not finite; the steps from there on count as not made.
        """
        if not self._unread:
            return math.nan
        started = time.perf_counter()
        losses = [(step, float(loss)) for step, loss in self._unread]
        self._unread.clear()
        done.add_seconds("training", time.perf_counter() - started)
        for step, loss in losses:
            if not math.isfinite(loss):
                self.next_step = step
                raise _DivergedError(f"the joint loss is {loss} at step {step}", step)
        return losses[-1][1]

    def _evaluate(self, step: int, batch_loss: float, done: Slice) -> Record:
        started = time.perf_counter()
        record = self._evaluator.evaluate(self.algorithm, step, batch_loss, self.finished)
        done.add_seconds("evaluation", time.perf_counter() - started)
        if not math.isfinite(record.validation.loss):  # not the training splits, which `selection` does not evaluate
            why = f"the validation loss of a training domain is not finite after step {step}"
            raise _DivergedError(why, step + 1)
        return record

    def _evaluate_averaged(self, averaging: WeightAveraging, batch_loss: float, done: Slice) -> AveragedNetwork:
        """Evaluate as at the last step, with the averaged weights; the network's own are restored."""
        started = time.perf_counter()
        average, valley, step = averaging.average, averaging.valley, self.next_step - 1
        own = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict({**own, **average.weights})
        record = self._evaluator.evaluate(self.algorithm, step, batch_loss, is_last=True)
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(own)
        done.add_seconds("evaluation", time.perf_counter() - started)
        threshold = None if valley is None else valley.threshold
        return AveragedNetwork(Averaged(average.first_step, average.last_step, threshold, record), state)

    def _step_model(self, step: int) -> StepModel:
        minibatches = self._minibatches_of(step)
        return StepModel(self.algorithm, minibatches, self._training_domains, self._streams, step)

    def _minibatches_of(self, step: int) -> list[Minibatch]:
        """One a training domain, read once: an annealed step and the next one use the same."""
        if step not in self._read:
            if step != self._next_read:  # the first one, or a state was loaded
                readings = _training_readings(self.config, self._dataset, self._splits, step)
                self._minibatches = self._reader.ahead(readings)
            self._read[step] = [self._on_device(next(self._minibatches)) for _ in self._training_domains]
            self._next_read = step + 1
        self._read = {number: found for number, found in self._read.items() if number >= step}
        return self._read[step]

    def _on_device(self, read: Minibatch) -> Minibatch:
        return Minibatch(read.images.to(memory_format=fastest_memory_format(self._device)), read.labels)

    def _set_training_mode(self) -> None:
        self.algorithm.train()
        for module in getattr(self.algorithm.network, "featurizer", self.algorithm.network).modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
                self.config.training.freeze_batch_norm or _is_constant(module)
            ):
                module.eval()


def split_dataset(config: RunSpec, dataset: Dataset) -> dict[str, Split]:
    """Every domain's split: a function of the domain and the trial seed alone."""
    return {
        domain.name: split_domain(
            len(domain.labels),
            dataset.name,
            config.trial_seed,
            domain.name,
            index,
            config.training.split,
            config.training.holdout,
        )
        for index, domain in enumerate(dataset.domains)
    }


def _training_readings(
    config: RunSpec, dataset: Dataset, splits: Mapping[str, Split], first_step: int
) -> Iterator[Reading]:
    """Of each training domain at each step, and at one more, which the diagnostics of the last step use."""
    for step in range(first_step, config.training.steps + 1):
        for domain in dataset.domains:
            if domain.name not in config.test_domains:
                yield training_reading(
                    dataset,
                    domain,
                    splits[domain.name],
                    int(config.hyperparameters["batch_size"]),
                    config.trial_seed,
                    step,
                    config.training.augmentation,
                )


def _is_constant(module: nn.Module) -> bool:
    """Whether `training.trainable` leaves its parameters as they are: then so are its statistics."""
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _count_seconds(done: Slice, total: float, annealing: Annealing | None) -> None:
    search = annealing.search_seconds if annealing else 0.0
    diagnostics = annealing.diagnostics_seconds if annealing else 0.0
    if annealing:
        done.add_seconds("search", search)
        done.add_seconds("diagnostics", diagnostics)
    done.add_seconds("training", total - search - diagnostics)
