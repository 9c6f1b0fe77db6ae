"""The selection methods by name, with what must be said of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gga_sweep.records import Cell, RunRecords
from gga_sweep.selection import leave_one_out, oracle, shared_draw, training_validation
from gga_sweep.selection.choice import Choice
from gga_sweep.spec.models import LEAVE_ONE_DOMAIN_OUT

DEFAULT_METHOD = "training-domain-validation"
ORACLE = "oracle"
SHARED_DRAW = "shared-draw"


@dataclass(frozen=True, slots=True)
class Eligible:
    """What a method chooses from: runs that are final, from the first step on that takes part.

    Args:
        cells: by cell, with an entry for every planned one.
        pairs: runs with two test domains, which leave-one-domain-out validates with.
    """

    cells: Mapping[Cell, Sequence[RunRecords]]
    pairs: leave_one_out.Pairs


@dataclass(frozen=True, slots=True)
class Method:
    """A way to select.

    Args:
        label: its name as printed with a table.
        rule: what it does, in one sentence.
        lacking: what the final runs of a cell are without where it has no choice.
        choose: gives the choice of each cell that has one. It gets all cells at once because a method may judge a run
            by the runs of other cells.
        peeks: in words, how a test domain has a say in its own selection; None for a method that never looks.
    """

    label: str
    rule: str
    lacking: str
    choose: Callable[[Eligible], dict[Cell, Choice]]
    peeks: str | None = None


def _by_training_validation(eligible: Eligible) -> dict[Cell, Choice]:
    """Hands on the validation records alone: what follows cannot see a test domain."""
    return _chosen({cell: training_validation.choose(map(_validated, runs)) for cell, runs in eligible.cells.items()})


def _by_leave_one_out(eligible: Eligible) -> dict[Cell, Choice]:
    return _chosen(
        {
            cell: leave_one_out.choose(leave_one_out.candidate_of(run, eligible.pairs) for run in runs)
            for cell, runs in eligible.cells.items()
            if len(cell.test_domains) == 1
        }
    )


def _by_oracle(eligible: Eligible) -> dict[Cell, Choice]:
    return _chosen({cell: oracle.choose(map(oracle.candidate_of, runs)) for cell, runs in eligible.cells.items()})


def _by_shared_draw(eligible: Eligible) -> dict[Cell, Choice]:
    groups: dict[tuple[str, str, int], dict[tuple[str, ...], list[training_validation.Candidate]]] = {}
    for cell, runs in eligible.cells.items():
        group = groups.setdefault((cell.dataset, cell.arm, cell.trial_seed), {})
        group[cell.test_domains] = list(map(_validated, runs))
    return {
        Cell(dataset, arm, test_domains, trial_seed): choice
        for (dataset, arm, trial_seed), group in groups.items()
        for test_domains, choice in shared_draw.choose(group).items()
    }


def _validated(run: RunRecords) -> training_validation.Candidate:
    return training_validation.Candidate(run.key, max(run.draws), [record.validation for record in run.records])


def _chosen(choices: Mapping[Cell, Choice | None]) -> dict[Cell, Choice]:
    return {cell: choice for cell, choice in choices.items() if choice is not None}


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        DEFAULT_METHOD: Method(
            label="training-domain validation",
            rule="of each run the step, of each cell the draw with the highest validation accuracy, averaged over "
            "the training domains; test domains are never looked at",
            lacking="a finite validation accuracy",
            choose=_by_training_validation,
        ),
        LEAVE_ONE_DOMAIN_OUT: Method(
            label="leave-one-domain-out cross-validation",
            rule="the draw and step with the highest accuracy on training domains left out of training, one at a time, "
            "averaged over them; test domains are never looked at",
            lacking="an accuracy on every training domain left out",
            choose=_by_leave_one_out,
        ),
        ORACLE: Method(
            label="test-domain oracle",
            rule="of each cell the draw with the highest accuracy on the test domain's own validation split, at the "
            "last step",
            lacking="a finite accuracy on the test domain's validation split at its last step",
            choose=_by_oracle,
            peeks="it chooses by the labels of the test domain, which nobody has who needs the model: a bound, not a "
            "result",
        ),
        SHARED_DRAW: Method(
            label="training-domain validation, one draw for all test domains",
            rule="of each run the step with the highest validation accuracy, of each arm and trial seed the draw with "
            "the highest mean of these over all test domains",
            lacking="a draw that can be selected on every test domain",
            choose=_by_shared_draw,
            peeks="a test domain is a training domain of its neighbours, so its labels help to choose the "
            "hyperparameters it is tested with",
        ),
    }
)
