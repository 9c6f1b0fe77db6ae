"""A sweep kept in its ledger: read again without its images, and not changed under its name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sweep_content import CONTENTS, GGA, GGA_L, content, on_tree, two_arms, write_tree

from gga_sweep.errors import InputError
from gga_sweep.execution.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import check_unchanged, read_plan, write_sweep
from gga_sweep.spec import Contents, load, plan_sweep


def keep(source: dict[str, Any], storage: Path, contents: Contents = CONTENTS) -> Ledger:
    sweep = load(source, storage=storage)
    ledger = Ledger(sweep.folder)
    write_sweep(ledger, sweep, contents)
    return ledger


def check(ledger: Ledger, source: dict[str, Any], contents: Contents = CONTENTS) -> None:
    check_unchanged(ledger, load(source, storage=ledger.folder.parent), contents)


@pytest.mark.parametrize(
    "source",
    [
        content(),
        two_arms(),
        two_arms(arms=[{}, {**GGA, "name": "x", "vary": {"annealing.radius": [1, 1e-5]}}], test_domains=[[0, 15], 75]),
        content(search="grid", search_space={"lr": {"choice": [1, 1.0e-3]}}, training={"holdout": 0.3, "threads": 2}),
        content(protocol="domainbed", draws=3),
        content(arms=[{}, {"annealing": {"variant": "guided"}}, {**GGA_L, "vary": {"annealing.gamma": [1e-3, 1]}}]),
    ],
)
def test_plan_is_read_as_it_was_written(source: dict[str, Any], tmp_path: Path) -> None:
    ledger = keep(source, tmp_path)
    written = plan_sweep(load(source, storage=tmp_path), CONTENTS)
    read = read_plan(ledger.folder)
    assert read.runs == written.runs
    assert read.sweep == written.sweep


def test_plan_is_read_without_its_images(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    sweep = load(on_tree(tree, draws=2), storage=tmp_path / "storage")
    contents = prepare_ledger(sweep)
    written = plan_sweep(sweep, contents)
    shutil.rmtree(tree)
    read = read_plan(sweep.folder)
    assert [run.key for run in read.runs] == [run.key for run in written.runs]
    assert all(run.key is not None for run in read.runs)
    assert read.sweep == written.sweep


def test_ledger_may_be_copied_elsewhere(tmp_path: Path) -> None:
    ledger = keep(two_arms(), tmp_path / "here")
    there = tmp_path / "there"
    shutil.copytree(ledger.folder, there / "tiny")
    assert read_plan(there / "tiny").sweep.storage == there
    assert [run.folder for run in read_plan(there / "tiny").runs] == [
        run.folder for run in read_plan(ledger.folder).runs
    ]


def test_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"DIR: must be a sweep's folder .*got '{tmp_path}'"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"draws": 9},
        {"trial_seeds": [0, 1, 2, 3]},
        {"trial_seeds": [5]},
        {"test_domains": "all"},
        {"arms": [{}, GGA, {"name": "third", "annealing": {"objective": "anti"}}]},
        {"resources": {"cpus": 2, "max_concurrent": 3}},
        {"tracking": {"system_metrics": True}},
    ],
)
def test_sweep_may_be_extended_and_moved_under_its_name(changes: dict[str, Any], tmp_path: Path) -> None:
    check(keep(two_arms(), tmp_path), two_arms(**changes))


@pytest.mark.parametrize(
    ("changes", "field", "now", "before"),
    [
        ({"training": {"steps": 11}}, "training", "'steps': 11", "'steps': 10"),
        ({"training": {"steps": 10, "threads": 2}}, "training", "'threads': 2", "'threads': 1"),
        ({"defaults": {**two_arms()["defaults"], "lr": 2e-3}}, "defaults", "'lr': 0.002", "'lr': 0.001"),
        ({"search_space": {"lr": {"loguniform": [1e-4, 3e-3]}}}, "search_space", "0.0001", "0.0003"),
        ({"search_space": {}}, "search_space", "{}", "loguniform"),
        ({"protocol": "gga-paper", "defaults": two_arms()["defaults"]}, "protocol", "gga-paper", "quick"),
        ({"dataset": {"name": "ColoredDigits"}, "test_domains": ["10"]}, "dataset", "ColoredDigits", "RotatedDigits"),
    ],
)
def test_any_other_change_is_refused_with_both_values(
    changes: dict[str, Any], field: str, now: str, before: str, tmp_path: Path
) -> None:
    ledger = keep(two_arms(), tmp_path)
    with pytest.raises(InputError) as caught:
        check(ledger, two_arms(**changes))
    [fault] = caught.value.faults
    assert fault.field == field
    assert now in str(fault.got)
    assert before in fault.rule.partition("It was ")[2]
    assert "--allow-change" in fault.rule


def test_every_field_that_changed_is_named(tmp_path: Path) -> None:
    ledger = keep(two_arms(), tmp_path)
    with pytest.raises(InputError) as caught:
        check(ledger, two_arms(training={"steps": 20}, search_space={}, draws=1))
    assert [fault.field for fault in caught.value.faults] == ["search_space", "training"]


def test_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset: its images are not those"):
        check(keep(two_arms(), tmp_path), two_arms(), Contents("e" * 32))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(b"weights")
    source = on_tree(write_tree(tmp_path / "tree"), training={"weights": path})
    ledger = keep(source, tmp_path / "storage", Contents(CONTENTS.dataset, {path: "v" * 64}))
    with pytest.raises(InputError, match="training: changed"):
        check(ledger, source, Contents(CONTENTS.dataset, {path: "w" * 64}))


def test_images_and_weights_may_move(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tree(tmp_path / name)
        (tmp_path / f"{name}.pt").write_bytes(b"weights")

    def source(name: str) -> dict[str, Any]:
        return on_tree(tmp_path / name, training={"weights": str(tmp_path / f"{name}.pt")})

    before, now = (Contents("d" * 32, {str(tmp_path / f"{name}.pt"): "w" * 64}) for name in ("a", "b"))
    check(keep(source("a"), tmp_path / "storage", before), source("b"), now)


def test_published_weights_may_not_change(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    ledger = keep(on_tree(tree, training={"network": "resnet50", "weights": "IMAGENET1K_V1"}), tmp_path / "storage")
    with pytest.raises(InputError, match=r"training: changed .*got .*IMAGENET1K_V2"):
        check(ledger, on_tree(tree, training={"network": "resnet50", "weights": "IMAGENET1K_V2"}))


def test_empty_ledger_accepts_any_sweep(tmp_path: Path) -> None:
    check(Ledger(tmp_path / "tiny"), two_arms())


def test_changed_sweep_is_refused_until_allowed(tmp_path: Path) -> None:
    contents = prepare_ledger(load(two_arms(), storage=tmp_path))
    changed = load(two_arms(training={"steps": 20}), storage=tmp_path)
    with pytest.raises(InputError, match="training: changed since this sweep was launched"):
        prepare_ledger(changed)
    assert read_plan(changed.folder).sweep.training.steps == 10
    assert prepare_ledger(changed, allow_change=True) == contents
    assert read_plan(changed.folder).sweep.training.steps == 20


def test_images_are_decoded_once_into_the_cache(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    sweep = load(on_tree(tree), storage=tmp_path / "storage")
    require_writable(sweep.storage)
    decode_images(sweep)
    written = {path: path.stat().st_mtime_ns for path in (sweep.storage / "cache").rglob("*.npy")}
    assert len(written) > 0
    decode_images(sweep)
    assert {path: path.stat().st_mtime_ns for path in (sweep.storage / "cache").rglob("*.npy")} == written


def test_a_dataset_that_is_made_in_memory_is_not_made_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("gga_sweep.execution.prepare.load_dataset")
    decode_images(load("demo", storage=tmp_path))


def test_missing_storage_folder_is_created(tmp_path: Path) -> None:
    require_writable(tmp_path / "deeper" / "still")
    assert list((tmp_path / "deeper" / "still").iterdir()) == []
