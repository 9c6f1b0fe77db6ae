"""The annealing in a training loop of your own: any module, any loss, any number of domains.

Every random number is a function of the seed, the step and its purpose; torch's global generators are restored. So a
step that moves nothing is bit for bit the step without annealing. The dropout masks of the candidate search are
therefore not those of the update that follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from gga_sweep.annealing.gradient_noise import add_to_gradients, draw_gradient_noise, measure_mean_cosine, noise_scale
from gga_sweep.annealing.options import GGA, GGAL, GradientMethod, OptionFault, raise_any
from gga_sweep.annealing.scoring import Draw
from gga_sweep.annealing.search import SearchOutcome, search_step


def anneal_step(
    model: nn.Module,
    domain_loss: Callable[[int], Tensor],
    n_domains: int,
    settings: GGA,
    step: int,
    *,
    seed: int = 0,
    featurizer: nn.Module | None = None,
    joint_loss: Callable[[], Tensor] | None = None,
) -> SearchOutcome | None:
    """Search for a better point around the weights, and move them there; to be called before a step's update.

    Nothing else changes: buffers, `.grad` and torch's global random state are restored. Outside the window it does
    nothing. Autocast around the call is off within it, because reduced precision leaves too few bits to rank
    candidates; a loss that enters autocast itself is computed in that.

    Args:
        model: its trainable parameters are scored and, unless the settings say `featurizer`, moved; in training mode.
        domain_loss: returns the scalar loss of this step's minibatch of domain 0 .. n_domains - 1, through the model.
            It must depend on nothing but the weights, the buffers and torch's global generators, and is called often:
            data are drawn before it.
        n_domains: at least 2.
        step: counted from 0, as `start_step` is.
        seed: any integer; other seeds give other candidates and other dropout masks while scoring.
        featurizer: a part of the model, the one that moves with `perturbs="featurizer"`; otherwise unused.
        joint_loss: returns the scalar loss of all minibatches in one forward, for `joint_loss="forward"`; not called
            otherwise.

    Returns:
        The result of the candidate search; None outside the window.

    Raises:
        ValueError: if the arguments do not fit the settings, at every step, every fault in the message; in the
            window, as `search_step` does, or if nothing that should move is trainable.

    Example:
        >>> import torch
        >>> from gga_sweep.annealing import GGA
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(4, 2)
        >>> images, labels = torch.randn(3, 8, 4), torch.randint(2, (3, 8))
        >>> def loss(domain):
        ...     return torch.nn.functional.cross_entropy(model(images[domain]), labels[domain])
        >>> settings = GGA(start_step=10, num_steps=5, radius=1e-2, num_candidates=20)
        >>> found = anneal_step(model, loss, 3, settings, step=10)
        >>> found.after.alignment >= found.before.alignment
        True
        >>> anneal_step(model, loss, 3, settings, step=15) is None  # after the window
        True
    """
    raise_any(
        [
            *_loop_faults(n_domains, settings.domain_gradients),
            *_graph_faults(settings),
            *_joint_loss_faults(settings, joint_loss),
            *_featurizer_faults(settings, model, featurizer),
        ]
    )
    if step not in settings.window:
        return None
    scored = _trainable("model", model)
    perturbed = scored
    if settings.perturbs == "featurizer":
        perturbed = _trainable("featurizer", cast(nn.Module, featurizer))
    streams = _Streams(seed, step)
    device = perturbed[0].device
    try:
        with torch.autocast(device.type, enabled=False):
            return search_step(
                _LoopModel(domain_loss, joint_loss, n_domains, streams, scored),
                scored,
                perturbed,
                list(model.buffers()),
                lambda candidate: streams.generator(device, "perturbation", candidate),
                lambda: streams.generator(device, "choice"),
                settings,
            )
    finally:
        torch.clear_autocast_cache()


def add_gradient_noise(
    model: nn.Module,
    domain_loss: Callable[[int], Tensor],
    n_domains: int,
    settings: GGAL,
    step: int,
    *,
    seed: int = 0,
) -> float:
    """Add alpha * xi to the gradient of a step (GGA-L); to be called between `backward()` and `optimizer.step()`.

    Nothing else changes: weights, buffers and torch's global random state stay as they are. A parameter without a
    `.grad` gets none. With a gradient scaler, unscale first. Autocast around the call is off within it.

    Args:
        model: to the `.grad` of its trainable parameters noise is added.
        domain_loss, n_domains, step, seed: as of `anneal_step`; `domain_loss` is not called where alpha is constant.

    Returns:
        Alpha, see `noise_scale`.

    Raises:
        ValueError: if the arguments do not fit the settings or nothing is trainable.

    Example:
        >>> import torch
        >>> from gga_sweep.annealing import GGAL
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(4, 2)
        >>> images, labels = torch.randn(3, 8, 4), torch.randint(2, (3, 8))
        >>> def loss(domain):
        ...     return torch.nn.functional.cross_entropy(model(images[domain]), labels[domain])
        >>> torch.stack([loss(domain) for domain in range(3)]).mean().backward()
        >>> add_gradient_noise(model, loss, 3, GGAL(gamma=1e-3, alpha="constant"), step=0)
        0.001
    """
    raise_any(_loop_faults(n_domains, settings.domain_gradients))
    parameters = _trainable("model", model)
    streams = _Streams(seed, step)
    mean_cosine = float("nan")
    if settings.alpha == "adaptive":
        loop_model = _LoopModel(domain_loss, None, n_domains, streams, parameters)
        with torch.autocast(parameters[0].device.type, enabled=False):
            mean_cosine = measure_mean_cosine(loop_model, parameters, list(model.buffers()))
    alpha = noise_scale(settings, mean_cosine)
    generator = streams.generator(parameters[0].device, "gradient-noise")
    add_to_gradients(parameters, draw_gradient_noise(settings.noise, generator, parameters), alpha)
    return alpha


class _Streams(NamedTuple):
    """The random numbers of one step, by purpose."""

    seed: int
    step: int

    def seed_of(self, purpose: str, *indices: int | str) -> int:
        """In [0, 2**63)."""
        name = repr((self.seed, self.step, purpose, *indices)).encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1

    def generator(self, device: torch.device, purpose: str, *indices: int | str) -> torch.Generator:
        return torch.Generator(device).manual_seed(self.seed_of(purpose, *indices))


class _LoopModel:
    """The losses of a training loop as a `ScoredModel`.

    Dropout layers draw from torch's global generators: what those are seeded with before a forward decides its mask.
    """

    def __init__(
        self,
        domain_loss: Callable[[int], Tensor],
        joint_loss: Callable[[], Tensor] | None,
        n_domains: int,
        streams: _Streams,
        parameters: list[Parameter],
    ) -> None:
        self.n_domains = n_domains
        self._domain_loss = domain_loss
        self._joint_loss = joint_loss
        self._streams = streams
        self._cuda_devices = sorted({parameter.get_device() for parameter in parameters if parameter.is_cuda})

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        self._prepare_forward(draw, domain)
        return self._domain_loss(domain)

    def joint_loss(self, draw: Draw) -> Tensor:
        self._prepare_forward(draw, self.n_domains)
        return cast(Callable[[], Tensor], self._joint_loss)()

    def _prepare_forward(self, draw: Draw, forward: int) -> None:
        torch.clear_autocast_cache()  # it holds casts of the weights as they were before they moved
        seed = self._streams.seed_of("global", *draw, forward)
        torch.default_generator.manual_seed(seed)
        for device in self._cuda_devices:
            torch.cuda.default_generators[device].manual_seed(seed)


def _trainable(name: str, module: nn.Module) -> list[Parameter]:
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(
            f"{name} must have a parameter that requires a gradient, got {type(module).__name__} with none"
        )
    return trainable


def _loop_faults(n_domains: int, method: GradientMethod) -> list[OptionFault]:
    faults = []
    if n_domains < 2:
        faults.append(OptionFault("n_domains", "must be at least 2, for gradients to compare", n_domains))
    if method != "loop":
        rule = "must be 'loop' here: a loss of one domain at a time has no concatenated batch"
        faults.append(OptionFault("domain_gradients", rule, method, ("loop",)))
    return faults


def _graph_faults(settings: GGA) -> list[OptionFault]:
    if not settings.cuda_graph:
        return []
    return [OptionFault("cuda_graph", "must be false here: a loss may draw random numbers of its own", True)]


def _joint_loss_faults(settings: GGA, joint_loss: Callable[[], Tensor] | None) -> list[OptionFault]:
    if settings.joint_loss == "mean" or joint_loss is not None:
        return []
    rule = (
        "must be given with the setting joint_loss 'forward': pass a function that gives the loss of all minibatches "
        "in one forward, or set joint_loss to 'mean'"
    )
    return [OptionFault("joint_loss", rule, None)]


def _featurizer_faults(settings: GGA, model: nn.Module, featurizer: nn.Module | None) -> list[OptionFault]:
    if settings.perturbs == "all":
        return []
    if featurizer is None:
        rule = (
            "must be given with perturbs 'featurizer': pass the part of the model that moves, or set perturbs to 'all'"
        )
        return [OptionFault("featurizer", rule, None)]
    if not set(map(id, featurizer.parameters())) <= set(map(id, model.parameters())):
        rule = "must be a part of the model: pass one whose parameters are all among the model's"
        return [OptionFault("featurizer", rule, type(featurizer).__name__)]
    return []
