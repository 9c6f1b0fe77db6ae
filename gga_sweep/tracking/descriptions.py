"""How a run of the plan is described in MLflow: its name, its tags, its parameters."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gga_sweep.annealing.options import encode
from gga_sweep.errors import InputError, shortened
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_origin
from gga_sweep.records import Scalar
from gga_sweep.report.wording import run_name
from gga_sweep.selection import domain_label
from gga_sweep.spec.plan import PlannedRun, SweepSpec
from gga_sweep.tracking import names

_LONGEST_LABEL = 200  # characters of the names of test domains in a run's name


def run_tags(sweep: SweepSpec, run: PlannedRun) -> dict[str, str]:
    """Where a run stands in the sweep, one tag each: sorting, filters and pages of MLflow ignore its nesting."""
    annealing = run.config.annealing
    return {
        names.RUN_NAME: run_name(run),
        names.ROLE: "run",
        **sweep_tags(sweep),
        names.ARM: run.cell.arm,
        names.ALGORITHM: run.config.algorithm,
        **({} if annealing is None else {names.ANNEALING: annealing.method}),
        names.TEST_DOMAINS: names.value_of(domain_label(run.cell.test_domains)),
        names.TRIAL_SEED: str(run.cell.trial_seed),
        names.DRAW: str(_draw(run)),
        names.DRAWS: names.value_of(_listed(run.draws)),
        names.RUN_KEY: run.key,
        names.FOLDER: run.folder,
    }


def sweep_tags(sweep: SweepSpec) -> dict[str, str]:
    """Common to all runs of a sweep, its summaries and the parent included."""
    return {
        names.SWEEP: sweep.name,
        names.DATASET: sweep.config.dataset.name,
        names.PROTOCOL: sweep.protocol.name,
        names.METRIC: sweep.config.metric,
    }


def provenance(ledger: Ledger) -> dict[str, str]:
    """Who logs a run, and which source the sweep's last launch ran, in MLflow's own tags."""
    tags = {names.SOURCE_NAME: "gga-sweep", names.SOURCE_TYPE: "LOCAL"}
    with suppress(KeyError, OSError):  # a container may have no name for its user
        tags[names.USER] = getpass.getuser()
    with suppress(InputError):  # an altered file is reported where it is needed
        if origin := read_origin(ledger):
            commit = {names.SOURCE_COMMIT: origin.commit} if origin.commit else {}
            command = " ".join(origin.command.split()[:2])  # MLflow's page shows what follows the last slash
            tags |= {names.SOURCE_NAME: command or "gga_sweep from Python", **commit}
    return {name: names.value_of(value) for name, value in tags.items()}


def summary_tags(sweep: SweepSpec, arm: str, test_domains: str) -> dict[str, str]:
    """Of a summary run: one arm on one set of test domains, or on average (`names.AVERAGE`)."""
    shown = "average" if test_domains == names.AVERAGE else f"test {shortened(test_domains, _LONGEST_LABEL)}"
    return {
        names.RUN_NAME: f"{arm} · {shown} · summary",
        names.ROLE: "summary",
        **sweep_tags(sweep),
        names.ARM: arm,
        names.TEST_DOMAINS: test_domains,
    }


def run_params(run: PlannedRun) -> dict[str, str]:
    """Everything that decides a run's numbers, and where it stands. Options that do not apply are left out."""
    config = run.config
    annealing = {"method": "none"} if config.annealing is None else encode(config.annealing)
    groups: Iterator[tuple[str, Scalar | None]] = iter(
        [
            (names.PARAM_ARM, run.cell.arm),
            (names.PARAM_ALGORITHM, config.algorithm),
            (names.PARAM_DATASET, config.dataset.name),
            (names.PARAM_TEST_DOMAINS, domain_label(run.cell.test_domains)),
            (names.PARAM_TRIAL_SEED, run.cell.trial_seed),
            (names.PARAM_DRAW, _draw(run)),
            *config.hyperparameters.items(),
            *((f"annealing.{name}", value) for name, value in annealing.items()),
            *_flat("training", config.training.model_dump()),
        ]
    )
    return {name: names.value_of(_written(value)) for name, value in groups if value is not None}


def varied_params(runs: Sequence[PlannedRun]) -> list[str]:
    """The names of the parameters by which arms differ, beside their hyperparameters that are searched."""
    of_arms = {run.cell.arm: run for run in reversed(runs)}  # the first run of each
    params = [run_params(run) for run in reversed(of_arms.values())]
    places = (names.PARAM_ARM, names.PARAM_TEST_DOMAINS, names.PARAM_TRIAL_SEED, names.PARAM_DRAW)
    known = dict.fromkeys(name for of_arm in params for name in of_arm if name not in places)
    return [name for name in known if len({of_arm[name] for of_arm in params if name in of_arm}) > 1]


def _flat(place: str, block: Mapping[str, Any]) -> Iterator[tuple[str, Scalar | None]]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{place}.{name}", value)
        else:
            yield f"{place}.{name}", value


def _draw(run: PlannedRun) -> int:
    """The number that selection and tables use."""
    return max(run.draws)


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))


def _written(value: Scalar) -> str:
    """As in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)
