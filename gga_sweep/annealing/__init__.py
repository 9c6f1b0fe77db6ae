"""Gradient-Guided Annealing for anybody's training loop; needs torch alone.

Names are loaded when first used, so that the settings can be had without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.annealing.agreement import GradientAgreement, gradient_agreement
    from gga_sweep.annealing.diagnostics import FRESH_MASKS, Diagnosis, diagnose, moved_radii
    from gga_sweep.annealing.gradients import DomainGradients, domain_gradients
    from gga_sweep.annealing.scoring import STEP_MASK, Draw, Score, ScoredModel
    from gga_sweep.annealing.search import Candidate, SearchOutcome, search_step
    from gga_sweep.annealing.settings import VARIANTS, AnnealingSettings, SettingFault, settings_faults

_HOMES = {
    "FRESH_MASKS": "diagnostics",
    "STEP_MASK": "scoring",
    "VARIANTS": "settings",
    "AnnealingSettings": "settings",
    "Candidate": "search",
    "Diagnosis": "diagnostics",
    "DomainGradients": "gradients",
    "Draw": "scoring",
    "GradientAgreement": "agreement",
    "Score": "scoring",
    "ScoredModel": "scoring",
    "SearchOutcome": "search",
    "SettingFault": "settings",
    "diagnose": "diagnostics",
    "domain_gradients": "gradients",
    "gradient_agreement": "agreement",
    "moved_radii": "diagnostics",
    "search_step": "search",
    "settings_faults": "settings",
}

__all__ = [
    "FRESH_MASKS",
    "STEP_MASK",
    "VARIANTS",
    "AnnealingSettings",
    "Candidate",
    "Diagnosis",
    "DomainGradients",
    "Draw",
    "GradientAgreement",
    "Score",
    "ScoredModel",
    "SearchOutcome",
    "SettingFault",
    "diagnose",
    "domain_gradients",
    "gradient_agreement",
    "moved_radii",
    "search_step",
    "settings_faults",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
