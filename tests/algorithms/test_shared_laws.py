"""Laws of one step that hold for many algorithms, each on a problem so small that a test can follow it."""

from __future__ import annotations

import pytest
import torch
from descents import assert_same, in_single_precision
from tiny_hosts import convolutional_network, tiny_batch, tiny_host

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.records import Scalar

OWN: dict[str, dict[str, Scalar]] = {
    "IRM": {"irm_penalty_anneal_iters": 0, "irm_lambda": 7.0},
    "VREx": {"vrex_penalty_anneal_iters": 0, "vrex_lambda": 7.0},
    "Fishr": {"fishr_penalty_anneal_iters": 0, "fishr_lambda": 50.0, "fishr_ema": 0.9},
    "SAM": {"sam_rho": 0.3},
    "GSAM": {"sam_rho": 0.3, "gsam_alpha": 0.4},
    "SAGM": {"sam_rho": 0.3, "sagm_alpha": 0.2},
    "MTL": {"paper_form": True},  # else nothing reads the averages
    "EQRM": {"eqrm_burnin_iters": 0, "eqrm_lr": 1e-2},
    "ERMPlusPlus": {"ermpp_linear_steps": 0, "ermpp_average_from": 2},
}
"""Hyperparameters, other than the defaults, under which every hyperparameter matters."""

OTHER: dict[str, Scalar] = {
    "andmask_tau": 0.3,
    "eqrm_burnin_iters": 1,
    "eqrm_lr": 2e-2,
    "eqrm_quantile": 0.9,
    "ermpp_average_from": 3,
    "ermpp_linear_lr": 1e-3,
    "ermpp_linear_steps": 1,
    "fish_meta_lr": 0.05,
    "fishr_ema": 0.5,
    "fishr_lambda": 60.0,
    "genie_average": 0.5,
    "genie_drop": 0.1,
    "genie_rate": 0.1,
    "groupdro_eta": 1.0,
    "gsam_alpha": 0.1,
    "irm_lambda": 8.0,
    "miro_lambda": 1.0,
    "miro_lr_mult": 1.0,
    "mixstyle_alpha": 3.0,
    "mixstyle_p": 1.0,
    "mixup_alpha": 5.0,
    "mldg_beta": 0.5,
    "mldg_n_meta_test": 1,
    "mmd_gamma": 30.0,
    "mtl_ema": 0.2,
    "rsc_b_drop_factor": 0.7,
    "rsc_f_drop_factor": 0.7,
    "sag_w_adv": 0.2,
    "sage_gamma": 0.1,
    "sage_rho": 0.1,
    "sagm_alpha": 0.1,
    "sam_rho": 0.1,
    "sd_reg": 1.0,
    "vrex_lambda": 8.0,
}

NEUTRAL: list[tuple[str, dict[str, Scalar], float]] = [
    ("ANDMask", {"andmask_tau": 0.0}, 1e-9),
    ("CORAL", {"mmd_gamma": 0.0}, 1e-12),
    ("CORAL", {"mmd_gamma": 0.0, "paper_form": True}, 1e-12),
    ("GroupDRO", {"groupdro_eta": 0.0}, 1e-12),
    ("GSAM", {"sam_rho": 0.0, "gsam_alpha": 0.0}, 1e-9),
    ("IRM", {"irm_penalty_anneal_iters": 0, "irm_lambda": 0.0}, 1e-12),
    ("MIRO", {"miro_lambda": 0.0}, 1e-12),
    ("MMD", {"mmd_gamma": 0.0}, 1e-12),
    ("SAGE", {"sage_rho": 0.0, "sage_gamma": 0.0}, 1e-9),
    ("SAGM", {"sam_rho": 0.0, "sagm_alpha": 0.0}, 1e-9),
    ("SAM", {"sam_rho": 0.0}, 1e-9),
    ("SD", {"sd_reg": 0.0}, 1e-12),
    ("VREx", {"vrex_penalty_anneal_iters": 0, "vrex_lambda": 0.0}, 1e-12),
]
"""Algorithms that are ERM with these hyperparameters, up to this tolerance."""


def after_steps(name: str, steps: int = 4, **changes: Scalar) -> Algorithm:
    network = convolutional_network(ALGORITHMS[name].load().EXTRA_CHANNELS)
    host = tiny_host(name, network, **{**OWN.get(name, {}), **changes})
    for step in range(steps):
        host.update(tiny_batch(step, side=8))
    return host


@pytest.mark.parametrize(
    ("name", "hyperparameter"), [(name, own) for name, spec in ALGORITHMS.items() for own in spec.own]
)
def test_each_hyperparameter_changes_the_weights(name: str, hyperparameter: str) -> None:
    if hyperparameter.endswith("_anneal_iters"):
        changed: Scalar = 1
    elif isinstance(default := ALGORITHMS[name].own[hyperparameter].default, bool):
        changed = not OWN.get(name, {}).get(hyperparameter, default)
    else:
        changed = OTHER[hyperparameter]
    one, other = after_steps(name), after_steps(name, **{hyperparameter: changed})
    parameters = zip(one.network.parameters(), other.network.parameters(), strict=True)
    assert any(not torch.equal(*pair) for pair in parameters)


@pytest.mark.parametrize(("name", "hyperparameters", "tolerance"), NEUTRAL)
def test_without_its_penalty_it_is_erm(name: str, hyperparameters: dict[str, Scalar], tolerance: float) -> None:
    host, erm = tiny_host(name, **hyperparameters), tiny_host("ERM")
    for step in range(3):
        batch = tiny_batch(step, dropout=0.3)
        host.update(batch)
        erm.update(batch)
    torch.testing.assert_close(host.network.state_dict(), erm.network.state_dict(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["AgrSum", "PCGrad"])
def test_where_all_domains_agree_it_is_erm_weight_decay_included(name: str) -> None:
    host, erm = tiny_host(name, weight_decay=0.1), tiny_host("ERM", weight_decay=0.1)
    for step in range(3):
        batch = tiny_batch(step)
        same = Batch(batch.minibatches[:1] * 3, lambda *_: None, batch.numbers)
        host.update(same)
        erm.update(same)
    assert_same(host.network, erm.network, tolerance=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "hyperparameters", "steps"),
    [
        ("VREx", {"vrex_penalty_anneal_iters": 1, "vrex_lambda": 7.0}, [1, 1, 2, 3]),
        ("IRM", {"irm_penalty_anneal_iters": 2, "irm_lambda": 7.0}, [1, 2, 1, 2, 3]),
        ("Fishr", {"fishr_penalty_anneal_iters": 2, "fishr_lambda": 50.0}, [1, 2, 1, 2]),
        ("EQRM", {"eqrm_burnin_iters": 2}, [1, 2, 1, 2]),
        ("ERMPlusPlus", {"ermpp_linear_steps": 1}, [1, 2, 1, 2]),
    ],
)
def test_adam_restarts_at_the_end_of_the_warm_up_and_only_then(
    name: str, hyperparameters: dict[str, Scalar], steps: list[int]
) -> None:
    host, remembered = tiny_host(name, **hyperparameters), []
    for step in range(len(steps)):
        host.update(tiny_batch(step))
        remembered.append(int(host.optimizer.state[host.network.classifier.weight]["step"]))
    assert remembered == steps


@pytest.mark.parametrize("name", ALGORITHMS)
def test_single_precision_stays_single(name: str) -> None:
    host = after_steps(name, steps=0).float()
    assert host.update(in_single_precision(tiny_batch(side=8))).dtype == torch.float32
    assert {each.dtype for each in host.parameters()} == {torch.float32}
