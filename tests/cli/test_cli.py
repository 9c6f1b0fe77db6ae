"""The command line: what each command prints, what each option changes, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from empty_plots import leave_plots_empty
from made_runs import changed_run
from PIL import Image
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, f1_score

from gga_sweep import cli
from gga_sweep.api import SweepResult
from gga_sweep.datasets.digits import colored_digits_ceilings
from gga_sweep.datasets.registry import known_datasets
from gga_sweep.errors import Fault, GGASweepError, InputError, SweepOwnedError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.report.files import FORMATS
from gga_sweep.report.make_report import make_report, report_of
from gga_sweep.spec import SweepSpec, plan_sweep, read_contents

if TYPE_CHECKING:  # pytest wants to import it itself
    from console import Command

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what MLflow imports


@pytest.fixture
def write(trained: SweepSpec, tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep file that differs from the trained sweep's in these fields."""

    def make(**fields: Any) -> Path:
        path = tmp_path / "digits.yaml"
        path.write_text(yaml.safe_dump({**trained.config.model_dump(mode="json", exclude_none=True), **fields}))
        return path

    return make


@pytest.fixture
def digits_file(write: Callable[..., Path]) -> Path:
    """The trained sweep's file."""
    return write()


def result_of(sweep: SweepSpec, **changes: Any) -> SweepResult:
    """What a launch of the trained sweep would return."""
    plan, ledger = plan_sweep(sweep, read_contents(sweep)), Ledger(sweep.folder)
    paths = {"html": sweep.folder / "report.html"}
    result = SweepResult(plan, ledger, make_report(plan, ledger), paths, "sqlite:///x", tracked=True, stopped=None)
    return replace(result, **changes)


@dataclass
class Launcher:
    """Stands for `run_sweep`: stores its arguments, returns or raises its answer."""

    answer: SweepResult | BaseException
    sweep: SweepSpec | None = None
    options: LaunchOptions | None = None

    def __call__(self, sweep: SweepSpec, options: LaunchOptions, console: Console) -> SweepResult:
        self.sweep, self.options = sweep, options
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def launcher(trained: SweepSpec, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    fake = Launcher(result_of(trained))
    monkeypatch.setattr("gga_sweep.api.run_sweep", fake)
    return fake


# run


def test_run_prints_the_table_and_where_everything_is(
    gga: Command, launcher: Launcher, digits_file: Path, trained: SweepSpec
) -> None:
    called = gga("run", digits_file)
    assert called.code == 0
    assert called.err == ""
    assert " ERM " in called.words
    assert " GGA " in called.words
    assert f"Page: {trained.folder / 'report.html'}" in called.words
    assert re.search(r"Spent: \d[\d.]* device-seconds over all launches", called.words)
    assert f"MLflow:  gga-sweep ui {trained.folder}\n" in called.out
    assert called.out.rstrip().endswith(f"gga-sweep report --full {trained.folder}")
    assert len(called.out.partition("GGA ")[2].splitlines()) <= 12  # after the table


def test_failed_runs_are_printed_and_the_exit_code_is_1(
    gga: Command, launcher: Launcher, digits_file: Path, trained: SweepSpec
) -> None:
    result = result_of(trained)
    reason = "RuntimeError: [/told] to :fail:"
    failed = changed_run(result.records[0], status=RunStatus.FAILED, reason=reason)
    view = replace(result.report.view, records=(failed, *result.records[1:]))
    launcher.answer = replace(result, report=report_of(result.plan.sweep, view))
    called = gga("run", digits_file)
    assert called.code == 1
    assert called.err == f"Failed: ERM · test 0 · seed 0 · draw 0: {reason}\n"
    assert "* from fewer runs than planned" in called.words  # the table is printed all the same


def test_of_many_failed_runs_the_first_are_printed_and_the_others_counted(
    gga: Command, launcher: Launcher, digits_file: Path, trained: SweepSpec
) -> None:
    result = result_of(trained)
    failed = tuple(changed_run(run, status=RunStatus.FAILED, reason="broken") for run in result.records)
    view = replace(result.report.view, records=failed)
    launcher.answer = replace(result, report=report_of(result.plan.sweep, view))
    lines = gga("run", digits_file).err.splitlines()
    assert len(lines) == 4
    assert lines[-1] == f"Failed: {len(failed) - 3} more runs; `gga-sweep status {trained.folder}` shows why."


def test_an_interrupted_sweep_prints_its_table_and_the_exit_code_is_3(
    gga: Command, launcher: Launcher, digits_file: Path, trained: SweepSpec
) -> None:
    launcher.answer = result_of(trained, stopped="interrupted by SIGINT")
    called = gga("run", digits_file)
    assert called.code == 3
    assert " GGA " in called.words
    assert called.err == "Stopped: interrupted by SIGINT. `gga-sweep run` continues where it stopped.\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SweepOwnedError("another launch owns the sweep"), 3, "another launch owns the sweep"),
        (KeyboardInterrupt(), 3, "Interrupted. `gga-sweep run` continues"),
        (InputError([Fault("a", "must be [b]", ":smile:")], "the file"), 2, "a: must be [b], got ':smile:'"),
        (GGASweepError("cannot join a Ray cluster at nowhere"), 2, "cannot join a Ray cluster at nowhere"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_message_without_traceback(
    gga: Command, launcher: Launcher, digits_file: Path, error: BaseException, code: int, said: str
) -> None:
    launcher.answer = error
    called = gga("run", digits_file)
    assert called.code == code
    assert said in called.err
    assert "Traceback" not in called.err


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--address", "auto"], {"address": "auto"}),
        (["--max-concurrent", "3"], {"max_concurrent": 3}),
        (["--require-tracking"], {"require_tracking": True}),
        (["--allow-change"], {"allow_change": True}),
        (["--take-over"], {"take_over": True}),
        (["--on-error", "stop"], {"on_error": "stop"}),
        (["--keep-checkpoints", "all"], {"keep_checkpoints": "all"}),
        (["--strict-environment"], {"strict_environment": True}),
        (["--unshared"], {"unshared": True}),
        (["--dashboard"], {"dashboard": True}),
        (["--tracking-uri", "http://host:5000"], {"tracking_uri": "http://host:5000"}),
        (["--storage", "/elsewhere"], {"storage": Path("/elsewhere")}),
        (["--set", "training.steps=9"], {"steps": 9}),
        (["--set", "training.steps=9", "--set", "trial_seeds=[4]"], {"steps": 9, "trial_seeds": (4,)}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_of_run_changes_its_launch_option_alone(
    gga: Command, launcher: Launcher, digits_file: Path, arguments: Sequence[str], changed: dict[str, object]
) -> None:
    def reached() -> dict[str, object]:
        assert launcher.sweep is not None
        assert launcher.options is not None
        return {
            **asdict(launcher.options),
            "tracking_uri": launcher.sweep.tracking_uri,
            "storage": launcher.sweep.storage,
            "steps": launcher.sweep.training.steps,
            "trial_seeds": launcher.sweep.config.trial_seeds,
        }

    gga("run", digits_file)
    before = reached()
    gga("run", digits_file, *arguments)
    assert reached() == {**before, **changed}
    assert all(before[name] != value for name, value in changed.items())


def test_the_printed_ui_command_names_the_store_without_its_password(
    gga: Command, launcher: Launcher, digits_file: Path
) -> None:
    called = gga("run", digits_file, "--tracking-uri", "http://anna:secret@host:5000")
    assert "--tracking-uri 'http://***@host:5000'\n" in called.out
    assert "secret" not in called.out


@pytest.mark.parametrize("command", ["run", "plan"])
def test_all_faults_of_a_file_are_printed_at_once(
    gga: Command, launcher: Launcher, write: Callable[..., Path], command: str
) -> None:
    file = write(
        test_domains=["0", "180"],
        draws=0,
        colour="blue",
        arms=[{"algorithm": "ERN"}, {"algorithm": "ERM", "annealing": {"radius": -1e-5}}],
        training={"steps": 0},
    )
    called = gga(command, file)
    assert called.code == 2
    for place in ("draws: ", "colour: ", "arms[0].algorithm: ", "arms[1].annealing.radius: ", "training.steps: "):
        assert re.search(rf"  line \d+: {re.escape(place)}", called.err)
    assert str(file) in called.err
    assert launcher.sweep is None


# plan


def test_a_benchmark_without_images_can_be_planned_but_not_run(
    gga: Command, write: Callable[..., Path], tmp_path: Path
) -> None:
    file = write(dataset={"name": "PACS"}, test_domains="all", arms=[{"algorithm": "ERM"}])
    planned = gga("plan", file, "--storage", tmp_path / "results")
    assert planned.code == 0
    assert "ERM 4 8 0" in planned.words
    assert "The images of PACS are missing (no dataset.root given)" in planned.words
    launched = gga("run", file, "--storage", tmp_path / "results")
    assert launched.code == 2
    assert "dataset.root: must be the folder that holds domain/class/image" in launched.err
    assert not (tmp_path / "results" / "mlflow.db").exists()


def test_a_plan_counts_the_runs_done_in_its_storage(gga: Command, digits_file: Path, trained: SweepSpec) -> None:
    assert "ERM 2 4 4" in gga("plan", digits_file, "--storage", trained.storage).words
    assert "ERM 2 4 0" in gga("plan", digits_file, "--storage", "elsewhere").words
    assert not Path("elsewhere").exists()
    more = gga("plan", digits_file, "--storage", trained.storage, "--set", "draws=3").words
    assert "ERM 2 6 4" in more


def test_a_plan_shows_its_price_from_done_runs_or_a_calibration(
    gga: Command, digits_file: Path, trained: SweepSpec
) -> None:
    learned = gga("plan", digits_file, "--storage", trained.storage).words
    assert "none of them left (0 of 8 jobs" in learned
    assert "Device: cpu. From the done runs, by counted work." in learned
    assert "Price unknown: no run is done yet." in gga("plan", digits_file, "--storage", "elsewhere").words
    calibrated = gga("plan", digits_file, "--storage", "elsewhere", "--calibrate").words
    assert "of wall-clock time left with" in calibrated
    assert "(8 of 8 jobs" in calibrated
    assert "From a calibration. On disk:" in calibrated
    assert "As this sweep is trained 8" in calibrated


# status and report


@pytest.mark.parametrize("report_format", FORMATS)
def test_a_report_is_printed_or_written_in_each_format(
    gga: Command, trained: SweepSpec, tmp_path: Path, report_format: str
) -> None:
    full = ["--full"] if report_format == "text" else []
    printed = gga("report", trained.folder, "--format", report_format, *full)
    assert printed.code == 0
    file = tmp_path / "table"
    written = gga("report", trained.folder, "--format", report_format, "--output", file)
    assert (written.code, written.out) == (0, f"Wrote {file}\n")
    content = file.read_bytes().decode()
    if report_format == "text":  # printed as wide as the terminal, written as wide as anybody's
        words = [set(text.replace("─", "").split()) for text in (printed.out, content)]
        assert words[0] == words[1]  # its tables break elsewhere
    else:
        assert printed.out == content
    opening = {
        "text": "digits",
        "markdown": "#",
        "latex": "%",
        "csv": "sweep,",
        "json": "{",
        "html": "<!doctype html>",
    }[report_format]
    assert content.lower().startswith(opening)
    assert "ERM" in content


def test_a_report_is_the_answer_and_with_full_every_table_and_note(gga: Command, trained: SweepSpec) -> None:
    answer, full = (gga("report", trained.folder, *options).words for options in ((), ("--full",)))
    assert "Too few trial seeds" in answer
    assert "Cost:" not in answer
    assert "Too few trial seeds" in full
    assert "Cost:" in full


@pytest.mark.parametrize(
    "options", [("--published",), ("--selection", "oracle", "--selection", "training-domain-validation")]
)
def test_what_an_answer_does_not_show_needs_full(gga: Command, trained: SweepSpec, options: tuple[str, ...]) -> None:
    refused = gga("report", trained.folder, *options)
    assert refused.code == 2
    assert f"{options[0]}: needs --full" in refused.err.replace("a second ", "")


def test_a_report_is_text_unless_another_format_is_asked_for(gga: Command, trained: SweepSpec) -> None:
    assert gga("report", trained.folder).out == gga("report", trained.folder, "--format", "text").out
    table = json.loads(gga("report", trained.folder, "--format", "json").out)
    assert table["sweep"] == "digits"


def report_json(gga: Command, sweep: SweepSpec, *options: object) -> dict[str, Any]:
    called = gga("report", sweep.folder, "--format", "json", *options)
    assert called.code == 0, called.err
    answer: dict[str, Any] = json.loads(called.out)
    return answer


def test_a_report_selects_by_the_given_methods_the_first_as_headline(gga: Command, trained: SweepSpec) -> None:
    found = report_json(gga, trained, "--selection", "oracle", "--selection", "training-domain-validation")
    assert found["selection"]["method"] == "oracle"
    assert {one["step"] for one in found["selected"]} == {4}
    assert [other["selection"]["method"] for other in found["others"]] == ["training-domain-validation"]
    assert "It chooses by the labels" in gga("report", trained.folder, "--selection", "oracle").out


def test_a_report_may_select_after_the_annealing_windows_alone(gga: Command, trained: SweepSpec) -> None:
    assert report_json(gga, trained)["selection"]["first_step"] == 0
    after = report_json(gga, trained, "--select-from", "after-window")  # the window is step 1
    assert after["selection"]["first_step"] == 2
    assert {one["step"] for one in after["selected"]} <= {2, 4}


def test_a_report_may_exclude_diverged_runs(gga: Command, own_copy: Callable[[], SweepSpec]) -> None:
    sweep = own_copy()
    best = result_of(sweep).best(arm="ERM", test_domain="0").selected
    Ledger(sweep.folder).run(best.folder).mark(RunStatus.DIVERGED, "the loss became NaN")
    assert best.key in {one["key"] for one in report_json(gga, sweep)["selected"]}
    assert best.key not in {one["key"] for one in report_json(gga, sweep, "--exclude-diverged")["selected"]}


# reseed, export, predict


def test_the_winners_are_written_as_a_sweep_that_plans(gga: Command, trained: SweepSpec, tmp_path: Path) -> None:
    called = gga("reseed", trained.folder, "--trial-seeds", "1-2,5")
    assert called.code == 0
    assert called.out.endswith("Run it with: gga-sweep run digits-reseeded.yaml\n")
    planned = gga("plan", tmp_path / "digits-reseeded.yaml")
    assert "12 runs in 12 cells" in planned.words
    named = gga("reseed", trained.folder, "--trial-seeds", "1", "--name", "again", "--output", tmp_path / "other.yaml")
    assert named.code == 0
    assert yaml.safe_load((tmp_path / "other.yaml").read_text())["name"] == "again"


def test_an_exported_sweep_is_reported_by_domainbeds_rules(gga: Command, trained: SweepSpec, tmp_path: Path) -> None:
    written = gga("export", trained.folder, "--domainbed", tmp_path / "tree")
    assert written.code == 0
    assert written.out.startswith(f"Wrote 8 runs, 24 records to {tmp_path / 'tree'}\n")
    told = gga("report", "--domainbed", tmp_path / "tree")
    assert told.code == 0
    assert "Total records: 24" in told.out
    means = [one for one in report_json(gga, trained)["records"] if one["kind"] == "accuracy" and "n" in one]
    assert means
    for mean in means:
        assert f"{100 * mean['value']:.1f}" in told.out


def test_a_broken_line_is_refused_only_with_strict(gga: Command, trained: SweepSpec, tmp_path: Path) -> None:
    gga("export", trained.folder, "--domainbed", tmp_path / "tree")
    file = next((tmp_path / "tree").glob("*/results.jsonl"))
    with file.open("a") as results:
        results.write("{broken\n")
    assert gga("report", "--domainbed", tmp_path / "tree").code == 0
    strict = gga("report", "--domainbed", tmp_path / "tree", "--strict")
    assert strict.code == 2
    assert f"{file.parent.name}/results.jsonl" in strict.err


def test_the_predictions_of_a_run_give_its_recorded_accuracies(
    gga: Command, trained: SweepSpec, tmp_path: Path
) -> None:
    selected = result_of(trained).best(arm="GGA", test_domain="75").selected
    file = tmp_path / "predictions.csv"
    called = gga("predict", trained.folder / "runs" / selected.folder, "--output", file)
    assert (called.code, called.err) == (0, "")
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["domain"], row["split"]) == ("75", "train")]
    run = next(run for run in result_of(trained).records if run.key == selected.key)
    record = next(record for record in run.records if record.step == selected.step)
    assert sum(row["correct"] == "1" for row in rows) / len(rows) == record.test.domains["75"].train.accuracy
    printed = gga("predict", trained.folder / "runs" / selected.folder, "--split", "validation")
    assert {row["split"] for row in csv.DictReader(io.StringIO(printed.out))} == {"validation"}


# bad input

NO_SWEEP = "DIR: must be a sweep's folder (STORAGE/SWEEP), as `gga-sweep run` makes it, got '{tmp}'"
NOWHERE = "DIR: must be a sweep's folder"
NO_RUN = "RUN_DIR: must be a run's folder (STORAGE/SWEEP/runs/RUN), got '"
NO_SEEDS = "--trial-seeds: must be whole numbers and ranges of them, as in 1-3,7, got "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run no-such-sweep", "got 'no-such-sweep' (allowed: demo, domainbed, "),
        ("run demo --max-concurrent 0", "--max-concurrent"),
        ("status {tmp}/nowhere", NOWHERE),
        ("report {tmp}", NO_SWEEP),
        ("ui {tmp}", NO_SWEEP),
        ("verify {tmp}/nowhere", NOWHERE),
        ("clean {tmp}/nowhere", NOWHERE),
        ("retry {tmp}/nowhere", NOWHERE),
        (
            "report {sweep} --output {tmp}/no-folder/table.txt",
            "--output: cannot be written: No such file",
        ),
        (
            "report {sweep} --selection luck",
            "--selection: must be a known selection method, got 'luck' (allowed: ",
        ),
        ("report {sweep} --full --selection oracle --selection oracle", "--selection: each method may stand once"),
        ("report {sweep} --selection leave-one-domain-out", "--selection: needs runs with pairs of test domains: name"),
        (
            "report {sweep} --select-from before",
            "--select-from: must be a known kind of steps, got 'before' (",
        ),
        (
            "report {sweep} --full --published",
            "--published: must be a dataset with published rows, got 'Rotated",
        ),
        ("report {sweep} --strict", "--strict: needs --domainbed"),
        ("report --domainbed {tmp} --published", "--published: cannot be combined with --domainbed"),
        (
            "report --domainbed {tmp} --selection oracle",
            "--selection: cannot be combined with --domainbed, which follows DomainBed's rules",
        ),
        ("reseed {sweep} --trial-seeds=one", NO_SEEDS + "'one'"),
        ("reseed {sweep} --trial-seeds=1-", NO_SEEDS + "'1-'"),
        ("reseed {sweep} --trial-seeds=-1", NO_SEEDS + "'-1'"),
        ("reseed {sweep} --trial-seeds=1,,2", NO_SEEDS + "'1,,2'"),
        ("reseed {sweep} --trial-seeds=", NO_SEEDS + "''"),
        ("reseed {sweep} --trial-seeds=4-1", NO_SEEDS + "'4-1'"),
        ("evaluate {sweep} --data {tmp}", NO_RUN),
        ("evaluate {sweep}/runs --data {tmp}", NO_RUN),
        ("evaluate {sweep}/runs/no-such-run --data {tmp}", NO_RUN),
        ("evaluate {sweep}/elsewhere/a-run --data {tmp}", NO_RUN),
        (
            "evaluate {run} --data {tree}",
            "--data: must have the model's classes as class folders, got ['cat',",
        ),
        ("data check PACS", "dataset.root: PACS needs the folder that holds domain/class/image"),
        ("data check MNIST", "dataset.name: must be a known dataset, got 'MNIST'"),
        ("data check RotatedDigits --root x", "dataset.root: RotatedDigits is embedded and has none, got 'x'"),
        ("data check ImageFolder --root nowhere", "dataset.root: must be a folder that holds domain/class/image"),
    ],
)
def test_bad_input_is_refused_with_exit_code_2(
    gga: Command, trained: SweepSpec, tmp_path: Path, line: str, message: str
) -> None:
    places = {"sweep": trained.folder, "run": trained.folder / "runs" / Ledger(trained.folder).run_names()[0]}
    tree = make_tree(tmp_path / "tree", ["cat", "dog"]) if "{tree}" in line else ""
    called = gga(*line.format(**places, tmp=tmp_path, tree=tree).split())
    assert called.code == 2
    assert message.format(tmp=tmp_path) in called.err
    assert not (tmp_path / "nowhere").exists()


def test_the_installed_script_refuses_an_unknown_format(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("gga-sweep")
    command = [script, "report", tmp_path, "--format", "papyrus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 2
    assert "--format: must be a known format, got 'papyrus' (allowed: text, markdown, latex, csv, json, " in done.stderr
    assert done.stdout == ""


def test_the_home_directory_is_known_in_every_path(
    gga: Command,
    own_copy: Callable[[], SweepSpec],
    tmp_path: Path,
    template_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shells leave `~` as it is after an `=`, and in quotes."""
    leave_plots_empty(monkeypatch)
    sweep = own_copy()
    shutil.copyfile(template_store, sweep.storage / "own.db")
    monkeypatch.setenv("HOME", str(sweep.storage))
    run = Ledger(sweep.folder).run_names()[0]
    for arguments in (
        ("status", "~/digits"),
        ("verify", "~/digits"),
        ("report", "~/digits", "--output=~/table.txt"),
        ("predict", f"~/digits/runs/{run}", "--output=~/predictions.csv"),
        ("export", "~/digits", "--domainbed=~/tree"),
        ("report", "--domainbed", "~/tree"),
        ("sync", "~/digits", "--tracking-uri=sqlite:///~/own.db"),
    ):
        called = gga(*arguments)
        assert called.code == 0, (arguments, called.err)
    made = {path.name for path in sweep.storage.iterdir()}
    assert made >= {"table.txt", "predictions.csv", "tree"}
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


# train


def test_train_compares_the_bytes_with_those_of_the_sweep(
    gga: Command, own_copy: Callable[[], SweepSpec], digits_file: Path, tmp_path: Path
) -> None:
    sweep = own_copy()
    run = plan_sweep(sweep, read_contents(sweep)).runs[-1]
    called = gga("train", digits_file, "--run", run.folder, "--storage", sweep.storage)
    assert called.code == 0
    lines = called.out.splitlines()
    accuracies = [record.validation.accuracy for record in Ledger(sweep.folder).run(run.folder).read_records()]
    assert lines[:3] == [
        f"step {step}: validation accuracy {100 * accuracy:.1f} %"
        for step, accuracy in zip((0, 2, 4), accuracies, strict=True)
    ]
    assert lines[3:] == [
        f"{run.folder}: done",
        "  records.jsonl: the same bytes as the sweep's",
        "  annealing.jsonl: the same bytes as the sweep's",
        "  selected: the same bytes as the sweep's",
    ]
    assert Ledger(sweep.folder / "replays").run_names() == [run.folder]

    records = sweep.folder / "runs" / run.folder / "records.jsonl"
    records.write_bytes(records.read_bytes().replace(b"0", b"1", 1))
    again = gga("train", digits_file, "--run", run.key[:12], "--storage", sweep.storage, "--output", tmp_path / "o")
    assert again.out.splitlines()[4:] == [
        "  records.jsonl: DIFFERS from the sweep's",
        "  annealing.jsonl: the same bytes as the sweep's",
        "  selected: the same bytes as the sweep's",
    ]
    assert Ledger(tmp_path / "o").run_names() == [run.folder]


def test_train_prints_why_a_run_failed_and_exits_with_1(
    gga: Command, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise RuntimeError("[/told] to fail")

    monkeypatch.setattr("gga_sweep.algorithms.erm.ERM.update", fail)
    file = write(test_domains=["0"], arms=[{"algorithm": "ERM"}], draws=1)
    called = gga("train", file, "--run", "", "--storage", tmp_path / "results")  # the only run
    assert called.code == 1
    assert called.out.endswith(": failed (RuntimeError: [/told] to fail)\n")


def test_train_exits_with_0_when_a_run_diverges(
    gga: Command, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gga_sweep.algorithms.erm.ERM.update", lambda *arguments: torch.tensor(float("nan")))
    file = write(test_domains=["0"], arms=[{"algorithm": "ERM"}], draws=1)
    called = gga("train", file, "--run", "", "--storage", tmp_path / "results")
    assert called.code == 0
    assert called.out.endswith(": diverged (the joint loss is nan at step 0)\n")


@pytest.mark.parametrize("key", ["no-such-run", ""], ids=["unknown", "ambiguous"])
def test_train_refuses_a_key_that_names_no_single_run(
    gga: Command, digits_file: Path, trained: SweepSpec, key: str
) -> None:
    called = gga("train", digits_file, "--run", key, "--storage", trained.storage)
    assert called.code == 2
    names = ", ".join(run.folder for run in plan_sweep(trained, read_contents(trained)).runs)
    assert f"--run: must name one run of the plan, got '{key}' (allowed: {names})" in called.err


# evaluate


def make_tree(root: Path, classes: Sequence[str], size: int = 28) -> Path:
    """Noise: two images of each class in domain `day`, one in `night`."""
    rng = np.random.default_rng(0)
    for domain, count in (("day", 2), ("night", 1)):
        for name in classes:
            folder = root / domain / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, size=(size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def test_evaluate_equals_an_evaluation_image_by_image(gga: Command, trained: SweepSpec, tmp_path: Path) -> None:
    best = result_of(trained).best(arm="ERM")
    network = best.load_model()
    tree = make_tree(tmp_path / "tree", trained.dataset.classes or ())
    rows = []
    for domain in ("day", "night"):
        labels, found, losses = [], [], []
        for file in sorted((tree / domain).rglob("*.png")):
            gray = torch.from_numpy(np.asarray(Image.open(file)).astype(np.float32) / 255).mean(dim=2)
            with torch.no_grad():
                logits = network(gray[None, None])[0].double()
            labels.append(int(file.parent.name))
            found.append(int(logits.argmax()))
            losses.append(float(torch.logsumexp(logits, 0) - logits[labels[-1]]))
        hits = np.equal(labels, found)
        balanced, f1 = balanced_accuracy_score(labels, found), f1_score(labels, found, average="macro")
        shares = [f"{100 * share:.1f}" for share in (hits.mean(), balanced, f1)]
        rows.append(f" {domain} {len(hits)} {shares[0]} {np.mean(losses):.3f} {shares[1]} {shares[2]} ")
    called = gga("evaluate", trained.folder / "runs" / best.selected.folder, "--data", tree)
    assert called.code == 0
    head = "Domain Images Accuracy (%) Loss (nats) Balanced accuracy (%) Macro F1 (%) AUROC (%) ECE (%)"
    assert called.words.startswith(head)
    for row in rows:
        assert row in called.words


# data


def test_every_dataset_is_listed_with_its_domains_and_notes(gga: Command) -> None:
    called = gga("data", "list")
    assert called.code == 0
    for dataset in known_datasets():
        domains = ", ".join(f"{name} ({size})" for name, size in dataset.domain_sizes.items())
        total = sum(dataset.domain_sizes.values())
        assert f"{dataset.name} {dataset.n_classes} {total} {domains}" in called.words
    assert "WILDSFMoW 62 470086 region_0_Asia, region_1_Europe" in called.words
    for domain, ceilings in colored_digits_ceilings().items():
        assert (
            f"ColoredDigits: domain {domain}: shape alone reaches {ceilings.shape:.3f}, "
            f"colour alone {ceilings.colour:.3f}" in called.out
        )
    assert {"RotatedDigits", "PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet"} <= set(called.words.split())
    assert "ImageFolder: any tree ROOT/domain/class/image" in called.out


def test_data_check_passes_an_embedded_dataset(gga: Command) -> None:
    called = gga("data", "check", "RotatedDigits")
    assert called.code == 0
    assert called.words.startswith("RotatedDigits: 10 classes, 1,797 images Domain Found 0 300 15 300")
    assert "shape alone reaches" in gga("data", "check", "ColoredDigits").out


def test_data_check_names_each_broken_image(gga: Command, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", ["cat", "dog"], size=8)
    called = gga("data", "check", "ImageFolder", "--root", tree)
    assert (called.code, called.words) == (0, "ImageFolder: 2 classes, 6 images Domain Found day 4 night 2")
    for name in ("day/cat/0.png", "night/dog/0.png"):
        (tree / name).write_bytes(b"no image")
    broken = gga("data", "check", "ImageFolder", "--root", tree)
    assert broken.code == 2
    assert "2 faults" in broken.err
    assert "day/cat/0.png" in broken.err
    assert "night/dog/0.png" in broken.err


def test_data_prepare_makes_a_tree_from_a_download_and_checks_it(gga: Command, tmp_path: Path) -> None:
    domains = ("art_painting", "cartoon", "photo", "sketch")
    classes = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    for domain in domains:
        make_tree(tmp_path / "unpacked" / domain, classes)
    for domain in domains:
        (tmp_path / "unpacked" / domain / "day").rename(tmp_path / "unpacked" / f"{domain}-day")
        shutil.rmtree(tmp_path / "unpacked" / domain)
        (tmp_path / "unpacked" / f"{domain}-day").rename(tmp_path / "unpacked" / domain)
    called = gga("data", "prepare", "PACS", "--from", tmp_path / "unpacked", "--root", tmp_path / "PACS")
    assert called.code == 2  # made, and other than published
    assert "domain 'photo' was published with 1670 images, got 14" in called.err
    assert called.words.startswith(
        "56 images copied, 0 linked PACS: 7 classes, 56 images, 4 things differ Domain Found"
    )
    assert "art_painting 14 2,048 -2,034" in called.words
    again = gga("data", "prepare", "PACS", "--from", tmp_path / "unpacked", "--root", tmp_path / "PACS")
    assert again.code == 2  # the tree is there


def test_data_prepare_reads_parquet_by_the_named_columns(gga: Command, tmp_path: Path) -> None:
    pixels = [path.read_bytes() for path in sorted(make_tree(tmp_path / "made", ["x"], size=8).rglob("*.png"))][:1] * 4
    rows = {"img": pixels, "place": [0, 0, 1, 1], "y": ["cat", "dog", "cat", "dog"]}
    pq.write_table(pa.table(rows), tmp_path / "own.parquet")
    command = ("data", "prepare", "ImageFolder", "--from", tmp_path / "own.parquet", "--root", tmp_path / "tree")
    refused = gga(*command, "--image-column", "img", "--label-column", "y")
    assert refused.code == 2
    assert "column domain: must exist (--domain-column names the column of domains), got ['img', " in refused.err
    called = gga(*command, "--image-column", "img", "--domain-column", "place", "--label-column", "y")
    assert (called.code, called.words) == (
        0,
        "4 images copied, 0 linked ImageFolder: 2 classes, 4 images Domain Found 0 2 1 2",
    )


# ui


def test_ui_refuses_a_store_without_the_sweep(gga: Command, trained: SweepSpec) -> None:
    called = gga("ui", trained.folder)
    assert called.code == 2
    assert f"DIR: the store sqlite:///{trained.storage / 'mlflow.db'} does not hold this sweep" in called.err
    assert not (trained.storage / "mlflow.db").exists()


def test_every_option_of_ui_reaches_the_page(gga: Command, trained: SweepSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page itself is tested in tests/tracking."""

    def serve(
        folder: Path, uri: str | None, port: int, show: Callable[[str], object], host: str, open_page: bool
    ) -> None:
        show(f"{folder} {uri} {port} {host} {open_page} " + 200 * "x")

    monkeypatch.setattr("gga_sweep.tracking.page.serve_page", serve)
    monkeypatch.setattr(cli.out, "_width", 40)  # an address must not be broken
    assert gga("ui", trained.folder).out == f"{trained.folder} None 5000 127.0.0.1 False {200 * 'x'}\n"
    called = gga("ui", trained.folder, "--tracking-uri", "http://host", "--port", "99", "--host", "::1", "--open")
    assert called.out == f"{trained.folder} http://host 99 ::1 True {200 * 'x'}\n"


@pytest.mark.parametrize("name", ["digits", "renamed"])
def test_a_moved_folder_is_still_a_sweeps_folder(gga: Command, trained: SweepSpec, tmp_path: Path, name: str) -> None:
    moved = tmp_path / "moved" / name
    shutil.copytree(trained.folder, moved)
    assert gga("report", moved).out == gga("report", trained.folder).out
