"""Whether the Ray that is up can train a sweep: asked before its first run starts."""

from __future__ import annotations

import ray

from gga_sweep.errors import InputError
from gga_sweep.ray_backend.diagnosis import diagnose, launch_faults, resource_faults
from gga_sweep.ray_backend.nodes import ask_every_node, installed_versions
from gga_sweep.spec import Sweep


def require_ready(sweep: Sweep) -> None:
    """Refuse what would only fail later, run after run. Of several nodes each is asked; that takes seconds.

    Raises:
        InputError: a run fits on no node; or some node lacks the storage, the images or our versions.
    """
    resources = sweep.config.resources
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    faults = resource_faults(nodes, resources)
    if len(nodes) > 1 and not faults:
        seen = ask_every_node(sweep.storage, sweep.config.dataset, gpus=resources.on_gpu)
        images = sweep.dataset.domain_sizes
        faults = launch_faults(diagnose(seen, installed_versions(), sweep.storage, images=images))
    if faults:
        raise InputError(faults, sweep.source)
