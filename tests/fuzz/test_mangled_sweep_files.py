"""Mangled sweep files, overrides and stored sweeps: an input error or a plan, never another traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mangle import as_json, fuzzed, mangled_bytes, mangled_data, only_our_errors, put_foreign, remove, texts, values

from gga_sweep.distributions import Distribution
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import check_unchanged, read_plan, write_sweep
from gga_sweep.spec import Contents, SweepSpec, load, plan_sweep, searched_run
from gga_sweep.spec.models import AnnealingConfig, ArmConfig, SweepConfig, TrainingConfig
from gga_sweep.spec.sweep_file import shipped_sweeps

CONTENTS = Contents(dataset="d" * 32)
SHIPPED = sorted(shipped_sweeps().values())

FULL: dict[str, Any] = {
    "name": "full",
    "dataset": {"name": "RotatedDigits"},
    "protocol": "quick",
    "arms": [
        {"algorithm": "ERM", "name": "plain", "draws": 2},
        {"algorithm": "ERM", "annealing": {"method": "gga", "variant": "guided", "start_step": 1, "num_steps": 2}},
        {
            "annealing": {"method": "gga-l", "gamma": 1e-3, "noise": "uniform"},
            "vary": {"annealing.alpha": ["adaptive", "constant"], "dropout": [0, 0.1]},
            "baseline": "plain",
        },
    ],
    "test_domains": [0, [15, 30]],
    "trial_seeds": [0, 7],
    "draws": 2,
    "defaults": {"lr": 1e-3, "batch_size": 16},
    "search_space": {
        "lr": {"loguniform": [3e-4, 3e-3]},
        "batch_size": {"integers": [8, 32]},
        "weight_decay": {"uniform": [0, 0.1]},
    },
    "selection": ["training-domain-validation", "oracle"],
    "select_from": "any",
    "training": {"steps": 10, "evaluate_every": 2, "network": "small-cnn", "holdout": 0.3, "threads": 1},
    "resources": {"cpus": 1, "gpus": 0, "max_concurrent": 2},
}
"""A field of every kind."""

CHOSEN: dict[str, Any] = {
    "name": "chosen",
    "dataset": {"name": "ColoredDigits"},
    "arms": [{"algorithm": "ERM"}, {"annealing": {}}],
    "test_domains": [90, 80],
    "trial_seeds": [0],
    "training": {"steps": 300},
    "chosen": {
        "search": "random search of 20",
        "cells": [
            {"arm": arm, "test_domains": [domain], "trial_seed": seed, "values": {"lr": 1e-3, **extra}}
            for arm, extra in (("ERM", {}), ("ERM + GGA", {"annealing.radius": 1e-4}))
            for domain, seed in (("90", 0), ("80", None))
        ],
    },
}
"""As `gga-sweep report` writes chosen hyperparameters."""

GRID: dict[str, Any] = {
    "name": "grid",
    "dataset": {"name": "ImageFolder", "root": "/nowhere/at/all", "image_size": 32},
    "arms": [{}],
    "search": "grid",
    "search_space": {"lr": {"choice": [1e-3, 1e-2]}, "dropout": {"choice": [0, 0.5]}},
    "protocol": "domainbed",
}

MAPPINGS = (FULL, CHOSEN, GRID, *(yaml.safe_load(path.read_text()) for path in SHIPPED))
FILES = (*(path.read_bytes() for path in SHIPPED), *(yaml.safe_dump(item).encode() for item in (FULL, CHOSEN, GRID)))
NAMES = tuple(
    sorted(
        {name for model in (SweepConfig, ArmConfig, TrainingConfig, Distribution) for name in model.model_fields}
        | {f"annealing.{name}" for name in AnnealingConfig.model_fields}
        | set(AnnealingConfig.model_fields)
    )
)
YAML = (
    *(b"&a ", b"*a", b"<<: *a\n", b"? ", b"- ", b"---\n", b"...\n", b"%YAML 9.9\n", b"| \n", b"> ", b"!", b"!!", b"@"),
    *(b"!!python/object/apply:os.system [exit]", b"!!python/name:os.system", b"!!bool maybe", b"!!int x", b"!!null 1"),
    *(b"!!timestamp x", b"!!float x", b"!!binary =", b"!!set {a, b}", b"!!omap [a]", b"!!str [1]", b"!!map a"),
    *(b"0x_", b"0b_", b"0o", b"1:99:99", b"2001-99-99", b"2001-01-01 99:99:99", b".inf", b".nan", b"1e-5", b"~", b"= "),
    *(
        b"\nname: again\n",
        b"\narms: [*a]\n",
        b"\ndraws: 1e9\n",
        b"\n? [a, b]\n: c\n",
        b"{a: b, a: c}",
        b"0x" + b"f" * 5000,
    ),
)


def read(source: Any, overrides: tuple[str, ...] = ()) -> None:
    only_our_errors(lambda: plan_sweep(load(source, overrides=overrides), CONTENTS))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.yaml"


@fuzzed
@given(mangled_bytes(FILES, YAML))
def test_a_file_of_mangled_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read(file)


@fuzzed
@given(st.data())
def test_what_is_no_file_or_in_another_encoding(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "sweep.yaml"
    remove(file)
    file.write_bytes(data.draw(st.sampled_from(FILES)))
    put_foreign(data.draw, file)
    read(file)


@fuzzed
@given(mangled_data(MAPPINGS, NAMES))
def test_mangled_content_given_as_a_mapping(content: Any) -> None:
    if isinstance(content, dict):
        read(content)


@fuzzed
@given(mangled_data(MAPPINGS, NAMES))
def test_mangled_content_written_as_yaml(file: Path, content: Any) -> None:
    file.write_bytes(as_json(content))  # JSON is YAML
    read(file)


ASSIGNED = ("training.steps", "arms[1].draws", "defaults.annealing.radius", "search_space.lr", "chosen.cells", "name")
KEYS = st.sampled_from(ASSIGNED) | st.lists(st.sampled_from(NAMES) | texts, max_size=4).map(".".join)


@fuzzed
@given(
    st.sampled_from(MAPPINGS),
    st.lists(
        st.tuples(KEYS, texts | values.map(lambda item: as_json(item).decode()) | mangled_bytes(YAML).map(repr)).map(
            "=".join
        )
        | texts,
        max_size=3,
    ),
)
def test_mangled_overrides(content: dict[str, Any], assignments: list[str]) -> None:
    read(content, tuple(assignments))


@fuzzed
@given(texts)
def test_mangled_names_of_files(name: str) -> None:
    read(name)


PROPOSED = [
    {"arm": "plain", "test_domain": "0", "trial_seed": 0, "lr": 1e-3, "batch_size": 8},
    {
        "arm": "ERM + GGA guided, start step 1, num steps 2",
        "test_domain": "15+30",
        "trial_seed": 1,
        "annealing.radius": 1,
    },
]
"""What a searcher may propose for FULL."""


@fuzzed
@given(mangled_data(PROPOSED, ("arm", "test_domain", "trial_seed", "lr", "annealing.num_steps", "annealing.mask")))
def test_mangled_proposals_of_a_searcher(launched: SweepSpec, configuration: Any) -> None:
    if isinstance(configuration, dict):
        only_our_errors(lambda: searched_run(launched, CONTENTS, configuration))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, ...]:
    """Sweeps as their ledgers keep them."""
    sweeps = [load(source, storage=tmp_path_factory.mktemp("kept")) for source in (FULL, CHOSEN)]
    for sweep in sweeps:
        write_sweep(Ledger(sweep.folder), sweep, CONTENTS)
    return tuple((sweep.folder / "sweep.json").read_bytes() for sweep in sweeps)


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> SweepSpec:
    return load(FULL, storage=tmp_path_factory.mktemp("launched"))


def look_at(launched: SweepSpec, content: bytes) -> None:
    """As `status` and `report` do, and as a launch does."""
    launched.folder.mkdir(exist_ok=True)
    (launched.folder / "sweep.json").write_bytes(content)
    only_our_errors(
        lambda: read_plan(launched.folder),
        lambda: check_unchanged(Ledger(launched.folder), launched, CONTENTS),
    )


@fuzzed
@given(st.data())
def test_a_stored_sweep_of_mangled_bytes(launched: SweepSpec, kept: tuple[bytes, ...], data: st.DataObject) -> None:
    look_at(launched, data.draw(mangled_bytes(kept)))


@fuzzed
@given(st.data())
def test_a_stored_sweep_of_mangled_fields(launched: SweepSpec, kept: tuple[bytes, ...], data: st.DataObject) -> None:
    look_at(launched, as_json(data.draw(mangled_data([json.loads(item) for item in kept], NAMES))))
