"""Which steps runs have in common, against what each step of each run does, written out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gga_sweep.config import DatasetConfig, RunConfig, TrainingSettings
from gga_sweep.planning import Contents, PlannedRun
from gga_sweep.planning.prefixes import inherited_steps, prefix_name, steps_alike, trunk_key
from gga_sweep.records import Cell

STEPS = 12
CONTENTS = Contents("digest")


def config(annealing: dict[str, Any] | None, lr: float = 1e-3, **training: Any) -> RunConfig:
    return RunConfig(
        dataset=DatasetConfig(name="PACS", root=Path("here"), image_size=224),
        algorithm="ERM",
        hyperparameters={"lr": lr, "batch_size": 8, "weight_decay": 0.0, "dropout": 0.0},
        annealing=annealing,
        test_domains=("sketch",),
        trial_seed=0,
        training=TrainingSettings(
            **{
                "steps": STEPS,
                "evaluate_every": 5,
                "network": "resnet18",
                "weights": None,
                "freeze_batch_norm": True,
                "split": "stream",
                "holdout": 0.2,
                "augmentation": "none",
                "augment_validation": False,
                "threads": 1,
                **training,
            }
        ),
    )


def gga(start: int, steps: int, radius: float = 1e-3, **settings: Any) -> RunConfig:
    settings = {"variant_of": "paper", "objective": "alignment", **settings}
    annealing = {"method": "gga", "start_step": start, "num_steps": steps, "radius": radius, **settings}
    return config({name: value for name, value in annealing.items() if name != "variant_of"})


def gga_l(gamma: float) -> RunConfig:
    return config({"method": "gga-l", "gamma": gamma, "noise": "gaussian", "alpha": "adaptive"})


CONFIGS = st.one_of(
    st.just(config(None)),
    st.builds(gga, st.integers(0, STEPS + 3), st.integers(1, STEPS + 3), st.sampled_from([1e-3, 1e-2])),
    st.builds(gga_l, st.sampled_from([1e-3, 1e-2])),
)


def written_out(run: RunConfig) -> list[object]:
    """What each of its steps does beside the plain one."""
    done: list[object] = []
    for step in range(STEPS):
        block = dict(run.annealing or {})
        if block.get("method") == "gga":
            within = block["start_step"] <= step < block["start_step"] + block["num_steps"]
            done.append(("search", block["radius"], block["objective"]) if within else None)
        else:
            done.append(("noise", block["gamma"]) if block else None)
    return done


def common_start(one: RunConfig, other: RunConfig) -> int:
    pairs = zip(written_out(one), written_out(other), strict=True)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def planned(run: RunConfig, number: int) -> PlannedRun:
    return PlannedRun(Cell("PACS", f"arm {number}", run.test_domains, 0), (0,), {}, run, None)


@given(CONFIGS, CONFIGS)
def test_runs_are_alike_up_to_the_first_step_that_they_do_otherwise(one: RunConfig, other: RunConfig) -> None:
    assert steps_alike(one, other) == steps_alike(other, one) == common_start(one, other)


@given(CONFIGS, CONFIGS, st.integers(1, STEPS))
def test_a_prefix_has_one_name_in_all_runs_that_have_it_and_in_no_other(
    one: RunConfig, other: RunConfig, steps: int
) -> None:
    same_name = prefix_name(one, steps, CONTENTS) == prefix_name(other, steps, CONTENTS)
    assert same_name == (common_start(one, other) >= steps)


@given(st.lists(CONFIGS, min_size=1, max_size=6, unique_by=lambda run: tuple(written_out(run))), st.randoms())
def test_each_common_step_is_trained_once_whatever_the_order(runs: list[RunConfig], random: Any) -> None:
    distinct = {tuple(written_out(run)[: steps + 1]) for run in runs for steps in range(STEPS)}
    random.shuffle(runs)
    inherited = sum(inherited_steps([planned(run, number) for number, run in enumerate(runs)]))
    assert len(runs) * STEPS - inherited == len(distinct)


def test_the_issues_windows_share_their_warm_up_and_all_but_the_longest_of_their_annealed_steps() -> None:
    runs = [config(None, steps=1000)]
    for end in (10, 25, 50, 100):
        window = gga(100, end).annealing
        runs.append(config(dict(window or {}), steps=1000))
    inherited = list(inherited_steps(planned(run, number) for number, run in enumerate(reversed(runs))))
    assert inherited == [0, 150, 125, 110, 100]


@pytest.mark.parametrize(
    "changed",
    [
        config(None, lr=2e-3),
        config(None, evaluate_every=4),
        config(None).model_copy(update={"trial_seed": 1}),
        config(None).model_copy(update={"test_domains": ("photo",)}),
        config(None).model_copy(update={"algorithm": "CORAL"}),
    ],
    ids=["learning rate", "evaluations", "trial seed", "test domains", "algorithm"],
)
def test_runs_that_differ_in_anything_else_have_nothing_in_common(changed: RunConfig) -> None:
    runs = planned(gga(3, 3), 0), planned(changed, 1)
    assert trunk_key(runs[0]) != trunk_key(runs[1])
    assert list(inherited_steps(runs)) == [0, 0]
    assert prefix_name(runs[0].config, 2, CONTENTS) != prefix_name(changed, 2, CONTENTS)


def test_other_images_or_weights_make_another_prefix() -> None:
    names = {
        prefix_name(config(None), 3, contents)
        for contents in (CONTENTS, Contents("other images"), Contents("digest", "weights"))
    }
    assert len(names) == 3
