"""`resources: {gpus: auto}` at launch: what is measured on which nodes, and the resulting share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.datasets import DatasetDescription
from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.gpu_sharing import measured_share, one_of_each_kind
from gga_sweep.spec import Plan, plan_sweep, read_contents
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.gpu_memory import GPUMemory

GB = 10**9


class Probe:
    """Returns the memory it was made with, and stores its arguments."""

    def __init__(self, *memory: GPUMemory) -> None:
        self.memory = memory
        self.asked: list[tuple[Sequence[RunSpec], Sequence[str]]] = []

    def __call__(
        self, configs: Sequence[RunSpec], dataset: DatasetDescription, nodes: Sequence[str]
    ) -> Sequence[GPUMemory]:
        self.asked.append((configs, nodes))
        return self.memory


def planned(storage: Path, gpus: float | str = "auto") -> Plan:
    sweep = gga_sweep.load(small_sweep(resources={"cpus": 2, "gpus": gpus}), storage=storage)
    return plan_sweep(sweep, read_contents(sweep))


def node(name: str, gpus: float, cpus: float = 16, kind: str = "A100", alive: bool = True) -> dict[str, Any]:
    of_gpus = {"GPU": gpus, f"accelerator_type:{kind}": 1.0} if gpus else {}
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus, **of_gpus}}


def share(plan: Plan, probe: Probe) -> object:
    return measured_share(plan, [run.config for run in plan.runs], probe).sweep.config.resources.gpus


def test_as_many_runs_share_a_gpu_as_fit_on_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node("head", 0), node("one", 1), node("two", 2, kind="T4")])
    probe = Probe(GPUMemory(10 * GB, 80 * GB), GPUMemory(6 * GB, 16 * GB))
    assert share(planned(tmp_path), probe) == 0.5
    ((configs, nodes),) = probe.asked
    assert len(configs) == 2  # ERM, and its annealed form
    assert nodes == ["one", "two"]


@pytest.mark.parametrize(("cpus", "expected"), [(16, 0.25), (4, 0.5), (2, 1.0), (1, 1.0)])
def test_cpus_limit_how_many_runs_share_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: float, expected: float
) -> None:
    """Each takes two."""
    monkeypatch.setattr(ray, "nodes", lambda: [node("one", 1, cpus=cpus)])
    assert share(planned(tmp_path), Probe(GPUMemory(20, 100))) == expected


def test_a_number_is_not_measured(tmp_path: Path) -> None:
    plan, probe = planned(tmp_path, 0.5), Probe()
    assert measured_share(plan, [], probe) is plan
    assert probe.asked == []


def test_one_node_of_each_kind_is_measured() -> None:
    kinds = [("a", "A100"), ("b", "T4"), ("c", "A100")]
    nodes = [{"id": name, "GPU": 1.0, f"accelerator_type:{kind}": 1.0} for name, kind in kinds]
    assert one_of_each_kind([*nodes, {"id": "d", "GPU": 1.0}]) == ["a", "b", "d"]


def test_dead_nodes_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node("gone", 1, alive=False), node("one", 1)])
    probe = Probe(GPUMemory(50, 100))
    share(planned(tmp_path), probe)
    assert probe.asked[0][1] == ["one"]


@pytest.mark.usefixtures("local_ray", "quick_launches")
def test_a_launch_without_gpus_is_refused_before_a_run_starts(tmp_path: Path) -> None:
    sweep = gga_sweep.load(small_sweep(resources={"gpus": "auto"}), storage=tmp_path)
    with pytest.raises(InputError, match=r"resources\.gpus: auto needs a GPU in the Ray cluster"):
        gga_sweep.run_sweep(sweep)
    assert Ledger(sweep.folder).run_names() == []


def test_an_own_tuner_needs_a_number(tmp_path: Path) -> None:
    sweep = gga_sweep.load(small_sweep(resources={"gpus": "auto"}), storage=tmp_path)
    with pytest.raises(InputError, match=r"resources\.gpus: must be a number from 0 to 1"):
        gga_sweep.trainable(sweep)
