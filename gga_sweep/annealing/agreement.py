"""The agreement of the gradients of several domains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gga_sweep.annealing.flat import chunks


@dataclass(frozen=True, slots=True)
class GradientAgreement:
    """Cosines in [-1, 1] between the gradients of the domains.

    A cosine with a gradient that is zero or not finite is undefined: NaN, also on the diagonal, and so are then the
    minimum and the mean.

    Args:
        cosines: (n_domains, n_domains), symmetric.
        norms: (n_domains,), L2 norms.
        minimum: smallest cosine over unordered pairs, the alignment of Gradient-Guided Annealing; NaN for one domain.
        mean: mean cosine over unordered pairs; NaN for one domain.
    """

    cosines: tuple[tuple[float, ...], ...]
    norms: tuple[float, ...]
    minimum: float
    mean: float


def gradient_agreement(gradients: Tensor) -> GradientAgreement:
    """The agreement of gradients (n_domains, entries), of any float type.

    Dot products are accumulated in float64, a fixed number of columns at a time: at radius 1e-6 candidates differ by
    1e-5 in their cosines, which float32 sums over millions of entries need not resolve.

    Example:
        >>> import torch
        >>> gradient_agreement(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).minimum
        0.0
    """
    products = dot_products(gradients)
    norms, cosines = products.diagonal().sqrt(), pairwise_cosines(products)
    pairs = _unordered_pairs(cosines)
    n_domains = len(norms)
    return GradientAgreement(
        cosines=tuple(tuple(row) for row in cosines.tolist()),
        norms=tuple(norms.tolist()),
        minimum=float(pairs.min()) if n_domains > 1 else float("nan"),
        mean=float(pairs.mean()) if n_domains > 1 else float("nan"),
    )


def dot_products(gradients: Tensor) -> Tensor:
    """(n_domains, n_domains) in float64, on the gradients' device; nothing is read back from it."""
    products = torch.zeros(len(gradients), len(gradients), dtype=torch.float64, device=gradients.device)
    for chunk in chunks(gradients):
        exact = chunk.double()
        products += exact @ exact.T
    return products


def pairwise_cosines(products: Tensor) -> Tensor:
    """(n_domains, n_domains) in [-1, 1] of `dot_products`; NaN where a gradient is zero or not finite."""
    norms = products.diagonal().sqrt()
    return (products / norms[:, None] / norms[None, :]).clamp(-1.0, 1.0)


def minimum_cosine(products: Tensor) -> Tensor:
    """The smallest over unordered pairs of at least 2 domains, a scalar; NaN where any is."""
    return _unordered_pairs(pairwise_cosines(products)).min()


def least_aligned_pair(products: Tensor) -> tuple[int, int]:
    """The two of at least 2 domains whose cosine is smallest, the first in row order where several are."""
    rows, columns = torch.triu_indices(len(products), len(products), offset=1)
    place = int(pairwise_cosines(products.cpu())[rows, columns].argmin())
    return int(rows[place]), int(columns[place])


def _unordered_pairs(cosines: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(len(cosines), len(cosines), offset=1, device=cosines.device)
    return cosines[rows, columns]
