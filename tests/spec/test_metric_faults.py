"""`metric:` in a sweep file: which are known, where they are refused, what they change of runs and keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sweep_content import CONTENTS, content, on_tree, write_tree

from gga_sweep.datasets import split_domain
from gga_sweep.errors import InputError
from gga_sweep.metrics import SELECTING
from gga_sweep.spec import load, plan_sweep


def keys(**fields: Any) -> list[str]:
    return [run.key for run in plan_sweep(load(content(**fields)), CONTENTS).runs]


def fault_of(fields: dict[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        load(fields)
    [fault] = raised.value.faults
    assert fault.field == "metric"
    return str(fault)


@pytest.mark.parametrize("metric", SELECTING)
@pytest.mark.parametrize("evaluate", ["all", "selection"])
def test_a_metric_changes_only_the_field_of_that_name(metric: str, evaluate: str) -> None:
    training = {"evaluate": evaluate}
    plain, found = (load(content(training=training, **given)) for given in ({}, {"metric": metric}))
    runs = plan_sweep(found, CONTENTS).runs
    assert {run.config.metric for run in runs} == {metric}
    assert [run.config.model_copy(update={"metric": "accuracy"}) for run in runs] == [
        run.config for run in plan_sweep(plain, CONTENTS).runs
    ]


def test_a_run_is_another_one_under_another_metric_and_the_default_is_left_out_of_the_key() -> None:
    plain = keys()
    assert keys(metric="accuracy") == plain
    every = [key for metric in SELECTING for key in keys(metric=metric)]
    assert len(set(every)) == len(SELECTING) * len(plain)


def test_what_no_run_can_be_selected_by_is_refused() -> None:
    assert "must be 'accuracy', 'balanced_accuracy', 'macro_f1' or 'auroc', got 'loss'" in fault_of(
        content(metric="loss")
    )


@pytest.mark.parametrize("protocol", ["domainbed", "domainbed-head"])
def test_domainbeds_protocols_stay_with_accuracy(protocol: str) -> None:
    said = fault_of(content(protocol=protocol, metric="macro_f1"))
    assert f"must be accuracy under protocol {protocol}" in said
    assert "got 'macro_f1' (allowed: accuracy)" in said
    load(content(protocol=protocol, metric="accuracy"))


def test_the_papers_protocol_prints_another_metric_as_a_deviation() -> None:
    deviations = load(content(protocol="gga-paper", metric="balanced_accuracy")).deviations
    assert "runs are selected and compared by balanced accuracy (the protocol's: accuracy)" in deviations
    assert not any("selected and compared" in text for text in load(content(protocol="gga-paper")).deviations)
    assert load(content(metric="balanced_accuracy")).deviations == load(content()).deviations


def test_the_auroc_of_more_classes_than_validation_images_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, classes=("cat", "cow", "dog"), per_class=4)
    said = fault_of(on_tree(tmp_path, metric="auroc"))
    assert "AUROC needs an image of every class in each split: 3 classes, but 2 validation images in domain" in said
    assert "(2 more such splits)" in said
    load(on_tree(tmp_path, metric="macro_f1"))


def test_a_benchmark_whose_images_are_missing_is_planned_by_its_counts() -> None:
    load(on_tree(None, dataset={"name": "PACS"}, metric="auroc"))


def lacking(root: Path, holdout: float, trial_seeds: range) -> list[tuple[str, str, int]]:
    """Domain, split and trial seed of each split without one of the classes, which have five images each."""
    found = []
    for seed in trial_seeds:
        for index, name in enumerate(("art", "photo", "sketch")):
            split = split_domain(10, "ImageFolder", seed, name, index, "stream", holdout)
            for part, indices in (("validation", split.validation), ("train", split.train)):
                if len(set(indices // 5)) < 2:
                    found.append((name, part, seed))
    return found


def test_a_split_without_an_image_of_a_class_is_refused_and_named(tmp_path: Path) -> None:
    write_tree(tmp_path, per_class=5)
    refused = accepted = 0
    for seed in range(8):
        fields = on_tree(tmp_path, metric="auroc", trial_seeds=[seed])
        without = lacking(tmp_path, 0.2, range(seed, seed + 1))
        if without:
            said = fault_of(fields)
            named = re.search(r"the (\w+) split of domain '(\w+)' lacks class '(cat|dog)' under trial seed (\d)", said)
            assert named is not None
            assert (named[2], named[1], int(named[4])) in without
            refused += 1
        else:
            load(fields)
            accepted += 1
        load(on_tree(tmp_path, metric="balanced_accuracy", trial_seeds=[seed]))
    assert refused
    assert accepted


def test_only_splits_that_are_read_must_have_every_class(tmp_path: Path) -> None:
    write_tree(tmp_path, per_class=5)
    seed, name = next(
        (seed, without[0][0])
        for seed in range(50)
        if len(without := lacking(tmp_path, 0.2, range(seed, seed + 1))) == 1 and without[0][1] == "validation"
    )
    others = [domain for domain in ("art", "photo", "sketch") if domain != name]
    load(on_tree(tmp_path, metric="auroc", trial_seeds=[seed], test_domains=[name]))  # it never validates
    fault_of(on_tree(tmp_path, metric="auroc", trial_seeds=[seed], test_domains=others))
