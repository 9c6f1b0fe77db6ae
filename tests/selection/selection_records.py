"""Small run records, made of accuracies alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from made_runs import changed_run, made_run

from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    AnnealingLine,
    Cell,
    DomainScores,
    Record,
    RunRecords,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)
from gga_sweep.selection import SweepView

NO_AGREEMENT = Agreement(cosines=((1.0,),), norms=(1.0,), minimum=math.nan, mean=math.nan)


def scores(*, train: float = math.nan, validation: float = math.nan) -> DomainScores:
    return DomainScores(train=Score(train, 1.0), validation=Score(validation, 1.0))


def validation_record(step: int, accuracies: Sequence[float]) -> ValidationRecord:
    """One accuracy a training domain."""
    domains = {f"source{i}": scores(train=1.0, validation=accuracy) for i, accuracy in enumerate(accuracies)}
    return ValidationRecord(step, domains, 1.0, NO_AGREEMENT, NO_AGREEMENT)


def record(step: int, validation: Sequence[float], test: Mapping[str, float]) -> Record:
    """`test`: accuracy on each test domain's training split; on the validation split it is another number."""
    domains = {name: scores(train=accuracy, validation=accuracy / 2) for name, accuracy in test.items()}
    return Record(validation_record(step, validation), TestRecord(domains, dict.fromkeys(test, 0.0)))


def evaluation(
    step: int, training: Mapping[str, float], test: Mapping[str, float | tuple[float, float]] | None = None
) -> Record:
    """Accuracies by domain: of training domains on the validation split, of test domains on both splits.

    A test domain given by one number has it on its training split, and nothing on the other.
    """
    pairs = {name: value if isinstance(value, tuple) else (value, math.nan) for name, value in (test or {}).items()}
    validation = {name: scores(train=0.875, validation=accuracy) for name, accuracy in training.items()}
    return Record(
        ValidationRecord(step, validation, 1.0, NO_AGREEMENT, NO_AGREEMENT),
        TestRecord(
            {name: scores(train=train, validation=validation) for name, (train, validation) in pairs.items()},
            dict.fromkeys(pairs, 0.0),
        ),
    )


def run_of(evaluations: Sequence[Record], **where: object) -> RunRecords:
    """A run with these evaluations; `where` is as for `run`."""
    return changed_run(run([], **where), records=tuple(evaluations))


def run(
    validation: Sequence[float] = (0.5,),
    test: Sequence[float] | None = None,
    *,
    arm: str = "ERM",
    test_domains: tuple[str, ...] = ("sketch",),
    trial_seed: int = 0,
    draws: tuple[int, ...] = (0,),
    status: RunStatus = RunStatus.DONE,
    key: str = "",
    reason: str | None = None,
    annealed: Sequence[AnnealingLine] = (),
    seconds: Mapping[str, float] | None = None,
) -> RunRecords:
    """A run with one record a validation accuracy, at steps 0, 10, 20, ...; `test` defaults to its half."""
    test = [accuracy / 2 for accuracy in validation] if test is None else test
    key = key or f"{arm}/{'+'.join(test_domains)}/{trial_seed}/{draws}"
    return made_run(
        key=key,
        folder=f"folder of {key}",
        cell=Cell("PACS", arm, test_domains, trial_seed),
        draws=draws,
        hyperparameters={"lr": 1e-3},
        status=status,
        reason=reason,
        records=tuple(
            record(10 * i, [accuracy], dict.fromkeys(test_domains, on_test))
            for i, (accuracy, on_test) in enumerate(zip(validation, test, strict=True))
        ),
        annealed=tuple(annealed),
        seconds=seconds or {},
    )


def searched_step(
    step: int = 0,
    *,
    gains: tuple[float, float, float] = (0.0, 0.0, 0.0),
    tried: int = 4,
    accepted: int = 1,
    moved: bool = True,
    distances: tuple[float, float] = (0.5, 2.0),
) -> AnnealedStep:
    """`gains`: as the search saw it, under fresh masks, on the next minibatches. `distances`: in radii, in updates."""
    before = (0.1, 0.2, 0.3)
    alignments = [value for low, gain in zip(before, gains, strict=True) for value in (low, low + gain)]
    return AnnealedStep(
        step, tried, accepted, 0 if moved else None, *alignments[:2], 1.0, 1.0, *alignments[2:], *distances
    )


def view(
    records: Sequence[RunRecords],
    *,
    arms: tuple[str, ...] = ("ERM",),
    test_domains: tuple[tuple[str, ...], ...] = (("sketch",),),
    trial_seeds: tuple[int, ...] = (0, 1, 2),
    draws: Mapping[str, tuple[int, ...]] | None = None,
    searched: frozenset[str] = frozenset(),
    pairs: tuple[tuple[str, ...], ...] = (),
    pair_records: Sequence[RunRecords] = (),
    after_windows: int = 0,
    notes: tuple[str, ...] = (),
) -> SweepView:
    return SweepView(
        name="small",
        dataset="PACS",
        protocol="quick",
        deviations=("evaluated every 10 steps",),
        arms=arms,
        test_domains=test_domains,
        trial_seeds=trial_seeds,
        draws=dict.fromkeys(arms, (0,)) if draws is None else draws,
        records=tuple(records),
        searched=searched,
        pairs=pairs,
        pair_records=tuple(pair_records),
        after_windows=after_windows,
        notes=notes,
    )
