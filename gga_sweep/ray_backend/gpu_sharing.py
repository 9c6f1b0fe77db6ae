"""`resources: {gpus: auto}` becomes a number: measured on one GPU of each kind in the cluster, before a run starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gga_sweep.datasets import DatasetDescription
from gga_sweep.errors import Fault, GGASweepError, InputError
from gga_sweep.scheduling.gpu_share import gpu_share, most_demanding, runs_a_gpu
from gga_sweep.spec import Plan
from gga_sweep.spec.models import ResourcesConfig, RunSpec
from gga_sweep.training.unit_costs import GPUMemory

Measure = Callable[[Sequence[RunSpec], DatasetDescription, Sequence[str]], Sequence[GPUMemory]]
"""Measures runs on the nodes of these ids, a GPU of each."""

NO_GPU = Fault("resources.gpus", "auto needs a GPU in the Ray cluster; 0 trains on the CPU", "auto")

_KIND = "accelerator_type:"


def measured_share(plan: Plan, configs: Iterable[RunSpec], measure: Measure | None = None) -> Plan:
    """The plan with `resources.gpus` as a number; one that has a number already is left as it is.

    Args:
        configs: of the runs that are to be trained.
        measure: None measures in the Ray cluster that is joined.

    Raises:
        InputError: no node of the cluster has a whole GPU.
        GGASweepError: it could not be measured.
    """
    resources = plan.sweep.config.resources
    if resources.gpus != "auto":
        return plan
    nodes = [node["Resources"] | {"id": node["NodeID"]} for node in ray.nodes() if node["Alive"]]
    nodes = [node for node in nodes if node.get("GPU", 0) >= 1]
    if not nodes:
        raise InputError([NO_GPU], plan.sweep.source)
    dataset = plan.sweep.dataset
    demanding = most_demanding(configs, len(dataset.domain_sizes))
    memory = (measure or _on_cluster(resources))(demanding, dataset, one_of_each_kind(nodes))
    cpus = sum(node.get("CPU", 0) for node in nodes) / sum(node["GPU"] for node in nodes) / resources.cpus
    share = gpu_share(min(runs_a_gpu(of_kind, cpus) for of_kind in memory))
    shared = resources.model_copy(update={"gpus": share})
    return replace(plan, sweep=replace(plan.sweep, config=plan.sweep.config.model_copy(update={"resources": shared})))


def one_of_each_kind(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids of nodes that have, between them, every kind of GPU once.

    Args:
        nodes: their resources, as Ray names them, and "id".
    """
    kinds: dict[frozenset[str], str] = {}
    for node in nodes:
        kinds.setdefault(frozenset(name for name in node if name.startswith(_KIND)), node["id"])
    return list(kinds.values())


def _on_cluster(resources: ResourcesConfig) -> Measure:
    def measure(configs: Sequence[RunSpec], dataset: DatasetDescription, nodes: Sequence[str]) -> Sequence[GPUMemory]:
        # A process of its own each, which ends with it: otherwise it would keep CUDA's context on the GPU.
        task = ray.remote(num_gpus=1, num_cpus=resources.cpus, max_calls=1, max_retries=0)(_measure)
        try:
            found: list[GPUMemory] = ray.get(
                [
                    task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                        configs, dataset
                    )
                    for node in nodes
                ]
            )
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise GGASweepError(
                f"what a run needs of a GPU's memory could not be measured: {reason}\n"
                "With a number in the place of resources.gpus: auto nothing is measured."
            ) from error
        return found

    return measure


def _measure(configs: Sequence[RunSpec], dataset: DatasetDescription) -> GPUMemory:
    from gga_sweep.training.gpu_memory import measure_gpu_memory  # the driver needs no torch for it

    return measure_gpu_memory(configs, dataset)
