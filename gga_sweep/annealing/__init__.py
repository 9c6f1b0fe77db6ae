"""Gradient-Guided Annealing for any training loop; needs torch alone.

Names are loaded when first used, so that the options load no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.annealing.agreement import GradientAgreement, gradient_agreement
    from gga_sweep.annealing.diagnostics import FRESH_MASKS, Diagnosis, diagnose, moved_radii
    from gga_sweep.annealing.gradient_noise import (
        add_to_gradients,
        draw_gradient_noise,
        l2_norm,
        measure_mean_cosine,
        noise_scale,
    )
    from gga_sweep.annealing.gradients import DomainGradients, domain_gradients
    from gga_sweep.annealing.options import GGA, GGAL, METHODS, VARIANTS, OptionFault, option_faults
    from gga_sweep.annealing.own_loop import add_gradient_noise, anneal_step
    from gga_sweep.annealing.scoring import STEP_MASK, ConcatenatedModel, Draw, DrawOf, Score, ScoredModel, Scorer
    from gga_sweep.annealing.search import Candidate, SearchOutcome, search_step

_HOMES = {
    "Candidate": "search",
    "ConcatenatedModel": "scoring",
    "Diagnosis": "diagnostics",
    "DomainGradients": "gradients",
    "Draw": "scoring",
    "DrawOf": "scoring",
    "FRESH_MASKS": "diagnostics",
    "GGA": "options",
    "GGAL": "options",
    "GradientAgreement": "agreement",
    "METHODS": "options",
    "OptionFault": "options",
    "STEP_MASK": "scoring",
    "Score": "scoring",
    "ScoredModel": "scoring",
    "Scorer": "scoring",
    "SearchOutcome": "search",
    "VARIANTS": "options",
    "add_gradient_noise": "own_loop",
    "add_to_gradients": "gradient_noise",
    "anneal_step": "own_loop",
    "diagnose": "diagnostics",
    "domain_gradients": "gradients",
    "draw_gradient_noise": "gradient_noise",
    "gradient_agreement": "agreement",
    "l2_norm": "gradient_noise",
    "measure_mean_cosine": "gradient_noise",
    "moved_radii": "diagnostics",
    "noise_scale": "gradient_noise",
    "option_faults": "options",
    "search_step": "search",
}

__all__ = [
    "FRESH_MASKS",
    "GGA",
    "GGAL",
    "METHODS",
    "STEP_MASK",
    "VARIANTS",
    "Candidate",
    "ConcatenatedModel",
    "Diagnosis",
    "DomainGradients",
    "Draw",
    "DrawOf",
    "GradientAgreement",
    "OptionFault",
    "Score",
    "ScoredModel",
    "Scorer",
    "SearchOutcome",
    "add_gradient_noise",
    "add_to_gradients",
    "anneal_step",
    "diagnose",
    "domain_gradients",
    "draw_gradient_noise",
    "gradient_agreement",
    "l2_norm",
    "measure_mean_cosine",
    "moved_radii",
    "noise_scale",
    "option_faults",
    "search_step",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
