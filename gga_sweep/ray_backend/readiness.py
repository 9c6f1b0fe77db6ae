"""Checks, before the first run starts, that the Ray cluster can train a sweep."""

from __future__ import annotations

import ray

from gga_sweep.errors import InputError
from gga_sweep.execution.diagnosis import diagnose, launch_faults, resource_faults
from gga_sweep.execution.node_check import installed_versions
from gga_sweep.ray_backend.nodes import check_nodes
from gga_sweep.spec import SweepSpec


def require_ready(sweep: SweepSpec) -> None:
    """Check the cluster, and each node if it has several, which takes seconds.

    Raises:
        InputError: a run fits on no node; or a node lacks the storage, the images or our versions.
    """
    resources = sweep.config.resources
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    faults = resource_faults(nodes, resources)
    if len(nodes) > 1 and not faults:
        checked = check_nodes(sweep.storage, sweep.config.dataset, gpus=resources.on_gpu)
        images = sweep.dataset.domain_sizes
        faults = launch_faults(diagnose(checked, installed_versions(), sweep.storage, images=images))
    if faults:
        raise InputError(faults, sweep.source)
