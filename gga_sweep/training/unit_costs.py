"""What the parts of a run cost: measured by `training.calibration`, multiplied out by `scheduling.price`. No torch.

What it needs of a GPU's memory: measured by `training.gpu_memory`, divided by `scheduling.gpu_share`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gga_sweep.annealing.options import GGA, GGAL, encode
from gga_sweep.datasets import BENCHMARKS
from gga_sweep.datasets.registry import IMAGE_FOLDER
from gga_sweep.records import Scalar
from gga_sweep.spec.models import RunSpec

AnnealingForm = tuple[tuple[str, Scalar], ...]
"""The settings of an annealing on which the seconds of one annealed step depend, by name."""

_WITHOUT_EFFECT = frozenset(
    {"start_step", "num_steps", "radius", "num_candidates", "loss_tolerance", "loss_reference", "gamma"}
)


class Host(NamedTuple):
    """What the seconds of an un-annealed step depend on within one sweep, its batch size apart."""

    algorithm: str
    training_domains: int


def host_of(config: RunSpec, n_domains: int) -> Host:
    """The host of a run.

    Args:
        n_domains: of the dataset.
    """
    return Host(config.algorithm, n_domains - len(config.test_domains))


def form_of(annealing: GGA | GGAL | None) -> AnnealingForm:
    """The form of a run's annealing. A random search costs the same whatever it looks for."""
    values = {} if annealing is None else encode(annealing)
    unused = _WITHOUT_EFFECT | ({"objective"} if values.get("direction") == "random" else set())
    return tuple(sorted((name, value) for name, value in values.items() if name not in unused))


def holds_photographs(dataset: str) -> bool:
    """Whether the dataset of that name, as a sweep file writes it, is a tree of photographs, decoded into a cache."""
    return dataset == IMAGE_FOLDER or dataset in BENCHMARKS


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds as a straight line over the images of a domain's minibatch.

    Args:
        fixed: seconds that no image adds to (the optimiser, the noise), at least 0.
        an_image: seconds that one more image in each domain's minibatch adds, at least 0.
    """

    fixed: float
    an_image: float

    def at(self, images: float) -> float:
        return self.fixed + self.an_image * images

    def scaled(self, factor: float) -> Line:
        return Line(factor * self.fixed, factor * self.an_image)

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Line:
        """The line through one or two (images, seconds), ascending; through one alone it is a share of its images.

        Where the second point lies so high or so low that the line would leave the range of its fields, it goes
        through the second point alone.
        """
        (few, low), (many, high) = points[0], points[-1]
        slope = (high - low) / (many - few) if many > few else -1.0
        if slope < 0 or low < slope * few:
            return cls(0.0, high / many)
        return cls(low - slope * few, slope)


@dataclass(frozen=True, slots=True)
class HostCosts:
    """Of an un-annealed run; seconds and bytes.

    Args:
        step: one step, its minibatches included.
        evaluated_image: evaluating one image of a test domain.
        augmented_image: evaluating one image of a training domain, which may be augmented.
        probe: one gradient of a probe batch of full size.
        checkpoint: making one, without writing it.
        checkpoint_bytes: what an unfinished run keeps on disk beside its selected weights.
        selected_bytes: the selected weights that each run keeps.
    """

    step: Line
    evaluated_image: float
    augmented_image: float
    probe: float
    checkpoint: float
    checkpoint_bytes: int
    selected_bytes: int


@dataclass(frozen=True, slots=True)
class SearchCosts:
    """Of one annealed step, beside the step itself; seconds.

    Args:
        start: what comes before the first candidate: the score at the start, the direction.
        candidate: one candidate: a move and a score.
        diagnostics: measuring again what was found.
    """

    start: Line
    candidate: Line
    diagnostics: Line


class GPUMemory(NamedTuple):
    """What was measured on one kind of GPU, in bytes.

    Args:
        needed: by a run, with what its process takes for itself.
        total: the GPU's.
    """

    needed: int
    total: int


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Everything that was measured, for the runs of one sweep.

    Args:
        device: on which, in words.
        hosts: every host that the sweep's runs have.
        searches: every form of a search within the window, by host and form.
        noisy_steps: one whole step under GGA-L, by host and form.
        remarks: what was not measured as the runs would do it, as sentences.
    """

    device: str
    hosts: Mapping[Host, HostCosts]
    searches: Mapping[tuple[Host, AnnealingForm], SearchCosts]
    noisy_steps: Mapping[tuple[Host, AnnealingForm], Line]
    remarks: tuple[str, ...] = ()
