"""Checks, before the first run starts, that the Ray cluster can train a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import ray

from gga_sweep.errors import Fault, InputError
from gga_sweep.execution.diagnosis import diagnose, launch_faults, resource_faults
from gga_sweep.execution.network_check import lacking_weights, published_choices
from gga_sweep.execution.node_check import installed_versions, needed_packages
from gga_sweep.networks.timm_models import is_timm
from gga_sweep.ray_backend.nodes import check_nodes, on_node
from gga_sweep.spec import SweepSpec

_NETWORK = "training.network"


def require_ready(sweep: SweepSpec) -> None:
    """Check the cluster, and each node if it has several, which takes seconds.

    Raises:
        InputError: a run fits on no node; or a node lacks the storage, the images, our versions, or a module or
            published weights of the sweep's.
    """
    resources = sweep.config.resources
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if faults := resource_faults(nodes, resources):
        raise InputError(faults, sweep.source)
    parts = {f"arms[{at}].algorithm": arm.algorithm for at, arm in enumerate(sweep.config.arms)}
    for number, arm in enumerate(sweep.arms):
        network = sweep.training_of(arm).network
        field = f"training.network of arm {number + 1}" if _NETWORK in arm.factors else _NETWORK
        parts[field] = "timm:create_model" if is_timm(network) else network
    if len(nodes) > 1:
        packages = needed_packages(sweep)
        checked = check_nodes(sweep.storage, sweep.config.dataset, gpus=resources.on_gpu, packages=packages)
        images = sweep.dataset.domain_sizes
        faults = launch_faults(diagnose(checked, installed_versions(packages), sweep.storage, images=images))
    else:
        parts["dataset.name"] = sweep.config.dataset.name  # the check of several nodes reads the dataset on each
    if faults := [*faults, *_part_faults(parts)] or _weights_faults(sweep):
        raise InputError(faults, sweep.source)


def _part_faults(parts: Mapping[str, str]) -> list[Fault]:
    """The parts `module:attribute`, by field, that a node's workers cannot import, where the driver could."""
    parts = {field: name for field, name in parts.items() if ":" in name}
    if not parts:
        return []
    task = ray.remote(num_cpus=0, max_retries=0)(import_errors)
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = ray.get([on_node(task, node["NodeID"]).remote(parts) for node in alive])
    rule = "cannot be imported on {} ({}): install it there, or add it to PYTHONPATH"
    return [
        Fault(field, rule.format(node["NodeName"], errors[field]), name)
        for node, errors in zip(alive, found, strict=True)
        for field, name in parts.items()
        if field in errors
    ]


def _weights_faults(sweep: SweepSpec) -> list[Fault]:
    """Published weights that a node lacks."""
    choices = published_choices(sweep)
    if not choices:
        return []
    task = ray.remote(num_cpus=0, max_retries=0)(lacking_weights)
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = ray.get([on_node(task, node["NodeID"]).remote(choices) for node in alive])
    return [
        Fault(field.partition(":")[0], f"{errors[field]} (node {node['NodeName']})", weights)
        for node, errors in zip(alive, found, strict=True)
        for field, (_, weights) in choices.items()
        if field in errors
    ]


def import_errors(parts: Mapping[str, str]) -> dict[str, str]:
    """Why this process cannot import some of these `module:attribute`, by field."""
    errors = {}
    for field, part in parts.items():
        module, _, attribute = part.partition(":")
        try:
            getattr(import_module(module), attribute)
        except Exception as error:  # a module may raise anything while it is imported
            errors[field] = f"{type(error).__name__}: {error}"
    return errors
