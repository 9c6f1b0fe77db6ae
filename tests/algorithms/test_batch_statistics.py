"""Hosts with batch norm that is not frozen: the images that share a forward share its statistics.

The step of every host of DomainBed is written here once more, by the forwards of DomainBed's `update`
(domainbed/algorithms.py at b93c22a): all domains at once, or a forward for each domain, pair or copy of the network.
MIRO, GENIE and SAGE follow their docstrings.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_hosts import CLASSES, FEATURES, tiny_batch, tiny_host
from torch import Tensor, nn

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar

LR = 1e-2
Labelled = list[tuple[Tensor, Tensor]]
"""Features and labels of each domain."""


def network_with_batch_norm(extra_channels: int = 0) -> Network:
    """Without a bias before batch norm: its gradient is 0 but for rounding, which Adam would enlarge."""
    torch.manual_seed(0)
    first = nn.Linear(16 * (1 + extra_channels), 6, bias=False)
    layers = nn.Flatten(), first, nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, FEATURES)
    return Network(nn.Sequential(*layers), FEATURES, CLASSES).double()


class Reference:
    """A copy of a host's network, with torch's Adam, and what else a host keeps."""

    def __init__(self, host: Algorithm) -> None:
        self.network = copy.deepcopy(host.network)
        self.own = host.hyperparameters
        self.adam = torch.optim.Adam(self.network.parameters(), lr=LR)
        self.style = copy.deepcopy(getattr(host, "style_classifier", None))
        self.kept: dict[str, Tensor] = {}

    def descend(self, loss: Tensor, adam: torch.optim.Optimizer | None = None) -> None:
        self.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        (adam or self.adam).step()


def masked(network: Network, images: Tensor, mask: Tensor | None) -> Tensor:
    features: Tensor = network.featurizer(images)
    return features if mask is None else features * mask


def together(one: Reference, batch: Batch) -> Labelled:
    """One forward of all domains."""
    features = masked(one.network, batch.images, batch.mask).split(batch.rows)
    return [(part, each.labels) for part, each in zip(features, batch.minibatches, strict=True)]


def apart(one: Reference, batch: Batch) -> Labelled:
    """A forward for each domain."""
    return [
        (masked(one.network, each.images, mask), each.labels)
        for each, mask in zip(batch.minibatches, batch.masks, strict=True)
    ]


def losses(one: Reference, domains: Labelled) -> list[Tensor]:
    return [F.cross_entropy(one.network.classifier(features), labels) for features, labels in domains]


def erm(one: Reference, batch: Batch) -> None:
    one.descend(sum(losses(one, together(one, batch))) / len(batch))


def irm(one: Reference, batch: Batch) -> None:
    domains = together(one, batch)
    penalty = torch.tensor(0.0)
    for features, labels in domains:
        scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
        logits = one.network.classifier(features) * scale
        even, odd = (
            torch.autograd.grad(F.cross_entropy(logits[half::2], labels[half::2]), [scale], create_graph=True)[0]
            for half in (0, 1)
        )
        penalty = penalty + (even * odd).sum() / len(batch)
    one.descend(sum(losses(one, domains)) / len(batch) + one.own["irm_lambda"] * penalty)


def vrex(one: Reference, batch: Batch) -> None:
    found = torch.stack(losses(one, together(one, batch)))
    one.descend(found.mean() + one.own["vrex_lambda"] * ((found - found.mean()) ** 2).mean())


def mixup(one: Reference, batch: Batch) -> None:
    ring = batch.numbers("pairs").permutation(len(batch))
    alpha = one.own["mixup_alpha"]
    lams = batch.numbers("mixing").beta(alpha, alpha, len(batch))
    objective = torch.tensor(0.0)
    for i, j, lam in zip(ring, np.roll(ring, -1), lams, strict=True):
        first, second = batch.minibatches[i], batch.minibatches[j]
        features = masked(one.network, lam * first.images + (1 - lam) * second.images, batch.masks[i])
        logits = one.network.classifier(features)
        objective = objective + lam * F.cross_entropy(logits, first.labels)
        objective = objective + (1 - lam) * F.cross_entropy(logits, second.labels)
    one.descend(objective / len(batch))


def group_dro(one: Reference, batch: Batch) -> None:
    found = torch.stack(losses(one, apart(one, batch)))
    q = one.kept.get("q", torch.ones(len(batch))) * torch.exp(one.own["groupdro_eta"] * found.detach())
    one.kept["q"] = q / q.sum()
    one.descend((found * one.kept["q"]).sum())


def kernel(x: Tensor, y: Tensor) -> Tensor:
    squares = ((x[:, None] - y) ** 2).sum(2)
    return sum(torch.exp(-squares * 10.0**power) for power in range(-3, 4)).mean()  # type: ignore[union-attr]


def mmd_of(x: Tensor, y: Tensor) -> Tensor:
    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


def coral_of(x: Tensor, y: Tensor) -> Tensor:
    return ((x.mean(0) - y.mean(0)) ** 2).mean() + ((torch.cov(x.T) - torch.cov(y.T)) ** 2).mean()


def aligned(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Reference, Batch], None]:
    def step(one: Reference, batch: Batch) -> None:
        domains = apart(one, batch)
        pairs = list(itertools.combinations([features for features, _ in domains], 2))
        penalty = sum(distance(x, y) for x, y in pairs) / len(pairs)
        one.descend(sum(losses(one, domains)) / len(batch) + one.own["mmd_gamma"] * penalty)

    return step


def and_mask(one: Reference, batch: Batch) -> None:
    gradients = [torch.autograd.grad(loss, list(one.network.parameters())) for loss in losses(one, apart(one, batch))]
    for parameter, each in zip(one.network.parameters(), zip(*gradients, strict=True), strict=True):
        stacked = torch.stack(each)
        mask = (stacked.sign().mean(0).abs() >= one.own["andmask_tau"]).double()
        parameter.grad = mask * stacked.mean(0) / (1e-10 + mask.mean())
    one.adam.step()


def arm(one: Reference, batch: Batch) -> None:
    seen = one.network.get_submodule("context_net")(batch.images).split(batch.rows)
    contexts = torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in seen])
    images = torch.cat([batch.images, contexts.detach()], 1)
    one.descend(F.cross_entropy(one.network.classifier(masked(one.network, images, batch.mask)), batch.labels))


def mtl(one: Reference, batch: Batch) -> None:
    noise = torch.from_numpy(batch.numbers("embeddings").standard_normal((sum(batch.rows), FEATURES)))
    domains = [
        (torch.cat([features, part], 1), labels)
        for (features, labels), part in zip(apart(one, batch), noise.split(batch.rows), strict=True)
    ]
    one.descend(sum(losses(one, domains)))


def mldg(one: Reference, batch: Batch) -> None:
    """Two of three domains are held out, so there is one pair."""
    train, test = (int(each) for each in batch.numbers("meta-test domains").permutation(len(batch))[:2])
    inner = copy.deepcopy(one)
    inner.adam = torch.optim.Adam(inner.network.parameters(), lr=LR)

    def loss(domain: int, forward: int) -> Tensor:
        minibatch = batch.minibatches[domain]
        features = masked(inner.network, minibatch.images, batch.mask_of_forward(forward, domain))
        return F.cross_entropy(inner.network.classifier(features), minibatch.labels)

    inner.descend(loss(train, 0))
    first = [each.grad.clone() for each in inner.network.parameters()]
    second = torch.autograd.grad(loss(test, 1), list(inner.network.parameters()))
    for parameter, *slopes in zip(one.network.parameters(), first, second, strict=True):
        parameter.grad = (slopes[0] + one.own["mldg_beta"] * slopes[1]) / len(batch)
    one.adam.step()


def sagnet(one: Reference, batch: Batch) -> None:
    if not hasattr(one, "adams"):
        parts = one.network.featurizer, one.network.classifier, one.style
        one.adams = [torch.optim.Adam(part.parameters(), lr=LR) for part in parts]  # type: ignore[attr-defined,union-attr]
    of_features, of_content, of_style = one.adams

    def parts(forward: int) -> tuple[Tensor, Tensor, Tensor]:
        masks = batch.masks_of_forward(forward)
        features = masked(one.network, batch.images, None if masks[0] is None else torch.cat(masks))  # type: ignore[arg-type]
        mean, variance = features.mean(1, keepdim=True), features.var(1, keepdim=True)
        return (features - mean) / (variance + 1e-5).sqrt(), mean, variance

    def style_logits(forward: int, purpose: str) -> Tensor:
        content, mean, variance = parts(forward)
        other = content[batch.numbers(purpose).permutation(len(content))].detach()
        return one.style(other * (variance + 1e-5).sqrt() + mean)  # type: ignore[no-any-return,misc]

    numbers = batch.numbers("mixed styles")
    content, mean, variance = parts(0)
    share, others = torch.from_numpy(numbers.random((len(content), 1))), numbers.permutation(len(content))
    mean, variance = (share * each + (1 - share) * each[others] for each in (mean, variance))
    one.descend(
        F.cross_entropy(one.network.classifier(content * (variance + 1e-5).sqrt() + mean), batch.labels), of_features
    )
    of_content.step()
    one.style.zero_grad()  # type: ignore[union-attr]
    one.descend(F.cross_entropy(style_logits(1, "other contents of style"), batch.labels), of_style)
    adversary = -style_logits(2, "other contents of the adversary").log_softmax(1).mean()
    one.descend(one.own["sag_w_adv"] * adversary, of_features)


def rsc(one: Reference, batch: Batch) -> None:
    features, labels = masked(one.network, batch.images, batch.mask), batch.labels
    classifier, hot = one.network.classifier, F.one_hot(labels, CLASSES)
    logits = classifier(features)
    (slopes,) = torch.autograd.grad((logits * hot).sum(), features, retain_graph=True)
    limits = np.percentile(slopes, 100 * (1 - one.own["rsc_f_drop_factor"]), axis=1)
    kept = slopes < torch.from_numpy(limits)[:, None]
    muted = classifier(features * kept)
    lost = ((logits.softmax(1) - muted.softmax(1)) * hot).sum(1).detach()
    sure = lost < np.percentile(lost, 100 * (1 - one.own["rsc_b_drop_factor"]))
    one.descend(F.cross_entropy(classifier(features * (kept | sure[:, None])), labels))


def fish(one: Reference, batch: Batch) -> None:
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        features = masked(one.network, minibatch.images, mask)
        one.descend(F.cross_entropy(one.network.classifier(features), minibatch.labels))
    for name, value in one.network.state_dict().items():
        if value.is_floating_point():
            value.copy_(before[name] + one.own["fish_meta_lr"] * (value - before[name]))


def fishr(one: Reference, batch: Batch) -> None:
    weights = list(one.network.classifier.parameters())
    domains = together(one, batch)
    variances = []
    for features, labels in domains:
        rows = [
            torch.autograd.grad(F.cross_entropy(one.network.classifier(z[None]), y[None]), weights, create_graph=True)
            for z, y in zip(features, labels, strict=True)
        ]
        variances.append(
            torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).var(0, correction=0)
        )
    ema = one.own["fishr_ema"]
    averages = ema * one.kept.get("averages", torch.tensor(0.0)) + (1 - ema) * torch.stack(variances)
    one.kept["averages"] = averages.detach()
    shared = averages / (1 - ema)
    penalty = ((shared - shared.mean(0)) ** 2).mean()
    one.descend(sum(losses(one, domains)) / len(batch) + one.own["fishr_lambda"] * penalty)


def sd(one: Reference, batch: Batch) -> None:
    domains = together(one, batch)
    logits = torch.cat([one.network.classifier(features) for features, _ in domains])
    penalty = (logits**2).sum() / logits.numel()
    one.descend(sum(losses(one, domains)) / len(batch) + one.own["sd_reg"] * penalty)


def eqrm(one: Reference, batch: Batch) -> None:
    """The burn-in is the first step."""
    found = torch.stack(losses(one, apart(one, batch)))
    if "begun" not in one.kept:
        one.kept["begun"] = torch.tensor(True)
        one.descend(found.mean())
        return
    one.adam = torch.optim.Adam(one.network.parameters(), lr=one.own["eqrm_lr"])
    width = 1.06 * found.std() * len(found) ** (-1 / 5)
    kernels = torch.distributions.Normal(found, width)
    low, high = (torch.distributions.Normal(end, width).icdf(torch.tensor(0.75)) for end in (found.min(), found.max()))
    for _ in range(32):
        middle = (low + high) / 2
        low, high = (low, middle) if kernels.cdf(middle).mean() > 0.75 else (middle, high)
    one.descend((low + high) / 2)


def erm_plus_plus(one: Reference, batch: Batch) -> None:
    """The first step trains the classifier; the mean begins with the initial weights."""
    network = one.network
    count = int(one.kept.get("count", torch.tensor(1)))
    one.kept["count"] = torch.tensor(count + 1)
    trained = [*network.classifier.parameters()] if count == 1 else [*network.parameters()]
    features = masked(network, batch.images, batch.mask)
    adam = torch.optim.Adam(trained, lr=one.own["ermpp_linear_lr"] if count == 1 else LR)
    one.descend(F.cross_entropy(network.classifier(features), batch.labels), adam)
    state = network.state_dict()
    for name, value in state.items():
        if name.startswith("mean_") and value.is_floating_point():
            value.copy_((count * value + state[name.removeprefix("mean_")]) / (count + 1))
    network.get_submodule("mean_featurizer")(batch.images)


def miro(one: Reference, batch: Batch) -> None:
    if not hasattr(one, "oracle"):
        one.oracle = copy.deepcopy(one.network.featurizer).eval()  # type: ignore[attr-defined]
        one.bias = nn.Parameter(torch.full((1, FEATURES), np.log(np.exp(0.1 - 1e-5) - 1)))  # type: ignore[attr-defined]
        groups = [{"params": one.network.parameters()}, {"params": [one.bias], "lr": 10 * LR}]  # type: ignore[attr-defined]
        one.adam = torch.optim.Adam(groups, lr=LR)
    features = one.network.featurizer(batch.images)
    variance = F.softplus(one.bias) + 1e-5  # type: ignore[attr-defined]
    squares = (features - one.oracle(batch.images).detach()) ** 2  # type: ignore[attr-defined]
    penalty = (squares / variance + variance.log()).mean() / 2
    logits = one.network.classifier(features if batch.mask is None else features * batch.mask)
    one.network.zero_grad()
    one.bias.grad = None  # type: ignore[attr-defined]
    one.descend(F.cross_entropy(logits, batch.labels) + one.own["miro_lambda"] * penalty)


def genie(one: Reference, batch: Batch) -> None:
    numbers = torch.Generator().manual_seed(int(batch.numbers("noise and masks").integers(2**63)))
    one.network.zero_grad()
    (sum(losses(one, together(one, batch))) / len(batch)).backward()  # type: ignore[union-attr]
    a, rate, drop = (one.own[f"genie_{name}"] for name in ("average", "rate", "drop"))
    time = int(one.kept.get("time", torch.tensor(0))) + 1
    one.kept["time"] = torch.tensor(time)
    shares = (1 - a) * a ** torch.arange(time - 1, -1, -1) / (1 - a**time)
    for name, parameter in one.network.named_parameters():
        seen = [one.kept[f"{name} {past}"] for past in range(1, time)] + [parameter.grad.clone()]
        one.kept[f"{name} {time}"] = seen[-1]
        gradients = torch.stack(seen)
        weights = shares.view(-1, *[1] * parameter.ndim)
        mean = (weights * gradients).sum(0)
        ratio = (shares**2).sum()
        variance = torch.full_like(mean, 1e-8)
        if time > 1:
            spread = ((weights * gradients**2).sum(0) - mean**2) / (1 - ratio)
            variance = torch.where(spread > 0, spread, 1e-8)
        sure = torch.tanh((1 / variance).clamp(max=10))
        share = 1 / (1 + ratio * variance / (mean**2 + 1e-8))
        sigma = (sure * share * mean.abs()).sum() / sure.sum()
        noise = torch.randn(parameter.shape, generator=numbers, dtype=parameter.dtype)
        kept = torch.rand(parameter.shape, generator=numbers, dtype=parameter.dtype) >= drop
        move = sure * share * mean + (1 - sure) * sigma * noise
        parameter.data -= rate * move * kept / (1 - drop)


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """By singular values, which the iteration maps one by one."""
    left, values, right = np.linalg.svd(matrix / (np.linalg.norm(matrix) + 1e-7), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (left * values) @ right


def sage(one: Reference, batch: Batch) -> None:
    parameters = list(one.network.parameters())
    gradients = [torch.autograd.grad(loss, parameters) for loss in losses(one, apart(one, batch))]
    flat = [torch.cat([part.flatten() for part in each]) for each in gradients]
    pairs = list(itertools.combinations(flat, 2))
    cosine = sum(float(F.cosine_similarity(*pair, dim=0)) for pair in pairs) / len(pairs)
    moved = copy.deepcopy(one)
    with torch.no_grad():
        for parameter, *parts in zip(moved.network.parameters(), *gradients, strict=True):
            mean = torch.stack(parts).mean(0)
            direction = mean / mean.norm()
            if mean.ndim > 1:
                direction = torch.from_numpy(newton_schulz(mean.numpy()))
            parameter += one.own["sage_rho"] * direction
    second = torch.autograd.grad(
        sum(losses(moved, together(moved, batch))) / len(batch), list(moved.network.parameters())
    )
    numbers = torch.Generator().manual_seed(int(batch.numbers("gradient noise").integers(2**63)))
    for parameter, slope in zip(parameters, second, strict=True):
        noise = torch.randn(slope.shape, generator=numbers, dtype=slope.dtype)
        parameter.grad = slope + one.own["sage_gamma"] * (1 - cosine) * noise
    one.adam.step()


STEPS: dict[str, Callable[[Reference, Batch], None]] = {
    "ERM": erm,
    "Mixup": mixup,
    "GroupDRO": group_dro,
    "MMD": aligned(mmd_of),
    "CORAL": aligned(coral_of),
    "ANDMask": and_mask,
    "ARM": arm,
    "IRM": irm,
    "MTL": mtl,
    "VREx": vrex,
    "MLDG": mldg,
    "SagNet": sagnet,
    "RSC": rsc,
    "Fish": fish,
    "Fishr": fishr,
    "SD": sd,
    "EQRM": eqrm,
    "ERMPlusPlus": erm_plus_plus,
    "MIRO": miro,
    "GENIE": genie,
    "SAGE": sage,
}
"""One update of every host."""

OWN: dict[str, dict[str, Scalar]] = {
    "IRM": {"irm_penalty_anneal_iters": 0, "irm_lambda": 3.0},
    "VREx": {"vrex_penalty_anneal_iters": 0},
    "Fishr": {"fishr_penalty_anneal_iters": 0},
    "ANDMask": {"andmask_tau": 0.3},
    "GroupDRO": {"groupdro_eta": 1.0},
    "EQRM": {"eqrm_burnin_iters": 1, "eqrm_lr": 2e-2},
    "ERMPlusPlus": {"ermpp_linear_steps": 0, "ermpp_average_from": 1},
}


def parameters_of(network: nn.Module) -> Tensor:
    return torch.cat([each.detach().flatten() for each in network.parameters()])


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("name", STEPS)
def test_two_updates_with_live_batch_norm_are_those_of_the_reference(name: str, dropout: float) -> None:
    network = network_with_batch_norm(ALGORITHMS[name].load().EXTRA_CHANNELS)
    host = tiny_host(name, network, **OWN.get(name, {}))
    reference = Reference(host)
    for step in range(2):
        batch = tiny_batch(step, dropout=dropout)
        ours, theirs = parameters_of(host.network), parameters_of(reference.network)
        host.update(batch)
        STEPS[name](reference, batch)
        ours, theirs = parameters_of(host.network) - ours, parameters_of(reference.network) - theirs
        assert float(F.cosine_similarity(ours, theirs, dim=0)) == pytest.approx(1, abs=1e-6)
        assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=1e-6)
    if name != "MLDG":  # whose copies leave no statistics in DomainBed; ours are kept, as its docstring says
        assert_equal_buffers(host.network, reference.network)


def assert_equal_buffers(ours: nn.Module, theirs: nn.Module) -> None:
    expected = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():
        if buffer.is_floating_point():  # the count of batches is read by nothing
            torch.testing.assert_close(buffer, expected[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["Mixup", "GroupDRO", "MMD", "CORAL", "MTL"])
def test_frozen_batch_norm_needs_one_joint_forward(name: str) -> None:
    network, rows = network_with_batch_norm(), []
    host = tiny_host(name, network)
    network.featurizer.register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    host.update(tiny_batch())
    assert rows == [4, 4, 4]
    network.featurizer.eval()
    host.update(tiny_batch())
    assert rows == [4, 4, 4, 12]


def test_batch_norm_without_running_statistics_counts_as_live_in_evaluation_mode() -> None:
    layers = nn.Flatten(), nn.Linear(16, FEATURES), nn.BatchNorm1d(FEATURES, track_running_stats=False)
    network, rows = Network(nn.Sequential(*layers), FEATURES, CLASSES).double(), []
    host = tiny_host("CORAL", network).eval()
    network.featurizer.register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    host.update(tiny_batch())
    assert rows == [4, 4, 4]
