"""What the columns of tables hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gga_sweep.report.sections import DETECTABLE
from gga_sweep.report.wording import AVERAGE, DIFFERENCE, WORST

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        AVERAGE: "Mean over the test domains within a trial seed, then over trial seeds.",
        WORST: "The lowest of the test domains within a trial seed, then over trial seeds.",
        DIFFERENCE: "Score of the arm minus that of its baseline, in points, with the same test domains and trial "
        "seed; in brackets the 95 % interval over trial seeds (t).",
        "p": "Probability of a difference at least this large, if there were none (two-sided).",
        "Holm": "p, adjusted over the arms of this table.",
        "n (pairs)": "Trial seeds with a difference, and the pairs of runs behind them.",
        DETECTABLE: "The true difference that this number of trial seeds, with this spread, detects at the 5 % level.",
        "Gain, as scored": "Smallest cosine between domain gradients after a candidate search minus before it.",
        "Gain, fresh masks": "The same under dropout masks that the search did not use.",
        "Gain, next minibatches": "The same on the next minibatches.",
        "Accepted (%)": "Share of the candidates tried that were accepted.",
        "Moved (%)": "Share of the annealed steps at which the weights moved.",
        "Radii": "Distance moved, in radii: 1 is a corner of the box.",
        "Updates": "Distance moved, in updates of the optimiser.",
        "Mean cosine": "Mean over pairs of domain gradients.",
        "Alpha": "Scale of the noise of GGA-L.",
        "Noise / gradient": "Norm of the noise over that of the joint gradient.",
        "A run": "Device-seconds of a done run, on average.",
        "Ratio": "Time of a run over that of a run of the arm's baseline.",
        "Ratio without diagnostics": "The same without the time that diagnostics take.",
        "Draw": "The sampled hyperparameter configuration that was selected.",
        "Step": "The evaluation that was selected.",
        "Validation (%)": "Score on the validation splits of the training domains: what selection is by.",
        "Test (%)": "Score on the training split of the test domain.",
    }
)
"""What a column holds, by its head: the page shows it beside the pointer."""
