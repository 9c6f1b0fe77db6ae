"""A sweep's plan: which runs it needs. Cells times draws, with equal runs trained once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import Cell, RunPlace, Scalar
from gga_sweep.spec.arms import Arm
from gga_sweep.spec.key import folder_name
from gga_sweep.spec.location import Location
from gga_sweep.spec.models import RunSpec, SelectionMethod, SweepConfig, TrainingSettings
from gga_sweep.spec.protocols import Protocol

CACHE_FOLDER = "cache"
TRACKING_FILE = "mlflow.db"
"""Other contents of a storage: content hashes and decoded images, and MLflow's SQLite file."""


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A sweep file, read and checked: what `gga_sweep.load` returns.

    Args:
        config: the file's content.
        source: where it came from, for messages.
        arms: with the factors multiplied out, in file order.
        test_domains: the sets of held-out domains, in order.
        pairs: sets of two that are trained only to validate (leave-one-domain-out); none that is in `test_domains`.
        protocol: the named bundle of choices.
        training: the file's `training:` block, completed by its protocol; of an arm, see `training_of`.
        deviations: what the file overrides of its protocol, and how its images differ from DomainBed's, as sentences.
        dataset: the dataset's domains and counts, as known or found.
        storage: folder of all sweeps, or of a bucket; this one lives in `storage / config.name`.
        tracking_uri: of MLflow; None: the storage's own SQLite file.
    """

    config: SweepConfig
    source: str
    arms: tuple[Arm, ...]
    test_domains: tuple[tuple[str, ...], ...]
    pairs: tuple[tuple[str, ...], ...]
    protocol: Protocol
    training: TrainingSettings
    deviations: tuple[str, ...]
    dataset: DatasetDescription
    storage: Location
    tracking_uri: str | None = field(default=None, repr=False)  # it may hold a password

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def folder(self) -> Location:
        return self.storage / self.name

    def training_of(self, arm: Arm) -> TrainingSettings:
        """How the runs of an arm are trained: the sweep's settings, with the arm's factors."""
        return self.training.with_factors(arm.factors)

    @property
    def selection(self) -> tuple[SelectionMethod, ...]:
        """The methods that tables are made by, the headline's first."""
        return self.config.selection or self.protocol.selection


@dataclass(frozen=True, slots=True)
class Contents:
    """Digests of what a run reads; they are part of its key, paths are not.

    Args:
        dataset: digest of the dataset's manifest.
        weights: SHA-256 of each weights file, by its path.
        code: of the source of the user's own parts, by `module:attribute`.
    """

    dataset: str
    weights: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of the plan. Equal runs of a cell are one run with several draw numbers.

    Args:
        cell: where it stands.
        draws: every draw number that gives this configuration, ascending.
        hyperparameters: the values of the names that this arm searches, else of its defaults; dotted names.
        config: the resolved run.
        code: digests of the source of its own parts, by `module:attribute`.
    """

    cell: Cell
    draws: tuple[int, ...]
    hyperparameters: Mapping[str, Scalar]
    config: RunSpec
    key: str
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return folder_name(self.config, self.key)

    @property
    def place(self) -> RunPlace:
        """Where it stands in the sweep."""
        return RunPlace(self.key, self.cell, self.draws, self.hyperparameters)


@dataclass(frozen=True, slots=True)
class Outline:
    """All runs of a sweep whose images are missing, in the order of arms, test domains, trial seeds and draws.

    Their keys tell them apart, but hash no images: no ledger has them.
    """

    sweep: SweepSpec
    runs: tuple[PlannedRun, ...]

    @property
    def configs(self) -> dict[str, RunSpec]:
        """The distinct training jobs by key; two arms that come out equal share one."""
        return {run.key: run.config for run in self.runs}


@dataclass(frozen=True, slots=True)
class Plan(Outline):
    """All runs of a sweep, with the keys and folders that the ledger has for them."""
