"""The algorithm that CONTRIBUTING.md shows, used as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_runs import CPU, train
from tiny_hosts import adam_after, linear_network, tiny_batch

import gga_sweep
from gga_sweep.algorithms.base import Setting
from gga_sweep.datasets import load_dataset
from gga_sweep.spec.plan import Contents, SweepSpec
from gga_sweep.spec.runs import plan_sweep
from gga_sweep.training.trainer import Trainer

SECTION = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding an algo")[2]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepSpec:
    """The sweep of the example, its module where Python finds it."""
    (module,) = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
    (sweep,) = re.findall(r"```yaml\n(.*?)```", SECTION, flags=re.DOTALL)
    (tmp_path / "my_algorithms.py").write_text(module)
    (tmp_path / "decoupled.yaml").write_text(sweep)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_algorithms", raising=False)
    return gga_sweep.load(tmp_path / "decoupled.yaml", storage=tmp_path)


def test_it_is_planned_trained_and_annealed(installed: SweepSpec) -> None:
    plain, annealed = (run.config for run in plan_sweep(installed, Contents("digits")).runs)
    assert plain.hyperparameters["sd_reg"] == 0.1
    dataset = load_dataset(plain.dataset, None)
    records, lines = train(Trainer(plain, dataset, CPU))
    assert [record.step for record in records] == [0, 3, 5]
    assert lines == []
    _, lines = train(Trainer(annealed, dataset, CPU))
    assert [(line.step, line.tried) for line in lines] == [(2, 2), (3, 2)]


@pytest.mark.usefixtures("installed")
def test_its_step_is_its_formula() -> None:
    import my_algorithms  # type: ignore[import-not-found]

    network, batch = linear_network(), tiny_batch()
    host = my_algorithms.SpectralDecoupling(
        network, {"lr": 1e-2, "weight_decay": 0.0, "sd_reg": 0.3}, Setting(3, 3, (1, 4, 4), "Tiny", 0)
    )
    logits = network(torch.cat([each.images for each in batch.minibatches]))
    expected = F.cross_entropy(logits, batch.labels) + 0.3 * (logits**2).sum() / logits.numel()
    weights = list(network.parameters())
    after = [adam_after(*pair) for pair in zip(weights, torch.autograd.grad(expected, weights), strict=True)]
    assert host.update(batch).item() == pytest.approx(expected.item())
    for weight, wanted in zip(weights, after, strict=True):
        torch.testing.assert_close(weight.detach(), wanted.detach())
