"""The short form of `make chaos`: a few faults of each kind that one machine knows, on a cluster of two nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import ALL, QUICK, play
from planted import PLANTED, ROOT, Planted


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_that_is_broken_again_and_again_is_the_sweep_left_in_peace(tmp_path: Path) -> None:
    outcome = play(tmp_path, faults=3, seed=1, minutes=8, steps=200, trial_seeds=1, only=QUICK)
    assert outcome.broken == []
    assert sum(outcome.faults.values()) > 0


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_the_code_still_has_the_places_in_which_faults_are_planted(planted: Planted) -> None:
    for file, right, _ in planted.edits:
        assert (ROOT / "gga_sweep" / file).read_text().count(right) == 1
    assert planted.kind in ALL
