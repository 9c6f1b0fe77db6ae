"""Runs that differ in their annealing, and what each of their steps does, written out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from run_configs import annealing_options

from gga_sweep.algorithms import get_algorithm
from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.records import Cell
from gga_sweep.spec import Contents, PlannedRun
from gga_sweep.spec.key import run_key
from gga_sweep.spec.models import RunSpec, TrainingSettings

STEPS = 12
CONTENTS = Contents("digest")


def config(annealing: GGA | GGAL | None, lr: float = 1e-3, **training: Any) -> RunSpec:
    return RunSpec(
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
                "evaluate": "all",
                "network": "resnet18",
                "weights": None,
                "freeze_batch_norm": True,
                "split": "stream",
                "holdout": 0.2,
                "augmentation": "none",
                "augment_validation": False,
                "precision": "float32",
                "threads": 1,
                **training,
            }
        ),
    )


def gga(start: int, steps: int, radius: float = 1e-3, **options: Any) -> RunSpec:
    return config(GGA(start_step=start, num_steps=steps, radius=radius, **options))


def gga_l(gamma: float) -> RunSpec:
    return config(GGAL(gamma=gamma))


CONFIGS = st.one_of(
    st.just(config(None)),
    st.builds(gga, st.integers(0, STEPS + 3), st.integers(1, STEPS + 3), st.sampled_from([1e-3, 1e-2])),
    st.builds(gga_l, st.sampled_from([1e-3, 1e-2])),
)


def written_out(run: RunSpec) -> list[object]:
    """What each of its steps does beside the plain one."""
    done: list[object] = []
    for step in range(STEPS):
        block = annealing_options(run)
        if block.get("method") == "gga":
            within = block["start_step"] <= step < block["start_step"] + block["num_steps"]
            done.append(("search", block["radius"], block["objective"]) if within else None)
        else:
            done.append(("noise", block["gamma"]) if block else None)
    return done


def common_start(one: RunSpec, other: RunSpec) -> int:
    pairs = zip(written_out(one), written_out(other), strict=True)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def planned(run: RunSpec, number: int) -> PlannedRun:
    key = run_key(run, CONTENTS.dataset, get_algorithm(run.algorithm).numerics)
    return PlannedRun(Cell("PACS", f"arm {number}", run.test_domains, 0), (0,), {}, run, key)
