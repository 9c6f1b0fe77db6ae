"""The shipped sweep files: each loads, says how to launch it and what it costs, and asks for what exists."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sweep_content import CONTENTS

from gga_sweep import spec
from gga_sweep.algorithms.registry import get_algorithm
from gga_sweep.annealing import GGA, GGAL, METHODS, option_faults
from gga_sweep.datasets import describe
from gga_sweep.records import Scalar
from gga_sweep.spec.draws import contains
from gga_sweep.spec.models import TRAINING_FACTORS, ArmConfig, SweepConfig
from gga_sweep.spec.protocols import get_protocol

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.rglob("*.yaml"))

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(file: Path) -> SweepConfig:
    return SweepConfig.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))


def header(file: Path) -> str:
    """The comments that open a file, joined."""
    lines = file.read_text(encoding="utf-8").splitlines()
    length = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("#").strip() for line in lines[:length])


def test_every_sweep_file_of_the_first_release_is_there() -> None:
    papers = [f"gga-paper-{name}" for name in ("vlcs", "pacs", "officehome", "terraincognita", "domainnet")]
    assert {file.stem for file in FILES} >= {"demo", "domainbed", "gga-ablation", *papers}


@every_file
def test_a_file_is_a_valid_sweep_named_like_itself(file: Path) -> None:
    assert load(file).name == file.stem


@every_file
def test_a_file_opens_with_its_launch_line(file: Path) -> None:
    config = load(file)
    root = "" if config.dataset.root is None else f" --set dataset.root=./{config.dataset.root}"
    assert header(file).splitlines()[0] == f"gga-sweep run {file.stem}{root}"


@every_file
def test_a_file_asks_a_question_and_gives_sources_and_cost(file: Path) -> None:
    assert re.search(r"\?\s", header(file))
    assert re.search(r"^(Ranges|Hyperparameters): ", header(file), re.MULTILINE)
    assert re.search(r"^Cost: ", header(file), re.MULTILINE)


@every_file
def test_the_cost_names_the_number_of_runs_and_steps(file: Path) -> None:
    config = load(file)
    draws = sum(math.prod(map(len, arm.vary.values())) * (arm.draws or config.draws) for arm in config.arms)
    domains = describe(config.dataset).domain_names if config.test_domains == "all" else config.test_domains
    held_out = {name for names in domains for name in ([names] if isinstance(names, str) else names)}
    validated = "leave-one-domain-out" in (config.selection or ())
    known = describe(config.dataset).domain_names if validated else ()  # a tree is described by its folders
    pairs = sum(bool(held_out & {*pair}) for pair in itertools.combinations(known, 2)) if validated else 0
    runs = draws * (len(domains) + pairs) * len(config.trial_seeds)
    steps = config.training.steps or get_protocol(config.protocol).training(config.dataset.name).steps
    assert f"Cost: {runs} runs of {steps} steps" in header(file)


@every_file
def test_a_file_names_a_known_protocol_and_known_algorithms(file: Path) -> None:
    config = load(file)
    assert get_protocol(config.protocol).name == config.protocol
    assert all(get_algorithm(arm.algorithm).hyperparameters for arm in config.arms)


@every_file
def test_every_number_is_written_as_one(file: Path) -> None:
    """YAML reads 1e-5 as text, and text is a legal scalar: nothing but the name of a domain may look like a number."""
    config = load(file)
    texts = [value for values in scalars(config).values() for value in values if isinstance(value, str)]
    assert [text for text in texts if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text, re.IGNORECASE)] == []


@every_file
def test_every_hyperparameter_exists_and_every_value_is_allowed(file: Path) -> None:
    config = load(file)
    known = {name: spec for arm in config.arms for name, spec in get_algorithm(arm.algorithm).hyperparameters.items()}
    for name, values in scalars(config).items():
        group, _, field = name.rpartition(".")
        for value in values:
            if group == "annealing":  # of whichever method has it
                assert any(not option_faults(kind, {field: value}) for kind in METHODS.values())
            elif name not in TRAINING_FACTORS:
                assert not known[name].fault(name, value)


@every_file
def test_defaults_lie_in_the_range_they_are_searched_over(file: Path) -> None:
    config = load(file)
    outside = [
        name
        for name, searched in config.search_space.items()
        if name in config.defaults and not contains(searched, config.defaults[name])
    ]
    assert outside == []


@every_file
def test_every_annealed_arm_ends_up_with_whole_settings(file: Path) -> None:
    """Variant, arm, protocol and file together leave no setting of the annealing open."""
    config = load(file)
    protocol = get_protocol(config.protocol)
    for arm in config.arms:
        if arm.annealing is not None:
            defaults = {**protocol.defaults(arm.algorithm, config.dataset.name), **config.defaults}
            given = {name.removeprefix("annealing."): value for name, value in defaults.items() if "annealing." in name}
            whole = {**given, **annealing_values(arm)}
            if arm.annealing.kind is GGAL:
                GGAL.of_mapping({name: value for name, value in whole.items() if name in GGAL().values()})
                continue
            steps = config.training.steps or protocol.training(config.dataset.name).steps
            assert steps is not None
            assert GGA.of_variant(arm.annealing.variant or "paper", **whole).window.stop <= steps


# the rows of the paper's table (README image of aristotelisballas/GGA); "ANDMask" has a hyphen there
ANNEALED_BY_THE_PAPER = [
    *("MixStyle", "GroupDRO", "MMD", "ANDMask", "ARM", "IRM", "MTL", "VREx", "MLDG", "Mixup", "SagNet", "CORAL"),
    *("RSC", "Fish", "SAM", "GSAM", "SAGM"),
]
EVERYTHING = FOLDER / "gga-on-everything.yaml"


def test_gga_on_everything_has_each_algorithm_of_the_paper_plain_and_annealed() -> None:
    sweep = spec.load(EVERYTHING)
    plain = [arm for arm in sweep.arms if arm.annealing is None]
    annealed = [arm for arm in sweep.arms if arm.annealing is not None]
    assert sorted(arm.algorithm for arm in plain) == sorted(["ERM", *ANNEALED_BY_THE_PAPER])
    assert [(arm.name, arm.baseline) for arm in annealed] == [(f"{arm.name} + GGA", arm.name) for arm in plain]
    assert sweep.arms[0].name == "ERM"
    runs = spec.plan_sweep(sweep, CONTENTS).runs
    assert len(runs) == len({run.key for run in runs}) == 360
    shared = {(run.config.hyperparameters["lr"], run.config.hyperparameters["batch_size"]) for run in runs}
    assert (shared, {run.config.annealed_steps for run in runs}) == ({(1e-3, 8)}, {range(0), range(10, 20)})
    warm_ups = {
        value for run in runs for name, value in run.config.hyperparameters.items() if name.endswith("anneal_iters")
    }
    assert warm_ups == {40}


def test_the_command_in_the_header_of_gga_on_everything_works() -> None:
    command = shlex.split(header(EVERYTHING).partition("8640 runs")[2].partition("gga-sweep run gga-on-everything")[2])
    sweep = spec.load("gga-on-everything", overrides=[word for word in command if word != "--set"])
    runs = spec.outline_sweep(sweep).runs
    assert (sweep.dataset.name, sweep.protocol.name) == ("PACS", "domainbed")
    assert sum(len(run.draws) for run in runs) == 8640
    assert {run.config.training.steps for run in runs} == {4801}
    rho = {run.config.hyperparameters["sam_rho"] for run in runs if run.cell.arm == "SAM"}
    assert rho == {0.01, 0.02, 0.05, 0.1}


def annealing_values(arm: ArmConfig) -> dict[str, Scalar]:
    return {} if arm.annealing is None else arm.annealing.given


def scalars(config: SweepConfig) -> dict[str, list[Scalar]]:
    """Every hyperparameter value a file writes down, by dotted name."""
    found: dict[str, list[Scalar]] = {}
    for name, value in _named_values(config):
        found.setdefault(name, []).append(value)
    return found


def _named_values(config: SweepConfig) -> Iterator[tuple[str, Scalar]]:
    yield from config.defaults.items()
    for name, searched in config.search_space.items():
        yield from ((name, value) for value in getattr(searched, searched.kind))
    for arm in config.arms:
        yield from ((f"annealing.{name}", value) for name, value in annealing_values(arm).items())
        yield from ((name, value) for name, values in arm.vary.items() for value in values)
