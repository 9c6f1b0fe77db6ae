"""One annealed step inside a run: its numbers against an independent computation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from small_runs import (
    CPU,
    REJECT_ALL,
    annealing_of,
    batch_norm_featurizer,
    bits,
    erm,
    make_dataset,
    run_config,
    train,
    trained,
    watch_updates,
    weight_vector,
)
from torch import nn

from gga_sweep.algorithms.erm import ERM
from gga_sweep.annealing import STEP_MASK, Draw
from gga_sweep.datasets import Minibatch, draw_minibatch
from gga_sweep.networks.network import Network
from gga_sweep.records import AnnealedStep, Scalar
from gga_sweep.training import trainer as trainer_module
from gga_sweep.training.annealed_step import Annealing, StepModel, anneal, copy_weights, distance
from gga_sweep.training.randomness import RunStreams
from gga_sweep.training.trainer import Trainer, split_dataset

DATASET = make_dataset()
NAMES = ("a", "b", "d")  # the training domains; `c` is held out
STEP = 3


@dataclass
class Watched:
    """One annealed step, with the network before it, after its search, and after its update."""

    line: AnnealedStep
    before: Network
    searched: Network
    updated: Network


def watch_one_step(monkeypatch: pytest.MonkeyPatch, **settings: Scalar) -> Watched:
    config = run_config(annealing_of(**{"num_candidates": 8, **settings}))  # type: ignore[arg-type]
    searched: list[dict[str, torch.Tensor]] = []

    def watching(algorithm: ERM, *arguments: object) -> Annealing:
        found: Annealing = anneal(algorithm, *arguments)  # type: ignore[arg-type]
        if not searched:
            searched.append({name: tensor.clone() for name, tensor in algorithm.network.state_dict().items()})
        return found

    monkeypatch.setattr(trainer_module, "anneal", watching)
    trainer = trained(config, DATASET, until=STEP)
    before = network_like(trainer.network.state_dict())
    _, annealed = train(trainer, until=STEP + 1)
    after = network_like(trainer.network.state_dict())
    return Watched(annealed[0], before, network_like(searched[0]), after)


def network_like(state: dict[str, torch.Tensor]) -> Network:
    network = Trainer(run_config(), DATASET, CPU).network
    network.load_state_dict(state)
    return network


def minibatch(name: str, step: int) -> Minibatch:
    split = split_dataset(run_config(), DATASET)[name]
    return draw_minibatch(DATASET, DATASET.domain(name), split, 6, 0, step, "none")


def alignment(network: Network, step: int, draw: Draw) -> float:
    """The smallest cosine between two domains' gradients, from losses and masks put together here."""
    streams = RunStreams("Small", 0, 12, 0.5, CPU)
    gradients = []
    for name in NAMES:
        batch, mask = minibatch(name, step), streams.dropout_mask(step, draw, name, 6)
        assert mask is not None
        loss = F.cross_entropy(network.classifier(network.featurizer(batch.images) * mask), batch.labels)
        gradients.append(weight_vector(torch.autograd.grad(loss, list(network.parameters()))))
    return min(float(F.cosine_similarity(one, two, dim=0)) for one, two in itertools.combinations(gradients, 2))


def joint_loss(network: Network) -> float:
    streams = RunStreams("Small", 0, 12, 0.5, CPU)
    losses = []
    for name in NAMES:
        batch, mask = minibatch(name, STEP), streams.dropout_mask(STEP, STEP_MASK, name, 6)
        losses.append(F.cross_entropy(network(batch.images, mask), batch.labels).item())
    return sum(losses) / len(losses)


def weights_of(network: nn.Module) -> torch.Tensor:
    return weight_vector(list(network.parameters()))


def test_alignments_and_losses_are_those_of_the_weights_before_and_after_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = watch_one_step(monkeypatch)

    assert step.line.chosen is not None
    assert step.line.alignment_before == pytest.approx(alignment(step.before, STEP, STEP_MASK), abs=1e-6)
    assert step.line.alignment_after == pytest.approx(alignment(step.searched, STEP, STEP_MASK), abs=1e-6)
    assert step.line.loss_before == pytest.approx(joint_loss(step.before), rel=1e-6)
    assert step.line.loss_after == pytest.approx(joint_loss(step.searched), rel=1e-6)
    assert step.line.alignment_after > step.line.alignment_before


def test_fresh_alignments_are_means_under_four_masks_the_search_did_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    step = watch_one_step(monkeypatch)

    def fresh(network: Network) -> float:
        return sum(alignment(network, STEP, ("fresh", mask)) for mask in range(4)) / 4

    assert step.line.fresh_alignment_before == pytest.approx(fresh(step.before), abs=1e-6)
    assert step.line.fresh_alignment_after == pytest.approx(fresh(step.searched), abs=1e-6)


def test_next_alignments_are_on_the_minibatches_and_the_mask_of_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step = watch_one_step(monkeypatch)

    assert step.line.next_alignment_before == pytest.approx(alignment(step.before, STEP + 1, STEP_MASK), abs=1e-6)
    assert step.line.next_alignment_after == pytest.approx(alignment(step.searched, STEP + 1, STEP_MASK), abs=1e-6)


def test_distances_are_in_radii_and_in_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    step = watch_one_step(monkeypatch)
    start, found, updated = weights_of(step.before), weights_of(step.searched), weights_of(step.updated)
    moved = float((found - start).norm())

    assert 0 < step.line.moved_radii <= 1
    assert step.line.moved_radii == pytest.approx(moved / (0.05 * math.sqrt(len(start))), rel=1e-6)
    assert step.line.moved_updates == pytest.approx(moved / float((updated - found).norm()), rel=1e-6)


def test_the_released_variant_moves_the_featurizer_and_counts_its_entries_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = watch_one_step(monkeypatch, variant="released")
    start, found = (weights_of(network.featurizer) for network in (step.before, step.searched))

    assert step.line.chosen is not None
    assert bits(step.before.classifier.state_dict()) == bits(step.searched.classifier.state_dict())
    assert step.line.moved_radii == pytest.approx(
        float((found - start).norm()) / (0.05 * math.sqrt(len(start))), rel=1e-6
    )


def test_where_nothing_moved_everything_after_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    step = watch_one_step(monkeypatch, loss_tolerance=REJECT_ALL)

    assert (step.line.tried, step.line.accepted, step.line.chosen) == (8, 0, None)
    assert (step.line.moved_radii, step.line.moved_updates) == (0.0, 0.0)
    assert step.line.alignment_after == step.line.alignment_before
    assert step.line.loss_after == step.line.loss_before
    assert step.line.fresh_alignment_after == step.line.fresh_alignment_before
    assert step.line.next_alignment_after == step.line.next_alignment_before
    assert bits(step.searched.state_dict()) == bits(step.before.state_dict())


def test_an_update_of_no_length_has_no_distance_in_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "distance", lambda parameters, before: 0.0)

    assert math.isnan(watch_one_step(monkeypatch).line.moved_updates)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_every_line_of_a_run_keeps_its_promises(variant: str) -> None:
    annealing = annealing_of(variant, start_step=1, num_steps=7, num_candidates=5)
    _, lines = train(Trainer(run_config(annealing), DATASET, CPU))

    assert [line.step for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert any(line.accepted > 1 for line in lines)
    for line in lines:
        assert line.tried == 5
        assert 0 <= line.accepted <= 5
        assert (line.chosen is None) == (line.accepted == 0) == (line.moved_radii == 0)
        assert -1 <= line.alignment_before <= line.alignment_after <= 1
        if variant == "paper":  # the others may walk out of the box
            assert 0 <= line.moved_radii <= 1


def test_a_steps_update_is_made_under_the_mask_the_search_scored_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row: domain i's rows of the joint mask are its own mask of the step."""
    masks: list[torch.Tensor | None] = []
    watch_updates(monkeypatch, lambda batch: masks.append(batch.mask))
    trained(run_config(annealing_of()), DATASET, until=STEP + 1)

    streams = RunStreams("Small", 0, 12, 0.5, CPU)
    rows = [streams.dropout_mask(STEP, STEP_MASK, name, 6) for name in NAMES]
    assert bits(masks[STEP]) == bits(torch.cat([mask for mask in rows if mask is not None]))


def step_model(dropout: float, network: Network | None = None) -> StepModel:
    network = network or Network(nn.Flatten(), 64, 3)
    algorithm = erm(network, {"lr": 1e-3, "weight_decay": 0.0})
    streams = RunStreams("Small", 0, network.features, dropout, CPU)
    return StepModel(algorithm, [minibatch(name, STEP) for name in NAMES], NAMES, streams, STEP)


def test_under_one_mask_the_joint_loss_is_the_mean_of_the_domains_losses() -> None:
    model = step_model(dropout=0.5)
    mean = sum(model.domain_loss(domain, STEP_MASK).item() for domain in range(model.n_domains)) / model.n_domains

    assert model.joint_loss(STEP_MASK).item() == pytest.approx(mean, rel=1e-6)
    assert model.joint_loss(("fresh", 0)).item() != pytest.approx(mean, rel=1e-6)


def test_without_dropout_there_is_no_joint_mask_and_all_draws_score_alike() -> None:
    model = step_model(dropout=0.0)

    assert model.batch.mask is None
    assert model.domain_loss(0, STEP_MASK).item() == model.domain_loss(0, ("fresh", 0)).item()


def test_a_loss_is_a_function_of_weights_and_draw_even_where_the_network_draws_itself() -> None:
    """Its dropout layer takes numbers from torch's global generator; the draw seeds them."""
    torch.manual_seed(0)
    model = step_model(dropout=0.5, network=Network(*batch_norm_featurizer((1, 8, 8)), 3).train())
    first = [model.domain_loss(1, STEP_MASK).item(), model.joint_loss(STEP_MASK).item()]
    torch.rand(11)

    assert [model.domain_loss(1, STEP_MASK).item(), model.joint_loss(STEP_MASK).item()] == first
    assert model.domain_loss(1, ("fresh", 0)).item() != first[0]


def test_distance_is_the_l2_norm_over_all_parameters() -> None:
    parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))]
    before = copy_weights(parameters)
    with torch.no_grad():
        parameters[0].fill_(1)
        parameters[1].fill_(2)

    assert distance(parameters, before) == pytest.approx(math.sqrt(4 * 1 + 3 * 4))
    assert float(before[0].sum()) == 0  # a copy, not a view


def test_channels_last_changes_nothing_but_the_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format that a GPU gets, tried on the CPU: weights, gradients and noise must find each other in it."""
    config = run_config(annealing_of(num_candidates=4), network="small-cnn")
    _, (first, *_) = train(Trainer(config, DATASET, CPU))
    monkeypatch.setattr(trainer_module, "fastest_memory_format", lambda _: torch.channels_last)
    trainer = Trainer(config, DATASET, CPU)
    convolution = next(layer for layer in trainer.network.modules() if isinstance(layer, nn.Conv2d))
    _, (turned, *_) = train(trainer)
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    for name in ("alignment_before", "alignment_after", "loss_before", "loss_after", "moved_radii", "moved_updates"):
        assert getattr(turned, name) == pytest.approx(getattr(first, name), abs=1e-4), name
    assert turned.chosen == first.chosen


@pytest.mark.parametrize("variant", ["paper", "guided"])
def test_layer_by_layer_finds_what_the_loop_finds(variant: str) -> None:
    lines = []
    for method in ("loop", "layerwise"):
        config = run_config(annealing_of(variant, num_candidates=4, domain_gradients=method), network="small-cnn")
        _, annealed = train(Trainer(config, DATASET, CPU), until=STEP + 1)
        lines.append(annealed[0])
    loop, layerwise = lines
    assert layerwise.chosen == loop.chosen
    assert layerwise.alignment_after == pytest.approx(loop.alignment_after, abs=1e-4)
    assert layerwise.fresh_alignment_after == pytest.approx(loop.fresh_alignment_after, abs=1e-4)


@pytest.mark.parametrize(
    ("featurizer", "why"), [(None, "has no `featurizer`"), (nn.Flatten(), "without trainable parameters")]
)
def test_a_network_without_a_featurizer_is_refused_by_what_perturbs_one(featurizer: nn.Module | None, why: str) -> None:
    algorithm = erm(nn.Linear(3, 2), {"lr": 0.1, "weight_decay": 0.0})  # type: ignore[arg-type]
    if featurizer is not None:
        algorithm.network.featurizer = featurizer
    with pytest.raises(ValueError, match=rf"perturbs 'featurizer' \(variant released\).*Linear.*{why}.*'all'"):
        algorithm.featurizer_parameters()
