"""Replaces `resources: {gpus: auto}` by a number, measured on one GPU of each kind in the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions

from gga_sweep.datasets import DatasetDescription
from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.execution.diagnosis import NO_GPU
from gga_sweep.ray_backend.nodes import on_node
from gga_sweep.scheduling.gpu_share import gpu_share, most_demanding, runs_a_gpu
from gga_sweep.spec import Plan
from gga_sweep.spec.models import ResourcesConfig, RunSpec

if TYPE_CHECKING:  # the driver needs no torch
    from gga_sweep.training.gpu_memory import GPUMemory

Measure = Callable[[Sequence[RunSpec], DatasetDescription, Sequence[str]], "Sequence[GPUMemory]"]
"""Measures runs on the nodes of these ids, on one GPU each."""

_KIND = "accelerator_type:"


def measured_share(plan: Plan, configs: Iterable[RunSpec], measure: Measure | None = None) -> Plan:
    """The plan with `resources.gpus` as a number; a plan that has a number is returned unchanged.

    Args:
        configs: of the runs to train.
        measure: None measures in the present Ray cluster.

    Raises:
        InputError: no node of the cluster has a whole GPU.
        GGASweepError: the measurement failed.
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
    """The ids of one node for each kind of GPU.

    Args:
        nodes: Ray's resources of each, and "id".
    """
    kinds: dict[frozenset[str], str] = {}
    for node in nodes:
        kinds.setdefault(frozenset(name for name in node if name.startswith(_KIND)), node["id"])
    return list(kinds.values())


def _on_cluster(resources: ResourcesConfig) -> Measure:
    def measure(configs: Sequence[RunSpec], dataset: DatasetDescription, nodes: Sequence[str]) -> Sequence[GPUMemory]:
        # max_calls: a process of its own, because one that stays would keep its CUDA context on the GPU.
        task = ray.remote(num_gpus=1, num_cpus=resources.cpus, max_calls=1, max_retries=0)(_measure)
        try:
            found: list[GPUMemory] = ray.get([on_node(task, node).remote(configs, dataset) for node in nodes])
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise GGASweepError(
                f"the GPU memory of a run could not be measured: {reason}\n"
                "Give a number in place of `resources: {gpus: auto}` to skip the measurement."
            ) from error
        return found

    return measure


def _measure(configs: Sequence[RunSpec], dataset: DatasetDescription) -> GPUMemory:
    from gga_sweep.training.gpu_memory import measure_gpu_memory

    return measure_gpu_memory(configs, dataset)
