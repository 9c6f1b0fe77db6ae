"""A user's own network and algorithm: changed between launches, and gone when results are read."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from small_sweep import ANNEALING, small_sweep, train_without_ray

from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.execution.open_run import _source_digest_once, open_run
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.searched_runs import keep_searched
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.records import RunStatus
from gga_sweep.report.make_report import make_report
from gga_sweep.report.text import render_text
from gga_sweep.spec import SweepSpec, load, plan_sweep, searched_run

if TYPE_CHECKING:
    from console import Command

SIZES = "UNITS = {units}\n"
PARTS = """
from torch import nn

from gga_sweep.algorithms import Hyperparameter
from gga_sweep.algorithms.erm import ERM
from gga_sweep.distributions import Distribution
from mysizes import UNITS


def make(shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], UNITS), nn.ReLU()), UNITS


class Mine(ERM):
    HYPERPARAMETERS = {
        "strength": Hyperparameter(0.5, 0, 10, "of nothing", random=Distribution(choice=(0.5, 1.0))),
        "twice": Hyperparameter(False, 0, 1, "of nothing"),
        "times": Hyperparameter(2, 1, float("inf"), "of nothing", open_low=True),
    }
    NUMERICS = 3
    TRANSDUCTIVE = True
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the modules `myparts` and `mysizes`, and forgets those that were imported."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))

    def write(units: int | None, parts: str = PARTS) -> None:
        shutil.rmtree(root / "__pycache__", ignore_errors=True)  # compiled files know seconds only
        for path, text in ((root / "myparts.py", parts), (root / "mysizes.py", SIZES.format(units=units))):
            path.unlink(missing_ok=True)
            if units is not None:
                path.write_text(text)
            sys.modules.pop(path.stem, None)
        _source_digest_once.cache_clear()

    write(4)
    return write


def sweep_of(storage: Path, **changes: Any) -> SweepSpec:
    own = {"algorithm": "myparts:Mine"}
    fields: dict[str, Any] = {
        "arms": [own, {**own, "annealing": ANNEALING}, {"algorithm": "ERM"}],
        "search_space": {"strength": {"uniform": [0, 1]}, "lr": {"loguniform": [1e-3, 1e-1]}},
        "draws": 2,
        "training": {"steps": 10, "evaluate_every": 3, "network": "myparts:make"},
        "early_stopping": {"grace_period": 5},
    }
    return load(small_sweep(**{**fields, **changes}), storage=storage)


def keys(sweep: SweepSpec) -> set[str]:
    return {run.key for run in read_plan(sweep.folder).runs}


def test_results_are_read_without_the_code_and_beside_newer_code(
    project: Callable[..., None], tmp_path: Path, gga: Command
) -> None:
    sweep = sweep_of(tmp_path / "results")
    train_without_ray(sweep)
    commands = (
        ("report", sweep.folder, "--full"),
        ("report", sweep.folder, "--format", "json"),
        ("status", sweep.folder),
        ("verify", sweep.folder),
        ("export", sweep.folder, "--domainbed", tmp_path / "tree", "--models"),
        ("clean", sweep.folder),
    )
    before, planned = [gga(*command) for command in commands], keys(sweep)
    assert [called.code for called in before] == [0] * len(commands), [called.err for called in before]
    assert "myparts:Mine is transductive" in before[0].words
    newer = PARTS.replace("NUMERICS = 3", "NUMERICS = 4").replace('"strength"', '"weakness"')
    for change in (lambda: project(None), lambda: project(8, newer)):
        change()
        assert keys(sweep) == planned
        assert [gga(*command).out for command in commands] == [called.out for called in before]


def test_a_launch_with_changed_code_is_refused_then_allowed_and_leaves_no_mixed_table(
    project: Callable[..., None], tmp_path: Path
) -> None:
    sweep = sweep_of(tmp_path / "results")
    train_without_ray(sweep)
    first = keys(sweep)
    project(8)
    rule = "the source of myparts:make changed since this sweep was launched; .*--allow-change"
    with pytest.raises(InputError, match=rule) as caught:
        prepare_ledger(sweep_of(tmp_path / "results", trial_seeds=[0, 1]))
    assert len(caught.value.faults) == 2  # the algorithm stands in the same file
    assert keys(sweep) == first

    changed = sweep_of(tmp_path / "results")
    plan, ledger = plan_sweep(changed, prepare_ledger(changed, allow_change=True)), Ledger(changed.folder)
    assert first.isdisjoint(run.key for run in plan.runs)
    shown = " ".join(render_text(make_report(plan, ledger)).split())
    assert f"{len(first)} runs of the ledger outside the present plan, {len(first)} of them trained with" in shown
    assert "another source of myparts:make" in shown
    assert "nothing to select" in shown

    searcher = {"arm": "ERM", "test_domain": "north", "trial_seed": 0, "lr": 0.02}
    project(4)  # the earlier code again, and its runs
    contents = prepare_ledger(sweep_of(tmp_path / "results"), allow_change=True)
    earlier = searched_run(sweep_of(tmp_path / "results"), contents, searcher)
    keep_searched(ledger, earlier)
    training = open_run(earlier, ledger, changed.storage, contents.dataset, on_gpu=False)
    while training.advance().status is RunStatus.RUNNING:
        pass
    assert [run.key for run in make_report(read_plan(sweep.folder), ledger).view.records][-1] == earlier.key
    project(8)
    prepare_ledger(sweep_of(tmp_path / "results"), allow_change=True)
    assert make_report(read_plan(sweep.folder), ledger).view.records == ()

    project(4)
    prepare_ledger(sweep_of(tmp_path / "results"), allow_change=True)
    assert keys(sweep) == first


def test_other_code_neither_resumes_nor_trains_a_run_that_was_planned_before(
    project: Callable[..., None], tmp_path: Path
) -> None:
    sweep = sweep_of(tmp_path / "results")
    contents, ledger = prepare_ledger(sweep), Ledger(sweep.folder)
    run = plan_sweep(sweep, contents).runs[0]
    training = open_run(run, ledger, sweep.storage, contents.dataset, on_gpu=False)
    training.advance(0.0)
    training.preempt("interrupted")
    project(8)
    with pytest.raises(GGASweepError, match="the source of myparts:make here is not that the sweep was planned with"):
        open_run(run, ledger, sweep.storage, contents.dataset, on_gpu=False)
    assert ledger.run(run.folder).read_state().status is RunStatus.PREEMPTED
    project(4)
    assert open_run(run, ledger, sweep.storage, contents.dataset, on_gpu=False).progress.step >= 0


def test_a_model_that_is_loaded_with_other_code_says_so(
    project: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from gga_sweep.execution.model import load_model

    sweep = sweep_of(tmp_path / "results")
    folder = train_without_ray(sweep)[0]
    load_model(folder)
    assert caplog.text == ""
    project(4, PARTS + "# changed\n")
    load_model(folder)
    assert "the source of myparts:make, myparts:Mine changed since it was trained" in caplog.text
    project(8)
    with pytest.raises(GGASweepError, match="the source of myparts:make, myparts:Mine changed since it was trained"):
        load_model(folder)
