"""`training.network`, `.weights` and `.trainable` as factors: settings, names, keys, draws, digests, deviations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from sweep_content import CONTENTS, content, on_tree, write_tree

from gga_sweep.spec import load, plan_sweep, read_contents
from gga_sweep.spec.counted_work import work_of


def varied(**factors: list[Any]) -> dict[str, Any]:
    return {"algorithm": "ERM", "vary": {f"training.{name}": values for name, values in factors.items()}}


def test_each_arm_is_trained_by_its_factors_on_equal_draws() -> None:
    space = {"lr": {"loguniform": [1e-4, 1e-2]}}
    arm = varied(network=["small-cnn"], trainable=["all", "head", "last:2"])
    sweep = load(content(arms=[arm], draws=3, search_space=space, test_domains=["0"], trial_seeds=[0]))
    names = [f"ERM, network small-cnn, trainable {part}" for part in ("all", "head", "last:2")]
    assert [arm.name for arm in sweep.arms] == names
    assert [arm.baseline for arm in sweep.arms] == [None, names[0], names[0]]
    runs = plan_sweep(sweep, CONTENTS).runs
    assert [run.config.training.trainable for run in runs] == ["all"] * 3 + ["head"] * 3 + ["last:2"] * 3
    assert len({run.key for run in runs}) == 9
    rates = [[run.hyperparameters["lr"] for run in runs if run.cell.arm == name] for name in names]
    assert rates == [rates[0]] * 3
    kinds = {work_of(run.config, sweep.dataset)["training"].kind for run in runs}
    assert len(kinds) == 3  # each takes its own time


def test_a_factor_at_the_sweeps_own_value_has_the_same_key() -> None:
    plain, factors = (
        load(content(arms=[arm]))
        for arm in ({"algorithm": "ERM"}, varied(network=["small-cnn"], weights=["random"], trainable=["all"]))
    )
    assert [run.key for run in plan_sweep(plain, CONTENTS).runs] == [
        run.key for run in plan_sweep(factors, CONTENTS).runs
    ]


def test_weights_files_stand_in_keys_by_content_and_in_names_without_folders(tmp_path: Path) -> None:
    for name, written in (("a.pt", b"one"), ("b.pt", b"other"), ("c.pt", b"one")):
        (tmp_path / name).write_bytes(written)
    paths = [str(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt")]
    sweep = load(content(arms=[varied(weights=["random", *paths])], test_domains=["0"], trial_seeds=[0]))
    assert [arm.name for arm in sweep.arms] == [f"ERM, weights {name}" for name in ("random", "a.pt", "b.pt", "c.pt")]
    contents = read_contents(sweep)
    assert sorted(contents.weights) == paths
    random, one, other, again = (run.key for run in plan_sweep(sweep, contents).runs)
    assert one == again
    assert len({random, one, other}) == 3


def test_what_differs_between_arms_is_a_deviation(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    sweep = load(on_tree(tree, arms=[varied(network=["small-cnn", "resnet18"]), varied(network=["resnet50"])]))
    expected = "network differs between arms: small-cnn, resnet18, resnet50 (the protocol's: small-cnn)"
    assert expected in sweep.deviations


def test_planning_with_networks_of_timm_imports_neither_torch_nor_timm(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    code = (
        "import sys, gga_sweep.networks.choice as choice\n"
        "choice.name_faults = lambda name: []\n"  # as where timm is installed
        "from gga_sweep.spec import load, plan_sweep, Contents\n"
        f"source = {on_tree(tree, arms=[varied(network=['timm/test_vit', 'resnet18'])])!r}\n"
        "print(len(plan_sweep(load(source), Contents('d' * 32)).runs), {'torch', 'timm'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "18 set()\n"
