from __future__ import annotations

import math
import posixpath
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented_ledger import invented_annealed_step, invented_noisy_step, invented_plan, invented_record

from gga_sweep.records import Averaged, DomainScores, Record, RunResult, RunState, RunStatus, Score
from gga_sweep.selection import domain_label
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.descriptions import run_params, run_tags, summary_tags
from gga_sweep.tracking.points import run_points

DOMAIN_NAMES = st.text(min_size=1, max_size=400)


@pytest.fixture(scope="module")
def annealed_run(tmp_path_factory: pytest.TempPathFactory) -> PlannedRun:
    return invented_plan(tmp_path_factory.mktemp("names")).runs[-1]


@settings(max_examples=200, deadline=None)
@given(DOMAIN_NAMES)
def test_every_domain_gives_names_that_mlflow_takes(domain: str) -> None:
    metric = f"test/validation_accuracy/{names.domain_key(domain)}"
    assert re.fullmatch(r"[A-Za-z0-9_\-. :/]{1,250}", metric)
    assert posixpath.normpath(metric) == metric
    assert metric == metric.strip()


@settings(max_examples=200, deadline=None)
@given(DOMAIN_NAMES, DOMAIN_NAMES)
def test_two_domains_never_share_a_name(one: str, other: str) -> None:
    assert (names.domain_key(one) == names.domain_key(other)) == (one == other)


@pytest.mark.parametrize(
    ("domain", "key"),
    [
        ("art_painting", "art_painting"),
        ("Real World", "Real World"),
        ("location_100.v2", "location_100.v2"),
        ("75", "75"),
        ("a/b", "a:2f:b"),
        ("a:2f:b", "a:3a:2f:3a:b"),
        ("..", ":2e::2e:"),
        ("é", ":e9:"),
    ],
)
def test_usual_domains_keep_their_name_and_the_rest_is_spelled_out(domain: str, key: str) -> None:
    assert names.domain_key(domain) == key


def test_tune_sees_the_training_domains_alone(annealed_run: PlannedRun) -> None:
    record = invented_record(annealed_run, 2)
    metrics = names.validation_metrics(record.validation, "accuracy")
    assert metrics["val/accuracy"] == record.validation.accuracy
    assert metrics["val/accuracy/15"] == record.validation.domains["15"].validation.accuracy
    assert metrics["train/loss"] == record.validation.training_mean("loss")
    assert metrics["train/agreement_min"] == 0.3
    assert metrics["val/agreement_mean"] == 0.2
    assert all(key.startswith(("val/", "train/")) and not key.endswith("/75") for key in metrics)


def test_the_reported_test_accuracy_is_that_of_the_training_split(annealed_run: PlannedRun) -> None:
    scores = invented_record(annealed_run, 2).test.domains["75"]
    assert names.test_metrics(invented_record(annealed_run, 2).test, "accuracy") == {
        "test/accuracy/75": scores.train.accuracy,
        "test/loss/75": scores.train.loss,
        "test/validation_accuracy/75": scores.validation.accuracy,
        "test/gradient_cosine/75": 0.6,
    }


def test_the_sweeps_metric_is_shown_by_domain_and_an_undefined_value_not_at_all(annealed_run: PlannedRun) -> None:
    record = invented_record(annealed_run, 2)
    score = Score(0.5, 1.0, balanced_accuracy=0.25, macro_f1=0.75, auroc=None, ece=0.125)
    domains = dict.fromkeys(record.validation.domains, DomainScores(None, score))
    metrics = names.validation_metrics(replace(record.validation, domains=domains), "macro_f1")
    assert (metrics["val/accuracy"], metrics["val/macro_f1"], metrics["val/ece"]) == (0.5, 0.75, 0.125)
    assert (metrics["val/macro_f1/15"], metrics["val/loss/15"]) == (0.75, 1.0)
    assert not {"val/auroc", "val/accuracy/15", "train/macro_f1"} & metrics.keys()
    test = replace(record.test, domains={"75": DomainScores(score, score)})
    assert names.test_metrics(test, "macro_f1") == {
        "test/accuracy/75": 0.5,
        "test/loss/75": 1.0,
        "test/balanced_accuracy/75": 0.25,
        "test/macro_f1/75": 0.75,
        "test/ece/75": 0.125,
        "test/validation_macro_f1/75": 0.75,
        "test/gradient_cosine/75": 0.6,
    }
    assert "test/validation_auroc/75" not in names.test_metrics(test, "auroc")


def test_gains_of_an_annealed_step_are_after_less_before() -> None:
    metrics = names.search_metrics(replace(invented_annealed_step(7), accepted=1))
    assert metrics["annealing/alignment_gain"] == pytest.approx(0.2)
    assert metrics["annealing/fresh_gain"] == pytest.approx(0.05)
    assert metrics["annealing/next_gain"] == pytest.approx(-0.1)
    assert metrics["annealing/accepted"] == 1
    assert metrics["annealing/tried"] == 4
    assert metrics["annealing/acceptance_rate"] == 0.25


def test_nothing_tried_has_no_acceptance_rate() -> None:
    metrics = names.search_metrics(replace(invented_annealed_step(7), tried=0, accepted=0, chosen=None))
    assert metrics["annealing/tried"] == metrics["annealing/accepted"] == 0
    assert "annealing/acceptance_rate" not in metrics


def test_a_noisy_step_tells_how_strong_the_noise_was_and_why() -> None:
    assert names.noise_metrics(invented_noisy_step(2)) == {
        "annealing/alpha": pytest.approx(0.008),
        "annealing/mean_cosine": pytest.approx(0.2),
        "annealing/noise_over_gradient": 0.25,
    }


def test_what_a_noisy_step_leaves_undefined_is_not_shown() -> None:
    constant = replace(invented_noisy_step(2), mean_cosine=math.nan)
    assert names.noise_metrics(constant).keys() == {"annealing/alpha", "annealing/noise_over_gradient"}
    without_gradient = replace(invented_noisy_step(2), gradient_norm=0.0)
    assert names.noise_metrics(without_gradient).keys() == {"annealing/alpha", "annealing/mean_cosine"}


def test_the_table_of_names_lists_every_metric(annealed_run: PlannedRun) -> None:
    record = invented_record(annealed_run, 2)
    documented = str(names.__doc__)
    keys = names.validation_metrics(record.validation, "accuracy") | names.test_metrics(record.test, "accuracy")
    for key in keys:
        family = re.sub(r"/\d+$", "/<domain>", key).replace("agreement_mean", "agreement_min")
        family = re.sub(r"(?<=/)(validation_)?(accuracy|loss)\b", r"\1<metric>", family)
        assert f"`{family}`" in documented, key


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_what_mlflow_shows_of_a_runs_end_is_of_the_sweeps_metric(annealed_run: PlannedRun, metric: str) -> None:
    run = replace(annealed_run, config=annealed_run.config.model_copy(update={"metric": metric}))
    score = DomainScores(Score(0.25, 1.0, macro_f1=0.375), Score(0.5, 1.0, macro_f1=0.75))
    record = invented_record(run, 2)
    record = Record(
        replace(record.validation, domains=dict.fromkeys(record.validation.domains, score)),
        replace(record.test, domains={"75": score}),
    )
    averaged = Averaged(0, 2, None, record)
    result = RunResult("run", RunState(RunStatus.DONE, step=2), records=(record,), averaged=averaged)
    shown = {point.key: point.value for point in run_points(run, result, start_time=0.0)}
    validation, test = (0.5, 0.25) if metric == "accuracy" else (0.75, 0.375)
    for of in ("selected", "averaged"):
        scores = {key: value for key, value in shown.items() if re.match(rf"{of}/(val|test)_(?!loss)", key)}
        assert scores == {f"{of}/val_{metric}": validation, f"{of}/test_{metric}": test}


def test_importing_the_names_loads_neither_mlflow_nor_torch() -> None:
    code = "import sys, gga_sweep.tracking.names; print({'mlflow', 'torch', 'ray'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_no_value_is_longer_than_mlflow_takes_and_different_ones_stay_so(annealed_run: PlannedRun, plan: Plan) -> None:
    """MLflow cuts longer ones, with a warning, and takes two that it cut for one."""
    many = tuple(f"{i:03}-{'x' * 100}" for i in range(65))
    runs = [
        replace(annealed_run, cell=replace(annealed_run.cell, test_domains=domains), draws=tuple(range(5000)))
        for domains in (many, many[:-1])
    ]
    for describe in (run_params, lambda run: run_tags(plan.sweep, run)):
        one, other = map(describe, runs)
        assert max(map(len, one.values())) <= 5000
        changed = {name for name, value in one.items() if other[name] != value}
        assert {name.removeprefix(names.PREFIX) for name in changed} >= {"test_domains"}
    label = domain_label(many)
    tags = summary_tags(plan.sweep, "ERM", names.value_of(label))
    assert max(map(len, tags.values())) <= 5000
    assert len(tags[names.RUN_NAME]) < 250
    assert names.value_of("art+photo") == "art+photo"
