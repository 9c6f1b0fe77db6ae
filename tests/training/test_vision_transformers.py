"""Networks of timm in the trainer: attention under every variant of the annealing, batch norm frozen and live."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from small_runs import CPU, REJECT_ALL, annealing_of, bits, make_dataset, run_config, train

from gga_sweep.records import AnnealedStep
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.trainer import Trainer

timm = pytest.importorskip("timm", reason="the extra timm is not installed")

VIT = "timm/test_vit"
RESNET = "timm/test_resnet"
PHOTOGRAPHS = make_dataset(shape=(3, 160, 160), per_domain=5, photographs=True)
SMALL_PHOTOGRAPHS = make_dataset(shape=(3, 32, 32), per_domain=5, photographs=True)


def config_of(
    variant: str | None = None, *, network: str = VIT, tolerance: float = 10.0, **training: object
) -> RunSpec:
    annealing = None
    if variant is not None:
        annealing = annealing_of(
            variant, start_step=1, num_steps=1, radius=1e-4, num_candidates=2, loss_tolerance=tolerance
        )
    settings = {"steps": 3, "evaluate_every": 2, "freeze_batch_norm": True, **training}
    return run_config(
        annealing, network=network, hyperparameters={"batch_size": 2, "lr": 1e-3, "dropout": 0.2}, **settings
    )


def trainer_of(config: RunSpec) -> Trainer:
    return Trainer(config, PHOTOGRAPHS if config.training.network == VIT else SMALL_PHOTOGRAPHS, CPU)


def end_of(config: RunSpec) -> tuple[dict[str, str], list[AnnealedStep]]:
    trainer = trainer_of(config)
    _, annealed = train(trainer)
    return bits(trainer.state()), annealed


@cache
def plain() -> dict[str, str]:
    return end_of(config_of())[0]


@pytest.mark.parametrize("variant", ["released", "guided"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(variant: str) -> None:
    whole, resumed = trainer_of(config_of(variant)), trainer_of(config_of(variant))
    train(whole, until=1)  # the annealed step follows
    resumed.load_state(parse_state(dump_state(whole.state())))
    _, annealed = train(whole)
    assert [step.tried for step in annealed] == [2 if variant != "guided" else annealed[0].tried]
    assert bits(whole.state()) != plain()
    torch.manual_seed(9)
    train(resumed)
    assert bits(resumed.state()) == bits(whole.state())


@pytest.mark.parametrize("variant", ["paper", "guided"])
def test_a_search_that_moves_nothing_changes_no_bit(variant: str) -> None:
    end, annealed = end_of(config_of(variant, tolerance=REJECT_ALL))
    assert annealed[0].chosen is None
    assert annealed[0].tried == 2
    assert end == plain()


def test_the_gradient_of_the_alignment_goes_through_fused_attention() -> None:
    """As through the softmax of the definition, which autograd differentiates twice by itself."""
    _, (fused,) = end_of(config_of("guided"))
    timm.layers.set_fused_attn(False)
    try:
        _, (by_definition,) = end_of(config_of("guided"))
    finally:
        timm.layers.set_fused_attn(True)
    assert fused.alignment_after > fused.alignment_before
    assert fused.alignment_before == pytest.approx(by_definition.alignment_before, abs=1e-4)
    gains = [each.alignment_after - each.alignment_before for each in (fused, by_definition)]
    assert gains[0] == pytest.approx(gains[1], rel=0.02)


def test_frozen_batch_norm_is_nothing_to_a_network_without_any() -> None:
    assert end_of(config_of(freeze_batch_norm=False))[0] == plain()


@pytest.mark.parametrize(("freeze", "variant"), [(True, "released"), (False, "guided")])
def test_batch_norm_of_timm_is_frozen_or_live(freeze: bool, variant: str) -> None:
    config = config_of(variant, network=RESNET, freeze_batch_norm=freeze)
    trainer, resumed = trainer_of(config), trainer_of(config)
    start = bits(trainer.network.state_dict())
    train(trainer, until=2)
    resumed.load_state(parse_state(dump_state(trainer.state())))
    train(trainer)
    end = bits(trainer.network.state_dict())
    statistics = {name: end[name] != start[name] for name in end if "running_" in name}
    assert statistics
    assert set(statistics.values()) == {not freeze}
    train(resumed)
    assert bits(resumed.network.state_dict()) == end


def test_the_head_of_a_vit_is_trained_alone() -> None:
    trainer = trainer_of(config_of(trainable="head"))
    start = bits(trainer.network.state_dict())
    train(trainer)
    end = bits(trainer.network.state_dict())
    assert {name for name in end if end[name] != start[name]} == {"/classifier.weight", "/classifier.bias"}
