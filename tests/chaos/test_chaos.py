"""The short form of `make chaos`: a few faults of each kind that one machine knows, on a cluster of two nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import QUICK, play


@pytest.mark.timeout(600)
def test_a_sweep_that_is_broken_again_and_again_is_the_sweep_left_in_peace(tmp_path: Path) -> None:
    outcome = play(tmp_path, faults=5, seed=1, minutes=4, steps=200, trial_seeds=1, only=QUICK)
    assert outcome.broken == []
    assert sum(outcome.faults.values()) > 0
